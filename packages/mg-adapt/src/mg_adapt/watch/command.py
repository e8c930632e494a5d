"""The ``mg watch`` command: whole videos in, timelines of recognised gestures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mg_adapt.branch import choose_device, set_threads
from mg_adapt.files import file_digest
from mg_adapt.recipe import nearest
from mg_adapt.target import read_vote_parameters
from mg_adapt.watch.answers import Answerer, Vote, answer_windows, choose_vote, open_answerers
from mg_adapt.watch.choosing import (
    Chosen,
    Watched,
    check_annotated,
    choose_thresholds,
    read_chosen,
    write_chosen,
)
from mg_adapt.watch.matching import evaluate
from mg_adapt.watch.overlay import check_overlay, write_overlay
from mg_adapt.watch.segments import Thresholds, place_windows
from mg_adapt.watch.timeline import Timeline, check_ending, timeline_files, write_timelines
from mg_adapt.watch.truth import Truth, read_truth
from mg_adapt.watch.videos import Video, choose_videos, open_source, rows_of_crops
from mg_data.contract import Console, DataError, FrameSource, StageResult, UsageError
from mg_data.store import ClipsStore, StreamsStore, Taint, open_clips, open_streams

WINDOW, STEP = 1.5, 0.2


def watch(
    *,
    console: Console,
    checkpoints: Sequence[Path],
    clips: Path,
    out: Sequence[Path],
    crops: Path | None = None,
    fusion: Path | None = None,
    only: Sequence[str] = (),
    fps: float | None = None,
    window: float | None = None,
    step: float | None = None,
    enter: float | None = None,
    leave: float | None = None,
    smooth: float | None = None,
    merge: float | None = None,
    min_duration: float | None = None,
    overlap: float | None = None,
    thresholds: Path | None = None,
    background: Sequence[str] = (),
    truth: Path | None = None,
    labels: Path | None = None,
    iou: float = 0.5,
    choose: Path | None = None,
    overlay: Path | None = None,
    video: Path | None = None,
    size: int = 480,
    batch_size: int = 32,
    threads: int = 0,
    device: str = "auto",
) -> StageResult:
    """Find gestures in whole videos and write timelines.

    A window slides over each video; every checkpoint answers for every window as ``mg predict`` would for a
    clip; the answers are voted, smoothed over time and joined to segments
    (:class:`mg_adapt.watch.segments.Thresholds`).

    Args:
        window, step and the thresholds: None takes what ``thresholds`` (a file of ``choose``) says, else the
            default.
        background: classes that are no gesture: they compete, and are not written.
        truth: annotations to score by. Nothing is settled by them, unless ``choose`` asks for thresholds: the
            score then says so.
        overlay: an mp4 of all the videos, on the frames of ``video`` or on an empty canvas.

    Raises:
        UsageError: a value out of range, a class or video that is not there, an unknown frame rate, a file to
            write that is read.
        StoreError: a store or checkpoint that cannot be read, or that does not fit the others.
        DataError: annotations or frames that cannot be used.
    """
    for path in out:
        check_ending(path)
    _check_files(
        [*(("-o", path) for path in out), ("--choose", choose), ("--overlay", overlay)],
        [
            *(("a checkpoint", path) for path in checkpoints),
            ("--clips", clips),
            ("--crops", crops),
            ("--fusion", fusion),
            ("--thresholds", thresholds),
            ("--truth", truth),
            ("the labels", labels or (truth and truth.with_name("labels.csv"))),
            ("--video", video),
        ],
    )
    if choose is not None and truth is None:
        raise UsageError("--choose needs --truth, the annotations to choose thresholds by")
    if not 0 < iou <= 1:
        raise UsageError(f"--iou is {iou:g}, wanted more than 0, at most 1")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, found {batch_size}")
    if size < 32:
        raise UsageError(f"--size is {size}; give 32 or more")
    set_threads(threads)
    target = choose_device(device)
    earlier = None if thresholds is None else read_chosen(thresholds)
    given = {
        "enter": enter,
        "leave": leave,
        "smooth": smooth,
        "merge": merge,
        "min_duration": min_duration,
        "overlap": overlap,
    }
    settings = replace(
        Thresholds() if earlier is None else earlier.thresholds,
        **{name: value for name, value in given.items() if value is not None},
    )
    settings.check()
    window_seconds, step_seconds = _pace(window, step, earlier)
    answerers = open_answerers(checkpoints, has_crops=crops is not None)
    class_names = answerers[0].trained.class_names
    if earlier is not None and earlier.class_names != class_names:
        raise UsageError(
            f"--thresholds {thresholds}: were chosen for other classes than {checkpoints[0]} has"
        )
    ignored = _background(background, class_names)
    vote = choose_vote(answerers, None if fusion is None else read_vote_parameters(fusion))
    marked = None if truth is None else read_truth(truth, class_names, ignored, labels)

    with open_clips(clips) as store:
        source = None if video is None else open_source(store, video)
        videos = choose_videos(store, only, fps, source)
        if video is not None and video.is_file() and len(videos) > 1:
            raise UsageError(
                f"--video {video}: is one file and {len(videos)} videos are watched: choose one by --only"
            )
        # Before any model is asked: what is refused after it would cost all of its answers.
        ids = [item.video_id for item in videos]
        if marked is not None:
            if choose is not None:
                check_annotated(ids, marked)
            else:
                _check_truth(marked, ids)
        for path in out:
            timeline_files(path, ids)
        media = {item.video_id: _media(source, item) for item in videos}
        if overlay is not None:
            check_overlay(overlay, store, videos, source)
            _check_files(
                [("--overlay", overlay)], [(f"video '{name}'", path) for name, path in media.items()]
            )
        streams = None if crops is None else open_streams(crops)
        watched = _watch(
            console,
            answerers,
            vote,
            store,
            videos,
            streams,
            pace=(window_seconds, step_seconds),
            batch_size=batch_size,
            device=target,
        )
        if streams is not None:
            streams.close()
        inputs = _inputs(answerers, store, crops, fusion, thresholds, truth)
        chosen_on: tuple[str, ...] = () if earlier is None else earlier.videos
        if choose is not None and marked is not None:
            settings, best = choose_thresholds(watched, marked, settings, ignored, iou)
            chosen_on = tuple(
                item.video.video_id for item in watched if item.video.video_id in marked.annotations
            )
            file = Chosen(
                thresholds=settings,
                window=window_seconds,
                step=step_seconds,
                videos=chosen_on,
                f1=best,
                iou=iou,
                class_names=class_names,
            )
            write_chosen(choose, file, inputs)
        timelines = [
            Timeline(
                video_id=item.video.video_id,
                fps=item.video.fps,
                start=item.video.start,
                stop=item.video.stop,
                segments=tuple(item.segments(settings, ignored)),
                media=media[item.video.video_id],
            )
            for item in watched
        ]
        facts: dict[str, Any] = {
            "checkpoints": [
                {"branch": answerer.trained.key, "weight": weight, "digest": answerer.trained.digest}
                for answerer, weight in zip(answerers, vote.weights.tolist())
            ],
            "temperature": vote.temperature,
            "window": window_seconds,
            "step": step_seconds,
            "thresholds": asdict(settings),
            "thresholds_chosen_on": list(chosen_on),
            "background": [class_names[label] for label in sorted(ignored)],
            "inputs": inputs,
        }
        if marked is not None:
            facts["evaluation"] = _evaluate(console, timelines, marked, iou, answerers, chosen_on)
        written = [file for path in out for file in write_timelines(path, timelines, class_names, facts)]
        if overlay is not None:
            frames = sum(item.length for item in videos)
            with console.progress("overlay", frames) as progress:
                write_overlay(
                    overlay,
                    store,
                    videos,
                    timelines,
                    class_names,
                    source=source,
                    size=size,
                    progress=progress,
                )
            written.append(overlay)
    data = {
        "written": [str(path) for path in written],
        "videos": len(timelines),
        "seconds": round(sum((item.stop - item.start) / item.fps for item in timelines), 3),
        "segments": sum(len(item.segments) for item in timelines),
        **({"chosen": str(choose)} if choose is not None else {}),
        **facts,
    }
    return StageResult(data=data, text=_text(data, written, choose))


def _check_files(written: Sequence[tuple[str, Path | None]], read: Sequence[tuple[str, Path | None]]) -> None:
    """Refuse to write over a file that is read, or two things to one file; all are (what it is, path)."""
    taken = {path.resolve(): name for name, path in read if path is not None}
    for name, path in written:
        if path is None:
            continue
        if path.resolve() in taken:
            raise UsageError(f"{name} {path}: is the file of {taken[path.resolve()]} too; write to another")
        taken[path.resolve()] = name


def _pace(window: float | None, step: float | None, earlier: Chosen | None) -> tuple[float, float]:
    """Return seconds of a window and of a step."""
    seconds = window if window is not None else WINDOW if earlier is None else earlier.window
    between = step if step is not None else STEP if earlier is None else earlier.step
    for name, value in (("window", seconds), ("step", between)):
        if not 0 < value <= 600:
            raise UsageError(f"--{name} is {value:g}, wanted more than 0, at most 600 seconds")
    if between > seconds:
        raise UsageError(f"--step {between:g} is longer than --window {seconds:g}: nobody would see the rest")
    return seconds, between


def _background(names: Sequence[str], class_names: Sequence[str]) -> frozenset[int]:
    for name in names:
        if name not in class_names:
            raise UsageError(
                f"--background: the checkpoints have no class '{name}'{nearest(name, class_names)}"
            )
    return frozenset(class_names.index(name) for name in names)


def _watch(
    console: Console,
    answerers: Sequence[Answerer],
    vote: Vote,
    store: ClipsStore,
    videos: Sequence[Video],
    crops: StreamsStore | None,
    *,
    pace: tuple[float, float],
    batch_size: int,
    device: Any,
) -> list[Watched]:
    """Return the voted answers for every window of every video."""
    rows = {} if crops is None else rows_of_crops(crops, store, videos)
    plans = []
    for video in videos:
        long, apart = (max(1, round(seconds * video.fps)) for seconds in pace)
        plans.append((video, place_windows(video.length, long, apart), apart / video.fps))
    total = len(answerers) * sum(len(windows) for _, windows, _ in plans)
    watched = []
    with console.progress("watch", total) as progress:
        for video, windows, between in plans:
            logits = answer_windows(
                answerers,
                store,
                video,
                windows,
                crops=None if crops is None else (crops, rows[video.row]),
                batch_size=batch_size,
                device=device,
                progress=progress,
            )
            probs = vote.probabilities(logits)
            watched.append(Watched(video=video, windows=windows, probs=probs, step=between))
    return watched


def _media(source: FrameSource | None, video: Video) -> Path | None:
    path_of = getattr(source, "video_path", None)
    return None if path_of is None else Path(path_of(video.video_id))


def _check_truth(truth: Truth, video_ids: Sequence[str]) -> None:
    if not any(name in truth.annotations for name in video_ids):
        first = f", the first is '{video_ids[0]}'" if video_ids else ""
        raise DataError(f"{truth.path}: annotates none of the {len(video_ids)} watched videos{first}")


def _evaluate(
    console: Console,
    timelines: Sequence[Timeline],
    truth: Truth,
    iou: float,
    answerers: Sequence[Answerer],
    chosen_on: Sequence[str],
) -> dict[str, Any]:
    """Score the timelines, and say what speaks against the score."""
    watched = [timeline.video_id for timeline in timelines]
    both = {video: truth.annotations[video] for video in watched if video in truth.annotations}
    if len(both) < len(watched):
        console.warn(f"{len(watched) - len(both)} watched video(s) are not in {truth.path}: not scored")
    result = evaluate({item.video_id: item.segments for item in timelines}, both, iou)
    seen = [video for video in both if video in chosen_on]
    if seen:
        console.warn(f"thresholds were chosen on {len(seen)} of the {len(both)} scored videos: F1 flatters")
    taint = Taint.union_all(answerer.trained.taint for answerer in answerers)
    learnt = sum(taint.trained_overlap(truth.keys[video]) for video in both if video in truth.keys)
    if learnt:
        console.warn(f"{learnt} annotated clips were trained on: F1 says nothing about unseen videos")
    return {**result, "videos_that_chose_thresholds": seen, "clips_trained_on": learnt}


def _inputs(
    answerers: Sequence[Answerer],
    store: ClipsStore,
    crops: Path | None,
    fusion: Path | None,
    thresholds: Path | None,
    truth: Path | None,
) -> dict[str, str]:
    """Return the digests of everything that was read."""
    inputs = {answerer.trained.key: answerer.trained.digest for answerer in answerers}
    inputs["clips"] = store.digest
    for name, path in (("crops", crops), ("fusion", fusion), ("thresholds", thresholds), ("truth", truth)):
        if path is not None:
            inputs[name] = file_digest(path)
    return inputs


def _text(data: dict[str, Any], written: Sequence[Path], choose: Path | None) -> str:
    lines = [f"{data['segments']} segments in {data['videos']} video(s), {data['seconds']:.0f} s"]
    if "evaluation" in data:
        found = data["evaluation"]
        f1, precision, recall = (
            "-" if found[name] is None else f"{100 * found[name]:.1f} %"
            for name in ("f1", "precision", "recall")
        )
        lines.append(
            f"F1 {f1} at IoU {found['iou']:g} (precision {precision}, recall {recall}; "
            f"{found['true_positives']} of {found['annotations']} gestures)"
        )
    if choose is not None:
        used = data["thresholds"]
        lines.append(
            f"thresholds: enter {used['enter']:g}, leave {used['leave']:g}, smooth {used['smooth']:g} s, at "
            f"least {used['min_duration']:g} s\n{choose}"
        )
    return "\n".join([*lines, *(str(path) for path in written)])
