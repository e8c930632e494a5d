"""Adapters: which target clips get which label. Registered through ``mg_register_adapters``.

``threshold`` is the paper's (3.3). The others answer what it leaves open: who else must agree
(``agreement``), an alpha for each class (``flexmatch``, ``freematch``), a share for each class
(``balanced-top-k``), or the source's class frequencies (``distribution-alignment``). All but the last give a
clip the class of the largest fused probability. All hand on the probabilities they went by, which a training
may learn as soft labels (``recipe.pseudo_targets = "soft"``).
"""

from mg_adapt.adapters.adaptive import flexmatch, freematch
from mg_adapt.adapters.agreement import agreement
from mg_adapt.adapters.alignment import distribution_alignment
from mg_adapt.adapters.choice import model_votes, pick
from mg_adapt.adapters.threshold import threshold, threshold_rows
from mg_adapt.adapters.top_k import balanced_top_k

__all__ = [
    "agreement",
    "balanced_top_k",
    "distribution_alignment",
    "flexmatch",
    "freematch",
    "model_votes",
    "pick",
    "threshold",
    "threshold_rows",
]
