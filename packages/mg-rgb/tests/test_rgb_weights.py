"""Weights: found where the message says, loaded with a new head, refused when they are not weights."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mg_data.contract import DataError, InputSpec, UsageError
from mg_rgb.models.branch import VideoBranch
from mg_rgb.models.r2plus1d import r2plus1d
from mg_rgb.weights import find_weights, read_state
from mg_rgb.weights_records import R2PLUS1D_18_WEIGHTS, SLOW_R50_WEIGHTS, SWIN3D_T_WEIGHTS, VIDEOMAE_WEIGHTS


def tiny(num_classes: int = 5, channels: int = 3, **options: object) -> VideoBranch:
    spec = InputSpec(kind="video", shape=(channels, 4, 16, 16))
    shape = {"width": 4, "layers": (1, 1), "temporal_strides": (1, 1), "feature_dim": 0}
    return r2plus1d(num_classes, input=spec, **{**shape, **options})  # type: ignore[arg-type]


def library_state(num_classes: int = 400) -> dict[str, torch.Tensor]:
    """A checkpoint with the names of the video ResNets: the backbone's, and ``fc`` for the classifier."""
    torch.manual_seed(1)
    state = {
        k: torch.randn_like(v) if v.is_floating_point() else v
        for k, v in tiny().backbone.state_dict().items()
    }
    return state | {"fc.weight": torch.randn(num_classes, 8), "fc.bias": torch.randn(num_classes)}


def test_classifier_of_another_class_count_is_left_out(tmp_path: Path) -> None:
    torch.save(library_state(400), tmp_path / "k.pth")
    branch = tiny(5, weights=str(tmp_path / "k.pth"))
    assert branch.head.weight.shape == (5, 8)
    for name, value in library_state().items():
        if not name.startswith("fc."):
            assert torch.equal(branch.backbone.state_dict()[name], value)


def test_classifier_that_fits_is_taken(tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in library_state(5).items()}}, tmp_path / "k.pth")
    branch = tiny(5, weights=str(tmp_path / "k.pth"))
    assert torch.equal(branch.head.weight, library_state(5)["fc.weight"])


def test_first_convolution_is_averaged_to_one_channel(tmp_path: Path) -> None:
    state = library_state()
    torch.save(state, tmp_path / "k.pth")
    branch = tiny(channels=1, weights=str(tmp_path / "k.pth"))
    torch.testing.assert_close(
        branch.backbone.state_dict()["stem.0.weight"], state["stem.0.weight"].sum(1, keepdim=True)
    )


@pytest.mark.parametrize("feature_dim", [0, 12])
def test_a_branch_reads_its_own_checkpoint(tmp_path: Path, feature_dim: int) -> None:
    trained = tiny(5, feature_dim=feature_dim)
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    branch = tiny(5, weights=str(tmp_path / "own.pth"), feature_dim=feature_dim)
    for (name, value), (_, expected) in zip(branch.named_parameters(), trained.named_parameters()):
        assert torch.equal(value, expected), name


def test_a_branch_reads_a_checkpoint_of_mg_train(tmp_path: Path) -> None:
    trained = tiny(5, feature_dim=12)
    state = {f"model.{key}": value for key, value in trained.state_dict().items()}
    save_file({**state, "loss.classification.weight": torch.ones(5)}, tmp_path / "trained.safetensors")
    branch = tiny(5, weights=str(tmp_path / "trained.safetensors"), feature_dim=12)
    for (name, value), (_, expected) in zip(branch.named_parameters(), trained.named_parameters()):
        assert torch.equal(value, expected), name


def test_files_that_do_not_count_batches_load(tmp_path: Path) -> None:
    state = {k: v for k, v in library_state().items() if not k.endswith("num_batches_tracked")}
    torch.save({"model_state": state, "epoch": 3}, tmp_path / "old.pyth")
    branch = tiny(5, weights=str(tmp_path / "old.pyth"))
    assert torch.equal(branch.backbone.state_dict()["stem.0.weight"], state["stem.0.weight"])


