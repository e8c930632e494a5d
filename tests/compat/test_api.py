"""The public names of mg_data are those that were promised; within a major version they only grow."""

from __future__ import annotations

from pathlib import Path

import api
import pytest
from packaging.version import Version
from versions import ROOT, version_today

HERE = Path(__file__).parent / "api"
PRESENT = {"mg-data": HERE / "mg_data.txt", "mg-fusion": ROOT / "packages/mg-fusion/tests/api_snapshot.txt"}

BEFORE = """\
[mg_data.contract]
class ModelSpec()
    name: str (required)
    options: Mapping[str, Any] = ...
class Modality(Protocol)
    sample(self, clip_id: 'str') -> 'int'
class Console(Protocol)
    say(self, text: 'str') -> 'None'
CONTRACT_VERSION: str
[mg_data.contract.hookspecs]
mg_store_written(path: 'str', kind: 'str') -> 'None'
[mg_data.store]
write(path: 'str', *, model: 'str', seed: 'int' = 0) -> 'str'
"""


def test_the_public_names_are_the_promised_ones(capsys: pytest.CaptureFixture[str]) -> None:
    changed = api.main([])
    assert not changed, (
        "the public names of mg_data changed. Within a major version they may only grow; if they do, write "
        f"the text anew: python tools/api.py --write\n{capsys.readouterr().err}"
    )


def test_releases_of_this_major_keep_their_promises() -> None:
    for name, path in PRESENT.items():
        today = version_today(name)
        for kept in sorted(HERE.glob(f"{name}-*.txt")):
            if Version(kept.stem.removeprefix(f"{name}-")).major == today.major:
                present = path.read_text(encoding="utf-8")
                broken = api.broken_promises(kept.read_text(encoding="utf-8"), present)
                assert broken == [], f"{kept.stem} promised what {name} {today} breaks"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 'int' = 0)", "seed: 'int' = 0, tta: 'str' = 'none')"),
        ("seed: 'int' = 0)", "seed: 'int' = 0, **more: 'Any')"),
        ("options: Mapping[str, Any] = ...", "options: Mapping[str, Any] = ...\n    example: str = ..."),
        ("say(self, text: 'str') -> 'None'", "say(self, text: 'str') -> 'None'\n    ask(self) -> 'str'"),
        ("kind: 'str')", "kind: 'str', digest: 'str')"),
        ("[mg_data.store]\n", "[mg_data.store]\nread(path: 'str') -> 'int'\n"),
        ("[mg_data.store]\n", "class LossSpec()\n    name: str (required)\n[mg_data.store]\n"),
    ],
)
def test_additions_break_nothing(old: str, new: str) -> None:
    assert old in BEFORE
    after = BEFORE.replace(old, new)
    if "more" in new:
        assert len(api.broken_promises(BEFORE, after)) == 1  # swallows misspelt names: no addition
    else:
        assert api.broken_promises(BEFORE, after) == []
    # And taking them away again breaks what was promised, but for the protocol's and hook's own rules.
    assert api.broken_promises(after, BEFORE)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("write(path", "store(path", "mg_data.store/write was removed: write(path: 'str'"),
        ("seed: 'int' = 0", "seed: 'int' = 1", "mg_data.store/write was changed: write(path"),
        ("*, model", "model", "mg_data.store/write was changed"),
        ("model: 'str'", "model: 'str', modality: 'str'", "mg_data.store/write was changed"),
        ("-> 'str'", "-> 'bytes'", "mg_data.store/write was changed"),
        (
            "name: str (required)\n",
            "name: str (required)\n    source: str (required)\n",
            "mg_data.contract/ModelSpec/source is a new field without a default: source: str (required)",
        ),
        (
            "sample(self, clip_id: 'str') -> 'int'\n",
            "sample(self, clip_id: 'str') -> 'int'\n    close(self) -> 'None'\n",
            "mg_data.contract/Modality/close is new in a protocol that plugins implement: close(self)",
        ),
        ("    options: Mapping[str, Any] = ...\n", "", "mg_data.contract/ModelSpec/options was removed"),
        (", kind: 'str')", ")", "mg_data.contract.hookspecs/mg_store_written was changed"),
    ],
)
def test_everything_else_is_named(old: str, new: str, message: str) -> None:
    assert old in BEFORE
    broken = api.broken_promises(BEFORE, BEFORE.replace(old, new, 1))
    assert len(broken) == 1
    assert broken[0].startswith(message)
