"""Golden arrays of the public reference: ``python tools/parity.py [--environment FOLDER]``.

Makes an environment of its own with the peer (mmaction2) by pip, runs the peer there on inputs and
weights that both sides can make (``packages/mg-skeleton/tests/golden/rule.py``) and writes its outputs to
``packages/mg-skeleton/tests/golden``, from which the ordinary tests read. ``--check`` writes nothing and
fails if the peer's outputs differ from what is there. The adjacencies and two tiny checkpoints are kept too.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "packages" / "mg-skeleton" / "tests" / "golden"
TORCH = "torch==2.13.0"
PEER = ("mmaction2==1.2.0", "mmcv-lite==2.1.0", "mmengine", "importlib_metadata")
LARGEST = 200_000  # bytes of all golden files together
TOLERANCE = 1e-6

# name -> (persons, frames, keypoints), (height, width), sigma
HEATMAPS: dict[str, tuple[tuple[int, int, int], tuple[int, int], float]] = {
    "square": ((2, 1, 17), (56, 56), 0.6),
    "oblong": ((3, 1, 17), (32, 48), 1.0),
    "small": ((1, 2, 17), (24, 20), 0.6),
}


def prepare(folder: Path, peer: Sequence[str] = PEER) -> Path:
    """Make an environment of ``peer`` in ``folder`` unless it is there; return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    # torch alone and by pip, which prefers a processor's build where the index offers one.
    for packages in ((TORCH,), peer):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def import_peer() -> None:
    """Stand in for what the peer's wheel lacks; before anything of mmaction.models is imported."""
    for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["mmaction.models.localizers.drn.drn"].DRN = type("DRN", (), {})  # type: ignore[attr-defined]