def test_own_folder_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = SLOW_R50_WEIGHTS
    own, cache = tmp_path / "own", tmp_path / "hub"
    for folder in (own, cache / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / record.filename).write_bytes(b"")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cache))
    monkeypatch.setenv("MG_WEIGHTS_DIR", str(own))
    assert find_weights("kinetics400", SLOW_R50_WEIGHTS) == own / "SLOW_8x8_R50.pyth"
    monkeypatch.delenv("MG_WEIGHTS_DIR")
    assert find_weights("kinetics400", SLOW_R50_WEIGHTS) == cache / "checkpoints" / record.filename


def test_the_cache_of_hugging_face_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    folder = tmp_path / "models--MCG-NJU--videomae-base-finetuned-kinetics"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    file = folder / "snapshots" / "abc" / "model.safetensors"
    file.write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("MG_WEIGHTS_DIR", raising=False)
    assert find_weights("kinetics400", VIDEOMAE_WEIGHTS) == file


@pytest.mark.parametrize("given", ["prefix", "whole"])
def test_a_file_of_another_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (record,) = R2PLUS1D_18_WEIGHTS
    assert record.sha256 == "91a641e6"  # as torchvision writes it into the name
    content = b"not these weights"
    (tmp_path / record.filename).write_bytes(content)
    monkeypatch.setenv("MG_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"begins with 60f08cb3, .* 'kinetics400' with 91a641e6: the file"):
        find_weights("kinetics400", R2PLUS1D_18_WEIGHTS)
    digest = hashlib.sha256(content).hexdigest()
    right = dataclasses.replace(record, sha256=digest if given == "whole" else digest[:8])
    assert find_weights("kinetics400", (right,)) == tmp_path / record.filename


def test_without_internet_the_message_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_internet(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("MG_WEIGHTS_DIR", str(tmp_path / "mine"))
    with pytest.raises(DataError) as caught:
        find_weights("kinetics400", SWIN3D_T_WEIGHTS)
    text = str(caught.value)
    assert "put the file swin3d_t-7615ae03.pth into one of these folders" in text
    assert str(tmp_path / "mine") in text
    assert str(tmp_path / "checkpoints") in text
    assert "\n" not in text


def test_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'kinetics': no such file, .* \(known for this model: kinetics400\)"
    ):
        find_weights("kinetics", SWIN3D_T_WEIGHTS)


def test_checkpoint_of_another_network_names_what_is_missing(tmp_path: Path) -> None:
    state = library_state()
    state["stem.0.wieght"] = state.pop("stem.0.weight")
    torch.save(state, tmp_path / "k.pth")
    with pytest.raises(DataError, match=r"1 of \d+ names missing, 1 unexpected, such as 'stem.0.weight' "
                       r"\(closest in the file: 'stem.0.wieght'\)"):  # fmt: skip
        tiny(weights=str(tmp_path / "k.pth"))


def test_checkpoint_of_another_width_names_the_shape(tmp_path: Path) -> None:
    torch.save(tiny(width=8).backbone.state_dict(), tmp_path / "k.pth")
    with pytest.raises(DataError, match=r"'stem.0.weight' has shape .* wanted"):
        tiny(weights=str(tmp_path / "k.pth"))


class _Payload:
    """What a malicious checkpoint holds: unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain_pickle", [True, False])
def test_a_pickle_payload_is_refused_and_not_executed(tmp_path: Path, plain_pickle: bool) -> None:
    mark, path = tmp_path / "executed", tmp_path / "evil.pth"
    if plain_pickle:
        path.write_bytes(pickle.dumps(_Payload(mark)))
    else:
        torch.save({"state_dict": _Payload(mark)}, path)
    with pytest.raises(DataError, match="was refused, nothing in it was executed"):
        read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("hello, this is a text file")
    with pytest.raises(DataError, match=rf"notes\{suffix}"):
        read_state(path)


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html><title>404</title>", "version https://git-lfs.github.com/spec/v1"]
)
def test_a_page_or_pointer_in_the_place_of_a_checkpoint_is_not_taken_for_objects(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "kinetics.pth"
    path.write_text(text)
    with pytest.raises(
        DataError, match=f"not a torch checkpoint, it begins with b'{text[:16]}': fetch or copy"
    ):
        read_state(path)


def test_a_checkpoint_that_is_no_state_dict_is_named(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds list, wanted a state dict"):
        tiny(weights=str(tmp_path / "list.pth"))
