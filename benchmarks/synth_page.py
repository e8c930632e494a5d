"""The section of docs/results.md on the synthetic corpus, of results/synth.json."""

from __future__ import annotations

from benchmarks.page_parts import NOT_RUN, record


def section() -> list[str]:
    """Return the section's lines; a part that has not been measured reads "not run"."""
    lines = ["", "## Synthetic corpus", ""]
    found = record("synth")
    if found is None:
        return [*lines, NOT_RUN]
    lines += [
        f"Keypoint tables become text {found['text_ratio']:.1f} times as fast as number by number.",
        f"Commit {found['commit']}, `{found['command']}`.",
        "",
        "| size | clips | frames | writing, s | memory at most, MB |",
        "|---|---|---|---|---|",
    ]
    writing = found.get("writing", {})
    for size in ("0.1", "1.0"):
        row = writing.get(size)
        if row is None:
            lines.append(f"| {size} |{f' {NOT_RUN} |' * 4}")
            continue
        lines.append(
            f"| {size} | {row['clips']:,} | {row['frames']:,} | {row['seconds']:.0f} "
            f"| {row['peak_megabytes']:.0f} |"
        )
    probe, study = found.get("probe"), found.get("study")
    lines += ["", f"A linear probe on its keypoints: {NOT_RUN}."]
    if probe:
        lines[-1] = (
            f"A linear probe on its keypoints ({probe['clips']:,} clips): accuracy "
            f"{100 * probe['accuracy']:.1f} %, mean class accuracy "
            f"{100 * probe['mean_class_accuracy']:.1f} %; the largest class has "
            f"{100 * probe['largest_class']:.1f} %."
        )
    lines += ["", f"A small video network on crops and on whole frames: {NOT_RUN}."]
    if study:
        crop, full = study["crop"], study["full-frame"]
        lines[-1] = (
            f"{study['model']}, on crops: accuracy {100 * crop['accuracy']:.1f} %, macro-F1 "
            f"{100 * crop['macro_f1']:.1f} %; on whole frames {100 * full['accuracy']:.1f} % and "
            f"{100 * full['macro_f1']:.1f} % (`{study['options']}`, commit {study['commit']})."
        )
    return lines
