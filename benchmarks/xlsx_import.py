"""OpenPose xlsx files read beside openpyxl: ``python -m benchmarks.xlsx_import``.

Both readers make the same (T, 411) array of one synthetic file, in turns; a ratio is openpyxl's time over
ours. One file is as our synthetic corpus writes it (three decimals, cells without names), one as openpyxl
writes it (all digits, named cells), and one has an empty cell, so that python-calamine reads it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_data.datasets.imigue.files import read_openpose_xlsx
from mg_data.datasets.synthetic.xlsx import write_xlsx

FRAMES, COLUMNS = 1500, 411


def write(folder: Path) -> dict[str, Path]:
    """Write the three files."""
    rng = np.random.default_rng(0)
    table = rng.uniform(0.001, 720.0, (FRAMES, COLUMNS))
    table[:, 2::3] = rng.uniform(0.05, 0.95, (FRAMES, COLUMNS // 3))
    paths = {name: folder / f"{name}.xlsx" for name in ("synthetic", "openpyxl", "empty-cell")}
    write_xlsx(paths["synthetic"], table)
    for name in ("openpyxl", "empty-cell"):
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        for index, row in enumerate(table.tolist()):
            sheet.append([None, *row[1:]] if name == "empty-cell" and index == 7 else row)
        book.save(paths[name])
    return paths


def by_openpyxl(path: Path) -> np.ndarray:
    """Return the first sheet as (T, 411) float64, NaN where a cell is empty."""
    book = openpyxl.load_workbook(path, read_only=True)
    rows = book.worksheets[0].iter_rows(values_only=True)
    table = np.array(list(rows), dtype=np.float64)
    book.close()
    return table


def measure(path: Path, repeats: int = 3) -> dict[str, Any]:
    """Return the median seconds of both and the median of their ratios."""
    expected = by_openpyxl(path).reshape(FRAMES, -1, 3)
    expected[np.isnan(expected).any(axis=2)] = 0
    assert np.array_equal(read_openpose_xlsx(path), expected.astype(np.float32))
    seconds: dict[str, list[float]] = {"openpyxl": [], "ours": []}
    for _ in range(repeats):
        for name, read in (("openpyxl", by_openpyxl), ("ours", read_openpose_xlsx)):
            began = time.perf_counter()
            read(path)
            seconds[name].append(time.perf_counter() - began)
    return {
        **{f"{name}_s": round(statistics.median(values), 4) for name, values in seconds.items()},
        **ratio_of_rounds(seconds["openpyxl"], seconds["ours"], 2),
    }


def main() -> None:
    """Write results/PROCESSOR/xlsx-import.json."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: measure(path) for name, path in write(Path(folder)).items()}
    slowest = min((files[name] for name in ("synthetic", "openpyxl")), key=lambda file: float(file["ratio"]))
    result = {
        "kind": "xlsx-import",
        "command": "python -m benchmarks.xlsx_import",
        "commit": commit(),
        "wanted": "ratio >= 8 for sheets that are full",
        "frames": FRAMES,
        "columns": COLUMNS,
        **{key: slowest[key] for key in ("ratio", "ratio_range")},
        "files": files,
    }
    publish("xlsx-import", result)


if __name__ == "__main__":
    main()
