"""Who has seen the clips that fusion parameters would be fitted on, and what that allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, TaintError
from mg_data.store import Taint


def keys_fitted_on(fitted_on: Mapping[str, Any]) -> NDArray[np.uint64]:
    """Return the keys of the clips that parameters were fitted on (empty if they were given by hand).

    Raises:
        ValueError: what stands there is no list of keys.
    """
    try:
        keys = [int(key, 16) for key in fitted_on.get("clip_keys", ())]
        if min(keys, default=0) < 0:
            raise ValueError(f"{min(keys)} is below 0")
        return np.array(keys, dtype=np.uint64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"fitted_on.clip_keys is no list of keys: {error}") from error


def check_fit_taint(
    keys: Sequence[str],
    taints: Sequence[Taint],
    clips: NDArray[np.uint64],
    *,
    allow: bool,
    console: Console,
) -> dict[str, Any]:
    """Refuse to fit on clips a model was trained on; return what is known, for ``fusion.json``.

    A model is confident on clips it was trained on, so weights fitted there reward memory. Overlap with
    ``selected_on`` is a warning; of unknown taint nothing can be said, which is recorded.

    Args:
        keys, taints: one for each model. clips: (N,) keys of the clips to fit on.
        allow: fit all the same; the override is recorded in words.

    Raises:
        TaintError: naming the models, the number of clips, and what to do.
    """
    trained = {key: taint.trained_overlap(clips) for key, taint in zip(keys, taints, strict=True)}
    selected = {key: taint.selected_overlap(clips) for key, taint in zip(keys, taints, strict=True)}
    unknown = [key for key, taint in zip(keys, taints, strict=True) if not taint.known]
    guilty = {key: count for key, count in trained.items() if count}
    record: dict[str, Any] = {
        "state": "unknown" if unknown else "known",
        "unknown": unknown,
        "trained_on": guilty,
        "selected_on": {key: count for key, count in selected.items() if count},
        "override": "",
    }
    if guilty:
        names = ", ".join(f"'{key}' was trained on {count} of them" for key, count in guilty.items())
        if not allow:
            raise TaintError(
                f"fit: of the {len(clips)} clips to fit on, model {names}; reuse the parameters fitted "
                "before (--params fusion.json), fit on clips no model has seen, or override in writing "
                "with --allow-tainted"
            )
        record["override"] = (
            f"--allow-tainted: of the {len(clips)} clips fitted on, model {names}; temperature, weights and "
            "the metrics of this search are too good to be true"
        )
        console.warn(str(record["override"]))
    for key, count in record["selected_on"].items():
        console.warn(
            f"fit: model '{key}' was selected on {count} of the {len(clips)} clips fitted on: "
            "its weight is somewhat too high"
        )
    if unknown:
        console.say(f"fit: nothing is declared of what these models have seen: {', '.join(unknown)}")
    return record
