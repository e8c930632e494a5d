"""Names, kinds and versions of the store format; the normative text is docs/store-format.md."""

from __future__ import annotations

from typing import Final

FORMAT: Final = "mg-store"
FORMAT_VERSION: Final = "1.0"
# The oldest reader that understands what this version writes.
MIN_READER: Final = "1.0"

KINDS: Final = ("clips", "split", "streams", "features", "logits", "probs", "pseudo")
SPACES: Final = ("logit", "log_prob", "prob")
ENCODINGS: Final = ("jpeg", "png8", "png16")

# Floor under probabilities before the logarithm (``space="prob"`` stores).
PROB_FLOOR: Final = 1e-12
# How far a row of a ``space="prob"`` logit store may be from summing to one.
PROB_STORE_TOLERANCE: Final = 1e-3
# The same for /probs/values, which this project computes itself.
PROBS_TOLERANCE: Final = 1e-5

UNKNOWN_LABEL: Final = -1


def parse_version(text: str) -> tuple[int, int]:
    """Return ``(major, minor)`` of ``"1.0"``; ValueError if it is no version."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)
