"""All readers of foreign bytes by name."""

from __future__ import annotations

from fuzz_datasets import DATASETS
from fuzz_results import RESULTS
from fuzz_stores import STORES

READERS = {reader.name: reader for reader in (*STORES, *DATASETS, *RESULTS)}