def load_rule() -> Any:
    """Return the module golden/rule.py."""
    spec = importlib.util.spec_from_file_location("golden_rule", GOLDEN / "rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(module: Any) -> None:
    """Set every weight of a peer's module by the rule, and put it into evaluation mode."""
    import torch

    state = module.state_dict()
    values = load_rule().weights({name: tuple(value.shape) for name, value in state.items()})
    module.load_state_dict(state | {name: torch.from_numpy(value) for name, value in values.items()})
    module.eval()  # returns None there


def networks(
    *,
    channels: int,
    base: int,
    classes: int,
    depths: tuple[int, ...] = (4, 6, 3),
    **graph_options: Any,
) -> tuple[Any, Any]:
    """Return PoseC3D's and ST-GCN's recognisers of the peer as plain modules with its own names."""
    import torch
    from mmaction.models import STGCN, GCNHead, I3DHead, ResNet3dSlowOnly

    posec3d = torch.nn.ModuleDict(
        {
            "backbone": ResNet3dSlowOnly(
                depth=50,
                pretrained=None,
                in_channels=channels,
                base_channels=base,
                num_stages=3,
                out_indices=(2,),
                stage_blocks=depths,
                conv1_stride_s=1,
                pool1_stride_s=1,
                inflate=(0, 1, 1),
                spatial_strides=(2, 2, 2),
                temporal_strides=(1, 1, 2),
                dilations=(1, 1, 1),
            ),
            "cls_head": I3DHead(num_classes=classes, in_channels=base * 16, dropout_ratio=0.5),
        }
    )
    stgcn = torch.nn.ModuleDict(
        {
            "backbone": STGCN(
                graph_cfg={"layout": "coco", "mode": "stgcn_spatial"}, base_channels=2 * base, **graph_options
            ),
            "cls_head": GCNHead(num_classes=classes, in_channels=(4 if graph_options else 8) * base),
        }
    )
    for network in (posec3d, stgcn):
        fill(network)
    return posec3d, stgcn


def heatmaps() -> dict[str, Any]:
    """Return the peer's heatmaps, (T, C, H, W): places (as gaps) and values of what is not 0."""
    import numpy as np
    from mmaction.datasets.transforms.pose_transforms import GeneratePoseTarget

    rule, kept = load_rule(), {}
    for name, (shape, size, sigma) in HEATMAPS.items():
        people = rule.people(name, shape)
        pixels = people[..., :2] * np.array([size[1], size[0]], np.float32)
        for kind, options in (
            ("joints", {}),
            ("limbs", {"with_kp": False, "with_limb": True}),
            ("double", {"double": True}),
        ):
            if kind == "double" and name != "small":
                continue
            sample = {"keypoint": pixels.copy(), "keypoint_score": people[..., 2].copy(), "img_shape": size}
            maps = GeneratePoseTarget(sigma=sigma, **options).transform(sample)["imgs"]
            places = np.flatnonzero(maps > 1e-6)
            kept[f"{name}/{kind}/shape"] = np.array(maps.shape)
            kept[f"{name}/{kind}/gaps"] = np.diff(places, prepend=0).astype(np.uint16)
            assert np.diff(places, prepend=0).max() < 2**16
            kept[f"{name}/{kind}/values"] = maps.reshape(-1)[places].astype(np.float32)
    return kept


def generate(folder: Path) -> None:
    """Run the peer (in its own environment) and write the golden files into ``folder``."""
    import_peer()
    import numpy as np
    import torch
    from mmaction.models.utils import Graph
    from mmengine.logging import MessageHub
    from mmengine.runner import save_checkpoint

    torch.set_num_threads(1)
    rule = load_rule()
    np.savez_compressed(folder / "heatmaps.npz", **heatmaps())

    posec3d, stgcn = networks(channels=17, base=32, classes=60)
    maps = torch.from_numpy(rule.clips("maps", (2, 17, 8, 32, 32)))
    points = torch.from_numpy(rule.clips("points", (2, 1, 16, 17, 3), -1.0))
    tiny = networks(
        channels=3,
        base=2,
        classes=5,
        depths=(1, 2, 1),
        num_stages=3,
        inflate_stages=[2],
        down_stages=[2],
    )
    outputs = {}
    with torch.no_grad():
        for size, (video, graph) in {"full": (posec3d, stgcn), "tiny": tiny}.items():
            channels = 17 if size == "full" else 3
            outputs[f"{size}/posec3d"] = video["cls_head"](video["backbone"](maps[:, :channels])).numpy()
            outputs[f"{size}/st-gcn"] = graph["cls_head"](graph["backbone"](points)).numpy()
        feature = posec3d["backbone"](maps)
        outputs["full/posec3d/feature"] = feature.mean(dim=(2, 3, 4)).numpy()
    for layout in ("coco", "nturgb+d", "openpose"):
        for mode in ("stgcn_spatial", "spatial"):
            outputs[f"adjacency/{layout}/{mode}"] = Graph(layout=layout, mode=mode).A.astype(np.float32)
    np.savez_compressed(folder / "networks.npz", **outputs)

    # As the peer's runner writes them: beside the weights objects of its own, with a history in them.
    hub = MessageHub.get_instance("golden")
    for loss in (1.5, 1.25):
        hub.update_scalar("train/loss", loss)
    for name, network in zip(("posec3d", "st-gcn"), tiny):
        checkpoint = {
            "meta": {"epoch": 2, "cfg": "model = dict()", "seed": 0, "experiment_name": "golden"},
            "state_dict": network.state_dict(),
            "message_hub": hub.state_dict(),
        }
        save_checkpoint(checkpoint, str(folder / f"mmaction2-{name}.pth"))


def compare(new: Path, old: Path) -> list[str]:
    """Return what differs between two folders of golden arrays."""
    import numpy as np

    wrong = []
    for name in ("heatmaps.npz", "networks.npz"):
        with np.load(new / name) as a, np.load(old / name) as b:
            if set(a) != set(b):
                wrong.append(f"{name}: entries differ")
                continue
            wrong += [f"{name}: {key}" for key in a if not _near(a[key], b[key])]
    return wrong


def _near(new: Any, old: Any) -> bool:
    return new.shape == old.shape and bool(abs(new.astype("float64") - old).max() <= TOLERANCE)


def main() -> int:
    """Make the environment, run the peer, write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--environment", type=Path, help="folder of the peer's environment, kept")
    parser.add_argument("--check", action="store_true", help="compare with the golden files, write nothing")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        generate(given.generate)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        python = prepare((given.environment or Path(scratch) / "peer").absolute())
        out = Path(scratch) / "golden"
        out.mkdir()
        subprocess.run([str(python), str(Path(__file__).resolve()), "--generate", str(out)], check=True)
        if given.check:
            wrong = compare(out, GOLDEN)
            print("\n".join(wrong) or "the peer's outputs are those of the golden files")
            return 1 if wrong else 0
        total = sum(path.stat().st_size for path in out.iterdir())
        if total > LARGEST:
            print(f"golden files of {total} bytes, want at most {LARGEST}: nothing written")
            return 1
        for path in sorted(out.iterdir()):
            (GOLDEN / path.name).write_bytes(path.read_bytes())
            print(f"{path.stat().st_size:8d} {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
