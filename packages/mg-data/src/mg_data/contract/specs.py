"""Records that plugins hand over through the hooks.

Every record here is frozen and keyword-only. Heavy code is named, not imported: ``factory`` is a string
``"package.module:callable"`` that is resolved when the record is used, so listing plugins stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ParamRole = Literal["input", "output", "option"]
ParamType = Literal["str", "int", "float", "bool", "path", "json"]


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter of a command or stage; the command line is generated from it.

    Args:
        name: Python identifier; the option is ``--name`` with dashes.
        help: one line for ``--help``.
        role: ``input`` and ``output`` are files whose content decides whether ``mg run`` skips a stage.
        type: ``json`` accepts a JSON text on the command line and any JSON value in a recipe.
        multiple: the value is a list; given repeatedly, or as several words if ``positional``.
        flags: further spellings, such as ``("-o",)``.
        in_key: whether the value takes part in the stage's key (False for, e.g., the number of workers).
    """

    name: str
    help: str
    role: ParamRole = "option"
    type: ParamType = "str"
    default: Any = None
    required: bool = False
    multiple: bool = False
    positional: bool = False
    choices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    in_key: bool = True


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A subcommand of ``mg``.

    Args:
        path: words after ``mg``, such as ``("store", "info")``.
        summary: one line for ``--help``; shown without importing the command.
        factory: ``callable(*, console: Console, **params) -> StageResult | None``.
    """

    path: tuple[str, ...]
    summary: str
    factory: str
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StageSpec(CommandSpec):
    """A step of ``mg run``, and the command that runs it alone.

    Args:
        name: how recipes and stage records call it.
        reads: kinds of store it reads.
        writes: kinds of store or file it writes.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A raw data set that can be imported.

    Args:
        factory: ``callable(source: Path, **options) -> DatasetImport``.
        frames: ``callable(root: Path, stream: str) -> FrameSource``; empty if there is no video.
        streams: names of frame streams that ``frames`` can open, such as ``("rgb",)``.
        mirror_classes: pairs of class indices that swap under a horizontal flip.
        options: option names with their defaults.
        example: ``callable(folder: Path) -> Path`` writes a tiny raw tree of at least two recordings into an
            empty folder and returns what the importer is given; ``mg plugins check`` reads it.
    """

    name: str
    summary: str
    factory: str
    frames: str = ""
    streams: tuple[str, ...] = ()
    mirror_classes: tuple[tuple[int, int], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class LayoutSpec:
    """A named keypoint schema.

    Args:
        names: V keypoint names, in the order in which models see them.
        edges: index pairs; the graph they make is connected.
        pairs: left/right index pairs that swap under a horizontal flip.
        centre: index of the keypoint that centre normalisation subtracts.
        source: name of the layout whose columns are selected ("" if this is a native layout).
        columns: for each keypoint its column in ``source`` (empty if native).
        parents: for each keypoint the keypoint its bone starts at (itself for the centre).
        dims: what the first two or three columns are: ``xy`` (third is confidence) or ``xyz``.
        figure: for each keypoint its place in a standing figure seen from the front (x to the viewer's right,
            y downwards, any unit), for drawings; empty lets drawings work one out from the graph.
    """

    name: str
    summary: str
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    centre: int
    parents: tuple[int, ...]
    source: str = ""
    columns: tuple[int, ...] = ()
    dims: Literal["xy", "xyz"] = "xy"
    figure: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PoseEstimatorSpec:
    """A pose estimator: ``callable(**options) -> PoseEstimator``, whose results follow ``layout``.

    The factory is called once for each video.
    """

    name: str
    summary: str
    factory: str
    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModalitySpec:
    """How a stored clip becomes a model's input.

    Args:
        factory: ``callable(path: Path, **options) -> Modality``.
        store_kind: kind of store it reads: ``clips``, ``streams`` or ``features``.
        options: option names with their defaults.
        example: ``callable(folder: Path) -> Path`` writes a tiny store that it reads, for
            ``mg plugins check``; without it the checks write a store of the kind themselves.
    """

    name: str
    summary: str
    factory: str
    store_kind: Literal["clips", "streams", "features"]
    options: Mapping[str, Any] = field(default_factory=dict)
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """A checkpoint tied to its preprocessing.

    Args:
        name: how recipes call it, such as ``kinetics400``.
        url: where the file is fetched from.
        filename: the file that is looked for in ``MG_WEIGHTS_DIR`` and the hub cache.
        sha256: hex digest, or as much of its start as the publisher gives, "" for none; held to on loading.
    """

    name: str
    url: str
    filename: str
    sha256: str = ""
    licence: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A trainable branch.

    Args:
        factory: ``callable(num_classes: int, *, input: InputSpec, **options) -> torch.nn.Module``; the
            module maps a batch to ``ModelOutput(logits (N, K), feature (N, d))``.
        modalities: names of modalities it accepts, the default one first.
        presets: named sets of model options; ``options`` holds the defaults of all of them.
        modality_options: preset name -> options of the modality that go with it.
        recipe: default training settings, which a user's recipe overrides.
        weights: checkpoints it can start from, by the names that its option ``weights`` takes.
        source: where the network was published, or the library that it comes from.
    """

    name: str
    summary: str
    factory: str
    modalities: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    modality_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[WeightsSpec, ...] = ()
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class LossSpec:
    """A loss: ``callable(*, class_counts (K,) int64 array, **options) -> Loss``.

    ``kind`` is ``classification`` (reads the logits) or ``auxiliary`` (also reads the feature). A loss that
    must know d, the size of the model's feature, declares the option ``feature_dim`` with the value 0: the
    trainer fills it in.
    """

    name: str
    summary: str
    factory: str
    kind: Literal["classification", "auxiliary"] = "classification"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """Target scores -> pseudo-labels: ``callable(scores: TargetScores, **options) -> PseudoLabels``."""

    name: str
    summary: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FuserSpec:
    """Several models' scores -> probabilities.

    ``factory`` is ``callable(logits (M, N, K), present (M, N), **options) -> (N, K)`` float array. A fuser
    with parameters to find names in ``fit`` a ``callable(logits (M, N, K), labels (N,), present (M, N),
    **settings)`` that returns them as a table of JSON values; the factory takes that table as its option
    ``fitted``.
    """

    name: str
    summary: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fit: str = ""


@dataclass(frozen=True, kw_only=True)
class TrackerSpec:
    """Where training scalars go: ``callable(folder: Path, **options) -> Tracker``."""

    name: str
    summary: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
