"""A recipe as steps: which stage with which files and options, in the order of the paper's loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_adapt.choice import resolve_branch, resolve_losses
from mg_adapt.recipe import resolve_recipe
from mg_adapt.run.settings import BranchSettings, RunSettings
from mg_data.contract import UsageError
from mg_data.plugins import Registry


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of a stage.

    Args:
        name: unique in the run; also the path of its record.
        stage: name of the stage.
        params: what the stage is called with; paths are absolute.
        uses: records whose plugin's version takes part in the step's key, as (kind, name).
        key_files: files whose digests make the key instead of all inputs (for a step that reads a folder).
    """

    name: str
    stage: str
    params: Mapping[str, Any]
    uses: tuple[tuple[str, str], ...] = ()
    key_files: tuple[str, ...] = ()


def list_files(protocol: Mapping[str, Any]) -> list[str]:
    """Return the files that a split protocol names (``subjects_file``, ``videos_file`` ...)."""
    return [
        str(value)
        for part in protocol.values()
        if isinstance(part, Mapping)
        for key, value in part.items()
        if key.endswith("_file")
    ]


class Planner:
    """Collects the steps of one run folder."""

    def __init__(self, settings: RunSettings, folder: Path, known: Registry) -> None:
        self.settings = settings
        self.folder = folder
        self.known = known
        self.steps: list[Step] = []

    def file(self, name: str) -> str:
        """Return the path of a file in the run folder."""
        return str(self.folder / name)

    def add(
        self,
        name: str,
        stage: str,
        /,
        uses: tuple[tuple[str, str], ...] = (),
        key_files: tuple[str, ...] = (),
        **params: Any,
    ) -> None:
        """Append a step; its stage must be installed."""
        self.known.get("stages", stage)
        given = {key: value for key, value in params.items() if value is not None}
        self.steps.append(Step(name=name, stage=stage, params=given, uses=uses, key_files=key_files))

    def data(self) -> None:
        """Import, split and crop."""
        data = self.settings.data
        spec = self.known.get("datasets", data.dataset)
        source = data.source
        if data.synth:
            source = self.file("raw")
            self.add("data/synth", "synth", out=source, **data.synth)
        if not source:
            raise UsageError("[data] needs 'source', the folder of the recordings")
        self.add(
            "data/import",
            "import",
            uses=(("datasets", data.dataset),),
            name=data.dataset,
            source=source,
            out=self.file("data/clips.h5"),
            labels=self.file("data/labels.csv"),
            options=dict(data.options),
        )
        clips, labels = self.file("data/clips.h5"), self.file("data/labels.csv")
        self.add(
            "data/split",
            "split",
            # Lists of subjects or videos decide the split as much as the protocol that names them.
            key_files=(clips, labels, *list_files(self.settings.split)),
            clips=clips,
            labels=labels,
            protocol_json=dict(self.settings.split),
            out=self.file("data/split.h5"),
        )
        for name, options in self.settings.crops.items():
            stream = options.get("stream", name)
            if stream not in spec.streams:
                have = ", ".join(spec.streams) or "none"
                raise UsageError(f"[crops.{name}]: {data.dataset} has no stream '{stream}' (it has: {have})")
            self.add(
                f"data/crop-{name}",
                "crop",
                uses=(("datasets", data.dataset),),
                clips=self.file("data/clips.h5"),
                root=source,
                out=self.file(f"data/crops-{name}.h5"),
                **{"stream": stream, **options},
            )

    def store_of(self, branch: BranchSettings) -> str:
        """Return the store that a branch's modality reads."""
        model = self.known.get("models", branch.model)
        modality = self.known.get("modalities", branch.modality or model.modalities[0])
        if modality.store_kind != "streams":
            return self.file("data/clips.h5")
        if not branch.crops:
            raise UsageError(
                f"[branches.{branch.name}]: modality '{modality.name}' reads frames, name its crops = \"...\""
            )
        return self.file(f"data/crops-{branch.crops}.h5")

    def branch(self, branch: BranchSettings, round_number: int) -> None:
        """Train a branch and let it answer for the target, in the first round for validation too."""
        settings, adapted = self.settings, round_number > 1
        base = f"round{round_number}"
        checkpoint = self.file(f"{base}/{branch.name}.safetensors")
        recipe = {
            "flip": settings.flip,
            **settings.train,
            **branch.train,
            **(branch.adapt if adapted else {}),
        }
        try:
            # The fourth branch's misspelt option must not come to light after the first three have trained.
            chosen = resolve_branch(
                branch.model, branch.modality, branch.preset, branch.options, branch.input
            )
            resolved = resolve_recipe(chosen.model.recipe, recipe)
            losses = resolve_losses(resolved)
        except UsageError as error:
            raise UsageError(f"[branches.{branch.name}]: {error}") from error
        modality = chosen.modality.name
        store = self.store_of(branch)
        split = self.file("data/split.h5")
        pseudo = self.file(f"round{round_number - 1}/pseudo.h5") if adapted else None
        extra = tuple(resolved.files().values())
        # Losses of other packages; those of the train stage's own change with its version.
        own = self.known.version_of("stages", "train")
        names = (spec.name for spec, _ in losses.values())
        strangers = tuple(("losses", n) for n in names if self.known.version_of("losses", n) != own)
        self.add(
            f"{base}/train-{branch.name}",
            "train",
            uses=(("models", branch.model), ("modalities", modality), *strangers),
            # Files that only the recipe names decide the weights as much as the stores do.
            key_files=(store, split, *([pseudo] if pseudo else []), *extra) if extra else (),
            model=branch.model,
            data=store,
            split=split,
            pseudo=pseudo,
            use=list(settings.adapt.use) if adapted else ["train"],
            preset=branch.preset or None,
            modality=modality,
            settings={"recipe": recipe, "model": dict(branch.options), "modality": dict(branch.input)},
            branch=branch.name,
            seed=settings.seed,
            threads=settings.machine.threads,
            tracker=list(settings.trackers) or None,
            out=checkpoint,
        )
        # After adaptation validation is part of training: it has nothing to tell any more.
        for subset in ("target",) if adapted else ("val", "target"):
            self.add(
                f"{base}/predict-{subset}-{branch.name}",
                "predict",
                uses=(("models", branch.model), ("modalities", modality)),
                checkpoint=checkpoint,
                data=store,
                split=self.file("data/split.h5"),
                subset=subset,
                threads=settings.machine.threads,
                out=self.file(f"{base}/{subset}-{branch.name}.h5"),
            )

    def logits(self, round_number: int, subset: str) -> list[str]:
        """Return the logit stores of a round."""
        return [
            self.file(f"round{round_number}/{subset}-{branch.name}.h5") for branch in self.settings.branches
        ]

    def fuse(self, round_number: int) -> None:
        """Vote on the target: parameters searched on validation in the first round and kept afterwards."""
        base = f"round{round_number}"
        target = self.logits(round_number, "target")
        if round_number == 1:
            self.add(
                f"{base}/fuse",
                "fuse",
                stores=target,
                fit=self.logits(1, "val"),
                labels=self.file("data/split.h5"),
                params_out=self.file("round1/fusion.json"),
                out=self.file("round1/target-fused.h5"),
                **self.settings.fuse,
            )
        else:
            self.add(
                f"{base}/fuse",
                "fuse",
                stores=target,
                params=self.file("round1/fusion.json"),
                out=self.file(f"{base}/target-fused.h5"),
            )
        self.add(f"{base}/fuse-equal", "fuse", stores=target, out=self.file(f"{base}/target-equal.h5"))

    def adapt(self) -> None:
        """Make pseudo-labels of the first round's vote."""
        adapt = self.settings.adapt
        # The second is for the record alone: yield and precision at the tau that the vote is read at.
        for name, temperature in (("", str(adapt.temperature)), ("-fitted", "fitted")):
            self.add(
                f"round1/adapt{name}",
                "adapt",
                uses=(("adapters", adapt.adapter),),
                logits=self.logits(1, "target"),
                params=self.file("round1/fusion.json"),
                split=self.file("data/split.h5"),
                adapter=adapt.adapter,
                threshold=adapt.threshold,
                temperature=temperature,
                options=dict(adapt.options),
                out=self.file(f"round1/pseudo{name}.h5"),
            )

    def results(self) -> None:
        """Score everything against the truth (the only steps that read it), and write the submission."""
        rounds = 1 + self.settings.adapt.rounds
        stores: list[str] = []
        names: list[str] = []
        for number, when in zip(range(1, rounds + 1), ("before", "after")):
            for branch in self.settings.branches:
                stores.append(self.file(f"round{number}/target-{branch.name}.h5"))
                names.append(f"{branch.name}/{when}")
            for what, row in (("equal", "equal-weight"), ("fused", "fused")):
                stores.append(self.file(f"round{number}/target-{what}.h5"))
                names.append(f"{row}/{when}")
        if rounds > 1:
            stores += [self.file("round1/pseudo.h5"), self.file("round1/pseudo-fitted.h5")]
            names += ["pseudo", "pseudo-fitted"]
        self.add(
            "result/score",
            "score",
            stores=stores,
            names=names,
            labels=self.file("data/labels.csv"),
            out=self.file("scores.json"),
        )
        self.add(
            "result/submit",
            "submit",
            probs=self.file(f"round{rounds}/target-fused.h5"),
            out=self.file("submission.zip"),
            **self.settings.submit,
        )


def plan(settings: RunSettings, folder: Path, known: Registry) -> list[Step]:
    """Return all steps of a recipe except the report, which is made of their summary."""
    for name in settings.trackers:
        known.get("trackers", name)
    planner = Planner(settings, folder, known)
    planner.data()
    for round_number in range(1, 2 + settings.adapt.rounds):
        if round_number > 1:
            planner.adapt()
        for branch in settings.branches:
            planner.branch(branch, round_number)
        planner.fuse(round_number)
    planner.results()
    return planner.steps
