"""Checks of an importer over its own example: clips, shards, frames, and a folder that is something else."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mg_data.contract import DatasetImport, DatasetSpec, MgError, RawClip
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import resolve
from mg_data.prepare.importing import import_data
from mg_data.store import check_store, merge_stores, open_clips
from mg_data.testing.checks import CheckFailed, CheckSkipped, DoesNotApply, require
from mg_data.testing.fakes import FakeConsole
from mg_data.testing.inputs import Workplace

SHARDS = 2


@dataclass(frozen=True, kw_only=True)
class DatasetBench:
    """An importer and its example."""

    spec: DatasetSpec
    place: Workplace
    source: Path

    def open(self) -> DatasetImport:
        """Open the example anew."""
        found = resolve(self.spec.factory)(self.source, **self.spec.options)
        if not isinstance(found, DatasetImport):
            raise CheckFailed(f"{self.spec.factory} returned {type(found).__name__}, wanted DatasetImport")
        return found

    def clips(self) -> list[RawClip]:
        """Read all clips of the example."""
        return list(self.open().all_clips())

    def write(self, shard: str = "") -> Path | None:
        """Import the example, or a part of it, and return the store; None for an empty part."""
        folder = self.place.new_folder()
        out = folder / "clips.h5"
        import_data(
            name=self.spec.name,
            source=self.source,
            out=out,
            labels=folder / "labels.csv",
            shard=shard,
            console=FakeConsole(),
        )
        return out if out.exists() else None


def open_bench(spec: DatasetSpec, place: Workplace) -> DatasetBench:
    """Write the example of the data set.

    Raises:
        CheckSkipped: it brings none.
    """
    if not spec.example:
        raise CheckSkipped(
            "its record has no example: name a function that writes a tiny raw tree, to be read here"
        )
    source = Path(resolve(spec.example)(place.new_folder()))
    return DatasetBench(spec=spec, place=place, source=source)


def check_example_can_be_imported(bench: DatasetBench) -> str:
    """The example gives clips, and nothing of it is left out."""
    data = bench.open()
    clips = list(data.all_clips())
    require(clips, f"not one clip in its own example {bench.source.name}")
    lost = [item for item in data.dropped if not item.note]
    require(not lost, f"'{lost[0].what}' was left out: {lost[0].why}" if lost else "")
    promised = sum(unit.clips for unit in data.sources) or data.total
    require(
        promised == len(clips), f"promises {promised} clips (sources' clips, or total), gives {len(clips)}"
    )
    return f"{len(clips)} clips of {len(data.sources) or 1} units"


def check_clips_are_valid(bench: DatasetBench) -> None:
    """Ids are unique, spans hold frames, keypoints are finite (T, P, V, 3), labels are classes."""
    data = bench.open()
    names = data.class_names
    require(names and len(set(names)) == len(names), f"class_names are {names!r}, wanted K different names")
    require(len(data.columns) == 3, f"columns are {data.columns!r}, wanted three")
    points = len(find_layout(data.layout).names) if data.layout else 0
    seen: set[str] = set()
    for clip in data.all_clips():
        what = f"clip '{clip.clip_id}'"
        require(clip.clip_id and clip.clip_id not in seen, f"{what}: its id is empty or stands twice")
        seen.add(clip.clip_id)
        require(clip.stop > clip.start >= 0, f"{what}: frames {clip.start}..{clip.stop - 1}")
        require(-1 <= clip.label < len(names), f"{what}: label {clip.label} of {len(names)} classes")
        require(
            (clip.joints is None) == (not data.layout), f"{what}: keypoints need a layout, and a layout them"
        )
        if clip.joints is not None:
            shape = clip.joints.shape
            wanted = (clip.stop - clip.start, shape[1] if len(shape) == 4 else 1, points, 3)
            require(shape == wanted, f"{what}: joints have shape {shape}, wanted {wanted}")
            require(
                np.isfinite(clip.joints).all(), f"{what}: joints hold NaN or infinity (missing is 0, 0, 0)"
            )
        require(set(clip.signals) == set(data.signals), f"{what}: signals {set(clip.signals)}, announced "
                f"{set(data.signals)}")  # fmt: skip


def check_store_is_complete(bench: DatasetBench) -> None:
    """The clips store that the import writes is sound, and its clips are those that were read."""
    path = bench.write()
    require(path is not None, "the import wrote nothing")
    assert path is not None
    check_store(path)
    stored, read = open_clips(path), bench.clips()
    require(
        sorted(map(str, stored.clip_ids)) == sorted(clip.clip_id for clip in read),
        f"the store holds {len(stored)} clips, {len(read)} were read",
    )


def check_shards_merged_equal_one_import(bench: DatasetBench) -> None:
    """Parts of the recordings, imported apart and merged, have the digest of one import."""
    if not bench.open().sources:
        raise DoesNotApply("it is read in one piece, so there are no shards")
    whole = bench.write()
    parts = [bench.write(f"{number}/{SHARDS}") for number in range(1, SHARDS + 1)]
    written = [part for part in parts if part is not None]
    merged = bench.place.new_folder() / "merged.h5"
    digest = merge_stores(written, merged)
    assert whole is not None
    require(digest == open_clips(whole).digest, "the merged shards differ from the import in one piece")


def check_units_can_be_pickled(bench: DatasetBench) -> None:
    """A unit of work reads the same clips in another process; unit names are unique."""
    sources = bench.open().sources
    names = [unit.name for unit in sources]
    require(len(set(names)) == len(names), "two units have one name")
    for unit in sources:
        try:
            again = pickle.loads(pickle.dumps(unit))
        except Exception as error:  # pickle raises many types
            raise CheckFailed(
                f"unit '{unit.name}' cannot be sent to another process: {error}; make read a module's "
                "function or functools.partial of one"
            ) from error
        first, second = unit.read()[0], again.read()[0]
        same = [clip.clip_id for clip in first] == [clip.clip_id for clip in second]
        require(same, f"unit '{unit.name}' reads other clips after pickling")


def check_other_folder_is_refused(bench: DatasetBench) -> None:
    """An empty folder is refused with one line that names it."""
    folder = bench.place.new_folder()
    try:
        list(resolve(bench.spec.factory)(folder, **bench.spec.options).all_clips())
    except MgError as error:
        require(str(folder) in str(error), f"the error does not name the folder: {error}")
        require("\n" not in str(error), f"the error has more than one line: {error}")
    except Exception as error:  # whatever a stranger's importer raises
        raise CheckFailed(f"raised {type(error).__name__}: {error}; wanted DataError") from error
    else:
        raise CheckFailed("an empty folder was accepted, wanted DataError")


def check_mirrored_classes_are_pairs(bench: DatasetBench) -> None:
    """Classes that swap under a flip are classes, and none stands in two pairs."""
    classes = [index for pair in bench.spec.mirror_classes for index in pair]
    if not classes:
        raise DoesNotApply("no classes swap under a flip")
    count = len(bench.open().class_names)
    require(len(set(classes)) == len(classes), "a class stands in two pairs of mirror_classes")
    outside = [index for index in classes if not 0 <= index < count]
    require(not outside, f"mirror_classes name class {(outside or [0])[0]}, there are {count}")


def check_frames_can_be_read(bench: DatasetBench) -> str:
    """Every stream gives the frames of a clip, one each, of one size."""
    spec = bench.spec
    require(bool(spec.frames) == bool(spec.streams), "frames and streams are given together or not at all")
    if not spec.streams:
        raise DoesNotApply("it has no frames")
    clip = bench.clips()[0]
    length = min(3, clip.stop - clip.start)
    root = bench.source if bench.source.is_dir() else bench.source.parent
    for stream in spec.streams:
        source = resolve(spec.frames)(root, stream)
        frames = list(source.frames(clip.video_id, clip.start, clip.start + length))
        require(len(frames) == length, f"stream '{stream}': {len(frames)} frames, {length} were asked for")
        looks = {(frame.ndim, str(frame.dtype), frame.shape[:2]) for frame in frames}
        good = len(looks) == 1 and next(iter(looks))[:2] in ((3, "uint8"), (2, "uint16"), (2, "uint8"))
        require(
            good,
            f"stream '{stream}': frames are {looks}, wanted (H, W, 3) uint8 or (H, W) uint16 of one size",
        )
    return f"streams {', '.join(spec.streams)}"


API = (
    check_example_can_be_imported,
    check_clips_are_valid,
    check_store_is_complete,
    check_shards_merged_equal_one_import,
    check_units_can_be_pickled,
    check_other_folder_is_refused,
    check_mirrored_classes_are_pairs,
    check_frames_can_be_read,
)
