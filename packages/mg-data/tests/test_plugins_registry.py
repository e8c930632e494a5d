"""Plugins and their records within this process: who registered what, and what a wrong one is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pluggy
import pytest

from mg_data.cli.records import HOMES
from mg_data.contract import CommandSpec, DatasetSpec, LossSpec, PluginError, StageSpec, hookimpl
from mg_data.contract.version import PROJECT_NAME
from mg_data.plugins.loading import PluginInfo, _discover, _identity, load_plugins, normalise
from mg_data.plugins.registry import (
    KINDS,
    Registry,
    _State,
    build_registry,
    command_registry,
    notify_store_written,
    record_name,
    registry,
    resolve,
    use_plugins,
)

LOSSES = """
from mg_data.contract import LossSpec, hookimpl

@hookimpl
def mg_register_losses():
    return [LossSpec(name="{name}", summary="s", factory="m:f")]
"""


def loss(name: str) -> LossSpec:
    return LossSpec(name=name, summary="s", factory="m:f")


def plugin(**hooks: Any) -> ModuleType:
    module = ModuleType("a_plugin")
    for name, records in hooks.items():

        def hook(records: Any = records) -> Any:
            if isinstance(records, Exception):
                raise records
            return records

        setattr(module, name, hook)
    return module


def built(
    *, strict: str | None = None, kinds: tuple[str, ...] = tuple(KINDS), **plugins: ModuleType
) -> Registry:
    """Return the registry of plugins by their distributions' names, each of version 1.2."""
    manager = SimpleNamespace(list_name_plugin=lambda: list(plugins.items()))
    infos = [
        PluginInfo(distribution=name, version="1.2", module="m", status="loaded")
        for name, module in plugins.items()
        if module is not None
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MG_STRICT_PLUGINS", raising=False)
        if strict is not None:
            patch.setenv("MG_STRICT_PLUGINS", strict)
        return build_registry(manager, infos, kinds)  # type: ignore[arg-type]


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Load mg-data alone, and leave the plugins as they were."""
    monkeypatch.setenv("MG_PLUGINS", "mg-data")
    monkeypatch.delenv("MG_STRICT_PLUGINS", raising=False)
    yield monkeypatch
    monkeypatch.undo()
    use_plugins()


def add_distribution(site: Path, name: str, code: str, entry: str | None = None) -> None:
    module = name.replace("-", "_") + "_of_registry_test"
    (site / f"{module}.py").write_text(code)
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n\nName: of the text\n"
    )
    (info / "entry_points.txt").write_text(f"[mg.plugins]\n{entry or name} = {module}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions that this process sees."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("MG_STRICT_PLUGINS", raising=False)
    yield tmp_path
    for name in [name for name in sys.modules if name.endswith("_of_registry_test")]:
        del sys.modules[name]


def states(*names: str) -> dict[str, PluginInfo]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MG_PLUGINS", ",".join(names))
        return {info.distribution: info for info in load_plugins()[1]}


def test_a_name_has_one_spelling() -> None:
    assert normalise("Their_Great.Package") == "their-great-package"


def test_name_and_version_are_those_of_the_header(tmp_path: Path) -> None:
    add_distribution(tmp_path, "Their_Pack", "")
    assert _identity(metadata.PathDistribution(tmp_path / "Their_Pack-1.2.dist-info")) == (
        "Their_Pack",
        "1.2",
    )
    older = tmp_path / "older-3.egg-info"
    older.mkdir()
    (older / "PKG-INFO").write_text("Metadata-Version: 1.1\nName: older\nVersion: 3\n")
    assert _identity(metadata.PathDistribution(older)) == ("older", "3")


def test_the_header_is_read_without_parsing_all_of_it() -> None:
    header = "Metadata-Version: 2.1\nName: theirs \nSummary: a: b\n folded\nVersion: 1.2\n"
    text = f"{header}\nName: of the text\n\nVersion: 9\n"
    quick = SimpleNamespace(read_text={"METADATA": text}.get)
    assert _identity(quick) == ("theirs", "1.2")  # type: ignore[arg-type]
    for other in ({"METADATA": "Name: theirs\n\n"}.get, {}.get):
        slow = SimpleNamespace(read_text=other, metadata={"Name": "parsed"}, version="3")
        assert _identity(slow) == ("parsed", "3")  # type: ignore[arg-type]


def test_an_entry_point_of_no_distribution_goes_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        metadata.EntryPoint("My.Plugin", module, "mg.plugins")
        for module in ("nothing_here.z", "nothing_here.a")
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries if group == "mg.plugins" else [])
    found = [(name, version, entry.value) for name, version, entry in _discover()]
    assert found == [("my-plugin", "?", "nothing_here.a"), ("my-plugin", "?", "nothing_here.z")]
    # By the module, and not by how the name is written.
    entries[:] = [
        metadata.EntryPoint("P", "m.z", "mg.plugins"),
        metadata.EntryPoint("p", "m.a", "mg.plugins"),
    ]
    assert [entry.value for _, _, entry in _discover()] == ["m.a", "m.z"]


def test_a_module_behind_two_entry_points_is_registered_once(site: Path) -> None:
    add_distribution(site, "twice", LOSSES.format(name="l1"))
    (site / "twice-1.2.dist-info" / "entry_points.txt").write_text(
        "[mg.plugins]\ntwice = twice_of_registry_test\nagain = twice_of_registry_test\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MG_PLUGINS", "twice")
        manager, infos = load_plugins()
    assert [info.status for info in infos if info.distribution == "twice"] == ["loaded", "loaded"]
    assert [name for name, _ in manager.list_name_plugin()] == ["twice"]


def test_plugins_are_loaded_in_the_order_of_their_names_and_those_not_named_are_ignored(site: Path) -> None:
    add_distribution(site, "Some_Losses", LOSSES.format(name="l1"))
    add_distribution(site, "another", "raise SystemError('not wanted')")
    found = states(" some.losses ", "", "mg-data")
    names = list(found)
    assert names == sorted(names)
    assert found["some-losses"] == PluginInfo(
        distribution="some-losses", version="1.2", module="Some_Losses_of_registry_test", status="loaded"
    )
    assert (found["another"].status, found["another"].error) == ("ignored", "")
    assert found["mg-data"].status == "loaded"


def test_the_loaded_modules_are_registered_by_distribution(site: Path) -> None:
    add_distribution(site, "losses-here", LOSSES.format(name="l1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MG_PLUGINS", "losses-here")
        manager, _ = load_plugins()
    assert manager.project_name == PROJECT_NAME
    assert [name for name, _ in manager.list_name_plugin()] == ["losses-here"]
    assert hasattr(manager.hook, "mg_store_written")


def test_an_allowed_name_that_is_not_installed_is_an_error(site: Path) -> None:
    with pytest.raises(PluginError, match=r"names 'absent', which is not installed \(installed: .*mg-data"):
        states("mg-data", "absent")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        (
            "from mg_data.contract import hookimpl\n@hookimpl\ndef mg_store_written(path, colour): ...",
            "PluginError: broken 1.2: mg_store_written has no argument 'colour' (it has: path, kind, digest)",
        ),
        (
            "from mg_data.contract import hookimpl\nmg_a = 3\n@hookimpl\ndef mg_register_losses(x): ...",
            "PluginError: broken 1.2: mg_register_losses has no argument 'x' (it has: none)",
        ),
        (
            "from mg_data.contract import hookimpl\n@hookimpl\ndef mg_nothing(): ...",
            "PluginError: broken 1.2: 'mg_nothing' is no hook of this project (see docs/plugin-hooks.md)",
        ),
    ],
)
def test_a_plugin_that_fails_is_told_in_full(site: Path, code: str, error: str) -> None:
    add_distribution(site, "broken", code)
    found = states("broken", "mg-data")
    assert (found["broken"].status, found["broken"].error) == ("failed", error)
    assert found["mg-data"].status == "loaded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MG_STRICT_PLUGINS", "1")
        with pytest.raises(PluginError, match=r"^plugin broken 1\.2 failed: "):
            states("broken")
        patch.setenv("MG_STRICT_PLUGINS", "0")
        assert states("broken")["broken"].status == "failed"


def test_what_only_looks_like_a_hook_is_left_alone(site: Path) -> None:
    add_distribution(
        site, "plain", "mg_version = 3\ndef mg_helper(path=None): ...\n" + LOSSES.format(name="l")
    )
    assert states("plain")["plain"].status == "loaded"


def test_one_entry_point_name_of_two_distributions_serves_the_first(site: Path) -> None:
    add_distribution(site, "one", LOSSES.format(name="l1"), entry="same")
    add_distribution(site, "two", LOSSES.format(name="l2"), entry="same")
    found = states("one", "two")
    assert found["one"].status == "loaded"
    assert found["two"].status == "failed"
    assert "'same' is claimed by both one and two" in found["two"].error


def test_records_are_found_by_name_and_owner() -> None:
    records = built(theirs=plugin(mg_register_losses=(loss("a"), loss("b"))), others=plugin())
    assert list(records.losses) == ["a", "b"]
    assert records.get("losses", "b") == loss("b")
    assert records.owners == {("losses", "a"): "theirs", ("losses", "b"): "theirs"}
    assert records.version_of("losses", "a") == "theirs 1.2"
    assert records.version_of("losses", "c") == "? ?"
    assert records.conflicts == ()
    assert [info.distribution for info in records.plugins] == ["theirs", "others"]


def test_only_the_kinds_that_were_asked_for_are_there() -> None:
    stage = StageSpec(path=("x",), summary="s", factory="m:f", name="x")
    theirs = plugin(mg_register_losses=[loss("a")], mg_register_stages=[stage])
    records = built(theirs=theirs, kinds=("stages",))
    assert list(records.stages) == ["x"]
    assert records.losses == {}


def test_an_unknown_name_is_told_the_nearest_or_all_there_are_and_who_failed() -> None:
    records = built(theirs=plugin(mg_register_losses=[loss("focal"), loss("cross-entropy")]))
    with pytest.raises(PluginError, match=r"^no loss named 'focl' \(did you mean 'focal'\?\)$"):
        records.get("losses", "focl")
    with pytest.raises(PluginError, match=r"^no loss named 'xyz' \(known: cross-entropy, focal\)$"):
        records.get("losses", "xyz")
    with pytest.raises(PluginError, match=r"^no pose estimator named 'xyz' \(known: none\)$"):
        records.get("pose_estimators", "xyz")
    failed = built(b=plugin(mg_register_losses=RuntimeError("no GPU")), c=plugin(mg_register_losses=[3]))
    assert [info.status for info in failed.plugins] == ["failed", "failed"]
    assert failed.plugins[0].error == "mg_register_losses: RuntimeError: no GPU"
    assert failed.plugins[1].error == (
        "mg_register_losses: PluginError: mg_register_losses returned int, wanted LossSpec"
    )
    with pytest.raises(PluginError, match=r"\(known: none; failed plugins: b, c \(see 'mg plugins'\)\)$"):
        failed.get("losses", "xyz")


def test_a_hook_that_fails_takes_nothing_else_with_it() -> None:
    theirs = plugin(mg_register_datasets=RuntimeError("x"), mg_register_losses=[loss("a")])
    records = built(theirs=theirs, last=plugin(mg_register_losses=[loss("z")]))
    assert list(records.losses) == ["z", "a"]
    for word in ("", "0"):
        assert list(built(theirs=theirs, strict=word).losses) == ["a"]
    with pytest.raises(PluginError, match=r"^plugin theirs: mg_register_datasets: x$"):
        built(theirs=theirs, strict="1")


def test_a_plugin_that_was_blocked_has_no_records() -> None:
    assert list(built(a=None, b=plugin(mg_register_losses=[loss("z")])).losses) == ["z"]  # type: ignore[arg-type]


def test_a_name_of_two_or_three_plugins_belongs_to_none() -> None:
    same = plugin(mg_register_losses=[loss("a"), loss("b")])
    three = {
        "p": same,
        "q": plugin(mg_register_losses=[loss("a"), loss("c")]),
        "r": plugin(mg_register_losses=[loss("a")]),
    }
    records = built(**three)
    assert list(records.losses) == ["b", "c"]
    text = "losses 'a' is registered by p and q and r: uninstall one, or allow one by MG_PLUGINS"
    assert records.conflicts == (text,)
    with pytest.raises(PluginError, match=f"^{text}$"):
        records.get("losses", "a")
    with pytest.raises(PluginError, match=f"^{text}$"):
        built(strict="1", **three)
    with pytest.raises(PluginError, match=r"did you mean 'b'|known: b"):
        records.get("losses", "bb")


def test_a_data_set_may_name_its_collection() -> None:
    spec = DatasetSpec(name="imigue", summary="s", factory="m:f")
    records = built(theirs=plugin(mg_register_datasets=[spec]))
    assert records.dataset_of("imigue") == spec
    assert records.dataset_of("imigue:test:2024") == spec


def test_a_command_is_called_by_its_words_and_a_stage_by_its_name() -> None:
    command = CommandSpec(path=("store", "info"), summary="s", factory="m:f")
    assert record_name(command) == "store info"
    assert record_name(StageSpec(path=("x", "y"), summary="s", factory="m:f", name="z")) == "z"


def test_plugins_are_loaded_once_and_again_with_others_beside_them(no_plugins: pytest.MonkeyPatch) -> None:
    extra = ModuleType("extra_plugin")
    extra.mg_register_losses = hookimpl(lambda: [loss("extra")])  # type: ignore[attr-defined]
    plain = use_plugins()
    assert plain is registry()
    assert "extra" not in plain.losses
    more = use_plugins(extra)
    assert more is registry()
    assert more is command_registry()
    assert more.version_of("losses", "extra") == "extra_plugin 0"
    info = more.plugins[-1]
    assert (info.distribution, info.module, info.status) == ("extra_plugin", "extra_plugin", "loaded")
    assert "extra" not in use_plugins().losses


def test_help_asks_for_stages_and_commands_alone(no_plugins: pytest.MonkeyPatch) -> None:
    use_plugins()
    _State.registry = _State.commands = None
    commands = command_registry()
    assert commands is command_registry()
    assert commands.commands
    assert commands.datasets == {}
    assert registry().datasets
    assert registry() is not commands


def test_an_observer_is_told_and_its_failure_is_a_warning(no_plugins: pytest.MonkeyPatch) -> None:
    seen = []

    def mg_store_written(path: str, kind: str, digest: str) -> None:
        seen.append((path, kind, digest))
        raise RuntimeError("full")

    observer = ModuleType("observer")
    observer.mg_store_written = hookimpl(mg_store_written)  # type: ignore[attr-defined]
    use_plugins(observer)
    with pytest.warns(UserWarning, match="an mg_store_written observer failed: RuntimeError: full"):
        notify_store_written("a.h5", "clips", "d1")
    assert seen == [("a.h5", "clips", "d1")]


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("os.path", "factory 'os.path' is not of the form 'package.module:callable'"),
        (":join", "factory ':join' is not of the form 'package.module:callable'"),
        ("os.path:", "factory 'os.path:' is not of the form 'package.module:callable'"),
        ("nothing_here:f", "factory 'nothing_here:f' cannot be imported: No module named 'nothing_here'"),
        ("os.path:joyn", "factory 'os.path:joyn': module os.path has no 'joyn'"),
        ("pathlib:Path.nothing", "factory 'pathlib:Path.nothing': module pathlib has no 'Path.nothing'"),
        ("os.path:join:x", "factory 'os.path:join:x': module os.path has no 'join:x'"),
        ("os.path:sep", "factory 'os.path:sep' is no callable"),
    ],
)
def test_a_factory_that_cannot_be_had_is_told_why(factory: str, text: str) -> None:
    with pytest.raises(PluginError) as caught:
        resolve(factory)
    assert str(caught.value) == text


def test_a_factory_may_be_a_method() -> None:
    assert resolve("pathlib:Path.cwd")() == Path.cwd()
    assert resolve("pathlib:Path") is Path


def test_the_manager_is_that_of_the_project() -> None:
    assert isinstance(load_plugins()[0], pluggy.PluginManager)


def test_every_command_of_a_sibling_names_its_home() -> None:
    known = use_plugins()
    owned = [(spec.path[0], known.owners[kind, name]) for kind in ("stages", "commands") for name, spec in
             getattr(known, kind).items()]  # fmt: skip
    groups = {word for word, owner in owned if owner == "mg-data"}
    siblings = {"mg-skeleton", "mg-rgb", "mg-adapt", "mg-fusion"}
    found = {word: owner for word, owner in owned if owner in siblings and word not in groups}
    installed = {info.distribution for info in known.plugins if info.status == "loaded"}
    assert found == {word: owner for word, owner in HOMES.items() if owner in installed}
