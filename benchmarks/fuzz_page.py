"""docs/fuzzing.md: what was fuzzed and found, from the records fuzz-READER.json in results/."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import NOT_RUN, record

# Reader -> (commands that reach it, what was found).
READERS = {
    "clips": (
        "mg data check, stats",
        r"offsets, lengths and spans believed (\*); slow on 10 million texts in chunks; texts that HDF5 "
        "reads for ever",
    ),
    "split": (
        "mg train, mg score",
        r"columns of unequal length believed (\*); texts that HDF5 reads for ever",
    ),
    "streams": ("mg train, mg predict", r"offsets and encodings believed (\*)"),
    "features": ("mg train", "damaged attributes: traceback"),
    "logits": (
        "mg fuse",
        "damaged groups: traceback; a refused store stayed open, its successor was read through it",
    ),
    "fusion": ("mg fuse, mg store merge", "ids that are no UTF-8, damaged attributes: traceback"),
    "probs": (
        "mg submit, mg store export",
        "damaged attributes, provenance that is no table: traceback",
    ),
    "pseudo": (
        "mg train --pseudo",
        r"NaN as confidence, votes of other models believed (\*); an attribute of another type: HDF5 crashed",
    ),
    "foreign-store": ("mg fuse", "damaged groups: traceback"),
    "pictures": ("mg train, mg predict", ""),
    "openpose": ("mg data import openpose", ""),
    "pose": ("mg data import pose", ""),
    "ntu": ("mg data import ntu", ""),
    "utd-mhad": (
        "mg data import utd-mhad",
        r"numbers beyond float32; gigabytes claimed or unfolded (\*); video ids that leave the folder (\*); "
        "elements of no type: scipy crashed; version 4 behind a header of version 5",
    ),
    "xlsx": (
        "mg data import imigue",
        "members packed by LZMA: traceback, and no limit of memory; an unknown encoding: traceback",
    ),
    "imigue": ("mg data import imigue", "a row of 5,000 digits, a subject with a NUL character: traceback"),
    "joint-files": ("mg data import ntu", ""),
    "pickles": ("mg data import pyskl, mg store from-scores", ""),
    "tables": (
        "csv, toml and lists given to commands",
        r"over-long fields, labels and frames beyond 32 bits: traceback (\*); a header of npy that is no "
        "Python: traceback",
    ),
    "video": (
        "mg data crop, mg watch",
        "unknown codec, texts that are no UTF-8: traceback; a table that claims gigabytes: told as a lack of "
        "memory",
    ),
    "score-files": (
        "mg store from-scores",
        "npz: six kinds of damage with a traceback; labels that are no numbers",
    ),
    "submission": ("mg submit check", "gigabytes claimed by a member; a member without a name"),
    "parameters": (
        "mg fuse, calibrate, adapt, watch",
        r"fields of another type, deep nesting (\*), huge numbers (\*): traceback",
    ),
    "recipes": ("mg run", r"not UTF-8, nested too deep: traceback (\*)"),
    "checkpoints": ("mg predict, mg train", "fields of another type: traceback"),
    "torch-files": (
        "mg models convert, mg train",
        r"gigabytes claimed; packed archives (\*); a missing storage, an end within a length: traceback",
    ),
    "networks": ("mg models convert", "sparse tensors: traceback"),
}

_TOP = """# Fuzzing

Every reader of foreign bytes is run on changed files. A case passes if the file is read, or refused by
one of the project's errors in one line. It fails with a traceback, a killed process, more than 20
seconds, more than 1 GiB of memory beyond that for the valid file, a program run, a connection, a file
written outside the case's folder, a numpy warning, a link out of a store that is followed, or a message
of more than one line.

## Run it

<!-- not run: minutes, in a checkout -->
```bash
make test-slow PYTEST_ARGS=tests/fuzz                            # every reader, the same 100 cases each
MG_FUZZ_SECONDS=60 make test-slow PYTEST_ARGS=tests/fuzz         # as many as 60 seconds let
MG_FUZZ_SEED=tuesday make test-slow PYTEST_ARGS=tests/fuzz       # other cases
make fuzz FUZZ_ARGS="logits xlsx --seconds 600"                  # guided by coverage
.venv/bin/python tests/fuzz/fuzz_run.py logits xlsx --seconds 600 --seed 7
.venv/bin/python tests/fuzz/fuzz_run.py xlsx --seed 7 --first 41 --count 1
```

A failure names the input, which is kept in `runs/fuzz/`, and the command that makes the same case again:
seed, reader and number determine it (not where coverage guides). `tests/fuzz/test_regressions.py` holds
what was found, as small files made by code; `make test` runs them.

`fuzz_mutations.py`, `fuzz_bytes.py` and `fuzz_hdf5.py` change files that the project's own writers made:
bits, runs, lengths, cuts, splices; lines and cells; JSON values; headers of safetensors; opcodes;
members of zips; claimed picture sizes; types, shapes, values, attributes, links and lazily filled sizes
of HDF5. `fuzz_stores.py`, `fuzz_datasets.py` and `fuzz_results.py` hold the readers. `fuzz_guided.py`
lets [atheris](https://github.com/google/atheris) keep the files that reach new branches of our code, and
change them further, by the same changes and by those of libFuzzer.

## What was tried

On two busy CPU cores (h5py with HDF5 2, torch 2, scipy, FFmpeg through PyAV), by changes of valid files
and guided by coverage; `--record` adds a run to `benchmarks/results/fuzz-READER.json`. What was found is
mended.

| reader | reached by | cases by changes | minutes | cases by coverage | minutes | branches | found |
|---|---|---|---|---|---|---|---|
"""

_END = r"""
(\*) found by reading the code with the cases in hand, as were: packed and shared content of stores
without a limit, shapes whose size overflows 64 bits, virtual data sets without a limit, archives that
unfold beyond their claims.

## What remains

- HDF5, OpenCV, FFmpeg and torch are written in C and C++, where coverage does not guide; the numbers
  above are small for such libraries. One case in HDF5 killed the process (an attribute whose type damage
  had changed: attributes of such types are not read now). Once h5py died where the fuzzer itself wrote
  into a damaged file.
- HDF5 2.0 reads a global heap (texts) whose damaged size leads to itself for ever. The first 16 MiB of
  every file are looked through for such heaps when it is opened, all of it by `mg store check`.
- HDF5 asks the system for the memory that a damaged header claims before it looks at the file; the
  attempt fails and the file is refused, or the memory is never touched.
- A store that another program packed (gzip) may unfold to 64 MiB, or to 200 times its size.
"""


def page() -> str:
    """Return docs/fuzzing.md."""
    return _TOP + "".join(_line(name) for name in READERS) + _END


def _line(name: str) -> str:
    reached, found = READERS[name]
    kept = record(f"fuzz-{name}")
    runs: list[dict[str, Any]] = kept["runs"] if kept else []
    cells = [reached]
    for mode in ("changes", "guided"):
        own = [run for run in runs if run["mode"] == mode]
        cells.append(f"{sum(run['cases'] for run in own):,}" if own else NOT_RUN)
        cells.append(f"{sum(run['seconds'] for run in own) / 60:.1f}" if own else "-")
    branches = [run["branches"] for run in runs if run.get("branches")]
    cells.append(f"{max(branches):,}" if branches else "-")
    return f"| {name} | {' | '.join(cells)} | {found or 'nothing'} |\n"
