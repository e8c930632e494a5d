"""The fork server and the corpus of these tests, made once for each process that runs some of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_tools import STAGES, Bench, Server, make_base


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def base(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "base"
    make_base(server, folder)
    return folder


@pytest.fixture(scope="session")
def benches(server: Server, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """Benches by name of stage, each made when it is asked for."""

    class Made(dict[str, Bench]):
        def __missing__(self, name: str) -> Bench:
            room = tmp_path_factory.mktemp(name.replace(" ", ""))
            self[name] = Bench(server, STAGES[name], base, room)
            return self[name]

    return Made()
