"""``mg plugins``, ``mg models``: what is installed."""

from __future__ import annotations

from mg_data.cli.text import table
from mg_data.contract.runtime import Console, StageResult
from mg_data.plugins import registry
from mg_data.plugins.registry import KINDS

# So many names of a kind fit into a line; --json has all.
_NAMED = 3


def plugins(*, console: Console) -> StageResult:
    """List plugins with what each adds, failures with their cause, and name conflicts."""
    known = registry()
    rows: list[tuple[str, ...]] = [("distribution", "version", "state", "adds")]
    listing = []
    for info in known.plugins:
        adds = {
            kind: sorted(
                name
                for (other, name), owner in known.owners.items()
                if other == kind and owner == info.distribution
            )
            for kind in KINDS
        }
        adds = {kind: names for kind, names in adds.items() if names}
        summary = ", ".join(
            f"{len(names)} {kind}" + (f" ({' '.join(names)})" if len(names) <= _NAMED else "")
            for kind, names in adds.items()
        )
        rows.append((info.distribution, info.version, info.status, info.error or summary))
        listing.append(
            {
                "distribution": info.distribution,
                "version": info.version,
                "module": info.module,
                "status": info.status,
                "error": info.error,
                "adds": adds,
            }
        )
    text = table(rows)
    if known.conflicts:
        text += "\n\nConflicts:\n" + "\n".join(f"  {conflict}" for conflict in known.conflicts)
    return StageResult(data={"plugins": listing, "conflicts": list(known.conflicts)}, text=text)


def models(*, console: Console) -> StageResult:
    """List models with modalities, presets and weights."""
    known = registry()
    rows: list[tuple[str, ...]] = [("model", "modalities", "presets", "from", "what")]
    listing = []
    for name, spec in sorted(known.models.items()):
        owner = known.version_of("models", name)
        rows.append((name, ", ".join(spec.modalities), ", ".join(spec.presets) or "-", owner, spec.summary))
        listing.append(
            {
                "name": name,
                "modalities": list(spec.modalities),
                "presets": {preset: dict(options) for preset, options in spec.presets.items()},
                "weights": [weights.name for weights in spec.weights],
                "from": owner,
                "summary": spec.summary,
                "source": spec.source,
            }
        )
    return StageResult(data={"models": listing}, text=table(rows))
