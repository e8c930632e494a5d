"""The section of docs/results.md on the trainer: its overhead, its memory, two processes."""

from __future__ import annotations

from benchmarks.page_parts import NOT_RUN, record


def section() -> list[str]:
    """Return the section's lines; what has not been measured reads "not run"."""
    return ["", "## Training: overhead and two processes", "", *_overhead(), "", *_two_processes()]


def _overhead() -> list[str]:
    found = record("trainer-overhead")
    if found is None:
        return [f"The trainer beside a bare PyTorch loop: {NOT_RUN}"]
    wanted, epochs = found["wanted"], found["epochs"]
    first, last = (f"{epoch['resident_mib']:.0f}" for epoch in (epochs[0], epochs[-1]))
    overhead, most = f"{100 * found['overhead']:+.1f} %", f"{100 * wanted['overhead']:.0f} %"
    return [
        f"The trainer beside a bare PyTorch loop, {found['model']}, in turns: {overhead}",
        f"of the time of an epoch, log and resumable state included (wanted <= {most}; median of",
        f"{len(epochs)} epochs), losses apart by {found['loss_difference']:.0e} at most. The trainer keeps",
        f"freed memory where the bare loop gives it back. It has {first} MiB resident after the first epoch",
        f"and {last} after the last; from the third on it grows by a factor of {found['memory_growth']:.3f}",
        f"(wanted <= {wanted['memory']:g}).",
        f"{found['machine']}, commit {found['commit']}, `{found['command']}`.",
    ]


def _two_processes() -> list[str]:
    found = record("two-processes")
    if found is None:
        return [f"Training in two processes beside one: {NOT_RUN}"]
    wanted, faster = found["wanted"], f"{found['ratio']:.2f}"
    differences = ", ".join(f"{difference:.0e}" for difference in found["loss_differences"])
    return [
        f"{found['processes']} processes under torchrun are {faster} times as fast as one (wanted >=",
        f"{wanted['ratio']:g}; of the best rounds {found['best_ratio']:.2f}): `{found['model']}`,",
        "the same batches, BatchNorm over the whole of them. Losses of the epochs differ by",
        f"{differences} (relative; wanted <= {wanted['loss_difference']:g}).",
        f"{found['machine']}, commit {found['commit']}, `{found['command']}`.",
    ]
