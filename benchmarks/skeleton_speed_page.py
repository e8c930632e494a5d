"""The section of docs/results.md on the speed of skeleton models, of results/skeleton-speed.json."""

from __future__ import annotations

from benchmarks.page_parts import NOT_RUN, record

# Measurement -> what it is, and which goal it has.
PEER_ROWS = (
    ("joints/figure", "heatmaps of keypoints, 68 x 48 x 56 x 56, a figure", "joints"),
    ("joints/uniform", "the same, keypoints anywhere", "joints"),
    ("limbs/figure", "heatmaps of 68 limbs, a figure", "limbs"),
    ("limbs/uniform", "the same, limbs of any length", "limbs"),
    ("posec3d-forward", "PoseC3D, forward, folded normalisation", "posec3d-forward"),
    ("posec3d-step", "PoseC3D, training step", "posec3d-step"),
    ("stgcn-step", "ST-GCN, training step of 8 clips of 64 frames", ""),
    ("stcnn-over-peer-stgcn", "DecoupledSTCNN `base` beside the reference's ST-GCN, training step", ""),
)
OWN_ROWS = (
    ("stcnn-over-stgcn", "DecoupledSTCNN `base`", "stcnn-over-stgcn"),
    ("stcnn-small-over-stgcn", "DecoupledSTCNN `small`, half the frames behind its first block", ""),
)


def section() -> list[str]:
    """Return the section's lines."""
    lines = ["", "## Skeleton models: speed", ""]
    found = record("skeleton-speed")
    if found is None:
        return [*lines, NOT_RUN]
    goals = found["goals"]
    lines += [
        "Beside mmaction2 1.2.0 in an environment of its own, the same inputs, sides in turns; float32,",
        f"{found['machine']}. Medians; in brackets the best round of each side, as other work on a",
        f"machine only adds time. Commit {found['commit']}, `{found['command']}`.",
        "",
        "| what | mmaction2, ms | ours, ms | ratio | wanted |",
        "|---|---|---|---|---|",
    ]
    for name, what, goal in PEER_ROWS:
        row = found[name]
        theirs = f"{row['peer_ms']:.0f} ({row['best_peer_ms']:.0f})"
        ours = f"{row['ours_ms']:.1f} ({row['best_ours_ms']:.1f})"
        ratio = f"{row['ratio']:.1f} ({row['best_ratio']:.1f})"
        lines.append(f"| {what} | {theirs} | {ours} | {ratio} | {_wanted(goals, goal)} |")
    lines += [
        "",
        "| training, clips a second | our ST-GCN | this | ratio | wanted |",
        "|---|---|---|---|---|",
    ]
    for name, what, goal in OWN_ROWS:
        row = found[name]
        lines.append(
            f"| {what} | {row['stgcn_clips_per_second']:.1f} | {row['stcnn_clips_per_second']:.1f} | "
            f"{row['ratio']:.1f} ({row['best_ratio']:.1f}) | {_wanted(goals, goal)} |"
        )
    rates = found["roofline"]["gflops_per_second"]
    product = rates["matrix-product"]
    cells = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items() if name != "matrix-product")
    return [
        *lines,
        "",
        f"GFLOP/s at best: {cells}; a product of two 1536 x 1536 matrices {product:.0f}. Convolutions may",
        "pass it: they run in oneDNN, the product in MKL.",
    ]


def _wanted(goals: dict[str, float], goal: str) -> str:
    return f">= {goals[goal]:g}" if goal else ""
