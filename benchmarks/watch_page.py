"""The section of docs/results.md on mg watch, of results/watch-synthetic-seedS.json."""

from __future__ import annotations

from benchmarks.page_parts import NOT_RUN, records, spread

SEEDS = (0, 1, 2)


def section() -> list[str]:
    """Return the section's lines; a seed that has not been run reads "not run"."""
    lines = ["", "## Whole videos: `mg watch`", ""]
    found = {record["seed"]: record for record in records("watch-synthetic-seed*")}
    lines += [
        "Synthetic people: a smoke test, no evidence for real ones. Seven train, one chooses the thresholds,",
        "two are watched; `--truth` alone reads their labels. A segment is right if its class is and its IoU",
        "with an annotation is at least 0.5; percent; `python -m benchmarks.watch`. Speed is of the whole",
        "command on two threads, its start included, in seconds of video a second (wanted > 1).",
        "",
        "| seed | F1 | precision | recall | F1, any class | F1 where chosen | gestures | video, s | speed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for seed in sorted({*SEEDS, *found}):
        record = found.get(seed)
        if record is None:
            lines.append(f"| {seed} |{f' {NOT_RUN} |' * 8}")
            continue
        scores = record["scores"]
        shares = [scores[key] or 0.0 for key in ("f1", "precision", "recall", "f1_any_class")]
        cells = [f"{100 * share:.2f}" for share in (*shares, record["f1_where_chosen"])]
        lines.append(
            f"| {seed} | {' | '.join(cells)} | {scores['annotations']} | {record['video_seconds']:.0f} "
            f"| {record['video_seconds_a_second']:.1f} |"
        )
    if found:
        f1 = spread(record["scores"]["f1"] for record in found.values())
        least = min(record["video_seconds_a_second"] for record in found.values())
        about = sorted({(record["machine"], record["commit"]) for record in found.values()})
        told = "; ".join(f"{machine}, commit {commit}" for machine, commit in about)
        lines += [
            "",
            f"F1 {f1} over {len(found)} seeds; at least {least:.1f} times as fast as the videos play.",
        ]
        lines += [f"{told}."]
    return lines
