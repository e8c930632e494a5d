"""A recipe as steps: which stage with which files and options, in the order of the paper's loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_adapt.choice import resolve_branch, resolve_losses
from mg_adapt.recipe import check_adversarial, merge_recipes, resolve_recipe
from mg_adapt.run.checks import check_adapter, check_table, check_vote
from mg_adapt.run.settings import BranchSettings, RunSettings
from mg_data.contract import UsageError
from mg_data.plugins import Registry
from mg_data.prepare.crop_video import base_stream


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


def option_files(options: Mapping[str, Any]) -> list[str]:
    """Return the files and folders that an importer's options name (``classes``, ``keypoints``, ``clips``).

    Which of them are paths an importer does not say: every text that is one counts, but for what it writes.
    """
    return [
        value
        for name, value in options.items()
        if isinstance(value, str) and value and not name.endswith("_out") and Path(value).exists()
    ]


class Planner:
    """Collects the steps of one run folder.

    Args:
        prefix: folder of this loop's own files and steps, such as ``seed1/``, where several loops share the
            prepared data. split: the split store of this loop; by default that of the whole run.
    """

    def __init__(
        self, settings: RunSettings, folder: Path, known: Registry, prefix: str = "", split: str = ""
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.known = known
        self.prefix = prefix
        self.split = split or self.file("data/split.h5")
        self.steps: list[Step] = []

    def file(self, name: str) -> str:
        """Return the path of a file that all loops of the run folder share."""
        return str(self.folder / name)

    def own(self, name: str) -> str:
        """Return the path of a file of this loop."""
        return self.file(self.prefix + name)

    def add(
        self,
        name: str,
        stage: str,
        /,
        uses: tuple[tuple[str, str], ...] = (),
        key_files: tuple[str, ...] = (),
        table: tuple[str, Mapping[str, Any]] = ("", {}),
        **params: Any,
    ) -> None:
        """Append a step; its stage must be installed.

        table: further params that the user gave, under the name that messages call them by.
        """
        spec = self.known.get("stages", stage)
        check_table(spec, *table, taken=params)
        given = {**table[1], **{key: value for key, value in params.items() if value is not None}}
        self.steps.append(Step(name=name, stage=stage, params=given, uses=uses, key_files=key_files))

    def data(self) -> None:
        """Import, split and crop."""
        data = self.settings.data
        spec = self.known.get("datasets", data.dataset)
        source = data.source
        if data.synth:
            source = self.file("raw")
            self.add("data/synth", "synth", table=("[data] synth", data.synth), out=source)
        if not source:
            raise UsageError("[data] needs 'source', the folder of the recordings")
        files = option_files(data.options)
        self.add(
            "data/import",
            "import",
            uses=(("datasets", data.dataset),),
            # What the options name decides about the clips as much as the source does.
            key_files=(source, *files) if files else (),
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
            if "root" in options:
                raise UsageError(f"[crops.{name}]: root is that of [data], by its source or its option root")
            stream = options.get("stream", name)
            try:
                base_stream(spec, stream)
            except UsageError as error:
                raise UsageError(f"[crops.{name}]: {error}") from error
            self.add(
                f"data/crop-{name}",
                "crop",
                uses=(("datasets", data.dataset),),
                clips=self.file("data/clips.h5"),
                # Videos beside a table of clips lie where its option says.
                root=data.options.get("root") or source,
                out=self.file(f"data/crops-{name}.h5"),
                table=(f"[crops.{name}]", {"stream": stream, **options}),
            )

    def trackers(self) -> None:
        """Raise PluginError for a tracker that is not installed, before anything runs."""
        for name in self.settings.trackers:
            self.known.get("trackers", name)

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

    def train(
        self,
        place: str,
        branch: BranchSettings,
        *,
        use: Sequence[str] = ("train",),
        split: str = "",
        pseudo: str = "",
        where: str = "",
    ) -> None:
        """Add the training of ``place/BRANCH.safetensors``; ``branch.adapt`` counts with pseudo-labels.

        where: the table that messages name, by default that of the branch.
        """
        settings = self.settings
        own = (branch.train, branch.adapt) if pseudo else (branch.train,)
        recipe = merge_recipes({"flip": settings.flip}, settings.train, *own)
        try:
            # The fourth branch's misspelt option must not come to light after the first three have trained.
            chosen = resolve_branch(
                branch.model, branch.modality, branch.preset, branch.options, branch.input
            )
            resolved = resolve_recipe(chosen.model.recipe, recipe)
            losses = resolve_losses(resolved)
            if branch.dann and not pseudo:
                check_adversarial(resolved)
            if resolved.selects and "val" in use:
                raise UsageError(
                    "recipe.select and recipe.patience go by validation, which the second round trains on: "
                    "set select = 'last' and patience = 0 in adapt"
                )
            files = tuple((resolved.files() | chosen.files()).values())
            for file in files:
                if not Path(file).is_file():
                    raise UsageError(f"{file}: does not exist")
        except UsageError as error:
            raise UsageError(f"{where or f'[branches.{branch.name}]'}: {error}") from error
        store, split = self.store_of(branch), split or self.split
        # Adversarial training has no use for the target's inputs alone once it has pseudo-labels.
        adversarial = bool(branch.dann) and not pseudo
        stage = "dann" if adversarial else "train"
        # Losses of other packages; those of the stage's own change with its version.
        here = self.known.version_of("stages", stage)
        names = (spec.name for spec, _ in losses.values())
        strangers = tuple(("losses", n) for n in names if self.known.version_of("losses", n) != here)
        self.add(
            f"{self.prefix}{place}/train-{branch.name}",
            stage,
            uses=(("models", branch.model), ("modalities", chosen.modality.name), *strangers),
            # Files that only the recipe names decide the weights as much as the stores do.
            key_files=(store, split, *([pseudo] if pseudo else []), *files) if files else (),
            model=branch.model,
            data=store,
            split=split,
            pseudo=pseudo or None,
            use=list(use),
            preset=branch.preset or None,
            modality=chosen.modality.name,
            settings={"recipe": recipe, "model": dict(branch.options), "modality": dict(branch.input)},
            weight=branch.dann if adversarial else None,
            branch=branch.name,
            seed=settings.seed,
            threads=settings.machine.threads,
            tracker=list(settings.trackers) or None,
            out=self.own(f"{place}/{branch.name}.safetensors"),
        )

    def predict(
        self, place: str, branch: BranchSettings, subset: str, *, checkpoint: str = "", split: str = ""
    ) -> None:
        """Add ``place/SUBSET-BRANCH.h5``, the logits of ``place/BRANCH.safetensors`` or of another one."""
        model = self.known.get("models", branch.model)
        self.add(
            f"{self.prefix}{place}/predict-{subset}-{branch.name}",
            "predict",
            uses=(("models", branch.model), ("modalities", branch.modality or model.modalities[0])),
            checkpoint=checkpoint or self.own(f"{place}/{branch.name}.safetensors"),
            data=self.store_of(branch),
            split=split or self.split,
            subset=subset,
            flip=branch.flip_average,
            threads=self.settings.machine.threads,
            out=self.own(f"{place}/{subset}-{branch.name}.h5"),
        )

    def branch(self, branch: BranchSettings, round_number: int) -> None:
        """Train a branch and let it answer for the target, in the first round for validation too."""
        place, adapted = f"round{round_number}", round_number > 1
        if adapted:
            pseudo = self.own(f"round{round_number - 1}/pseudo.h5")
            self.train(place, branch, use=self.settings.adapt.use, pseudo=pseudo)
        else:
            self.train(place, branch)
        # After adaptation validation is part of training: it has nothing to tell any more.
        for subset in ("target",) if adapted else ("val", "target"):
            self.predict(place, branch, subset)

    def logits(self, round_number: int, subset: str) -> list[str]:
        """Return the logit stores of a round."""
        return [
            self.own(f"round{round_number}/{subset}-{branch.name}.h5") for branch in self.settings.branches
        ]

    def fuse(self, round_number: int) -> None:
        """Vote on the target: parameters searched on validation in the first round and kept afterwards.

        With ``[adapt] folds`` they are searched again in the second round, on out-of-fold logits.
        """
        place = f"round{round_number}"
        target = self.logits(round_number, "target")
        refit = round_number > 1 and self.settings.adapt.folds
        fit = self.out_of_fold() if refit else self.logits(1, "val")
        if round_number == 1:
            check_vote(self.settings.fuse, self.settings.adapt)
        if round_number == 1 or refit:
            self.add(
                f"{self.prefix}{place}/fuse",
                "fuse",
                stores=target,
                fit=fit,
                labels=self.split,
                params_out=self.own(f"{place}/fusion.json"),
                out=self.own(f"{place}/target-fused.h5"),
                params=None,
                table=("[fuse]", self.settings.fuse),
            )
        else:
            self.add(
                f"{self.prefix}{place}/fuse",
                "fuse",
                stores=target,
                params=self.own("round1/fusion.json"),
                out=self.own(f"{place}/target-fused.h5"),
                missing=self.settings.fuse.get("missing"),
            )
        self.add(
            f"{self.prefix}{place}/fuse-equal",
            "fuse",
            stores=target,
            out=self.own(f"{place}/target-equal.h5"),
            missing=self.settings.fuse.get("missing"),
        )

    def deal_validation(self) -> None:
        """Add the splits of ``[adapt] folds``: the first steps of a loop, as there may be too few people."""
        adapt = self.settings.adapt
        if "val" not in adapt.use:
            raise UsageError(
                "[adapt] folds holds validation clips out of the second round, but use has no 'val'"
            )
        for fold in range(1, adapt.folds + 1):
            self.add(
                f"{self.prefix}out-of-fold/{fold}/split",
                "fold",
                split=self.split,
                folds=str(adapt.folds),
                fold=fold,
                purpose="out-of-fold",
                out=self.own(f"out-of-fold/{fold}/split.h5"),
            )

    def out_of_fold(self) -> list[str]:
        """Let every branch answer for validation clips that it was not trained on; return the logit stores.

        ``folds`` parts of the validation people are held out of D_aug in turn; with one fold all of them are.
        The pseudo-labels are those of the first round, whose models have not trained on validation either.
        """
        adapt = self.settings.adapt
        use = [part for part in adapt.use if part != "val" or adapt.folds > 1]
        for fold in range(1, adapt.folds + 1):
            place, split = f"out-of-fold/{fold}", self.own(f"out-of-fold/{fold}/split.h5")
            for branch in self.settings.branches:
                self.train(place, branch, use=use, split=split, pseudo=self.own("round1/pseudo.h5"))
                self.predict(place, branch, "held", split=split)
        joined = []
        for branch in self.settings.branches:
            joined.append(self.own(f"out-of-fold/val-{branch.name}.h5"))
            self.add(
                f"{self.prefix}out-of-fold/join-{branch.name}",
                "join-folds",
                stores=[
                    self.own(f"out-of-fold/{fold}/held-{branch.name}.h5")
                    for fold in range(1, adapt.folds + 1)
                ],
                out=joined[-1],
            )
        return joined

    def adapt(self) -> None:
        """Make pseudo-labels of the first round's vote."""
        adapt = self.settings.adapt
        check_adapter(self.known.get("adapters", adapt.adapter), adapt)
        # The second is for the record alone: yield and precision at the tau that the vote is read at.
        for name, temperature in (("", str(adapt.temperature)), ("-fitted", "fitted")):
            self.add(
                f"{self.prefix}round1/adapt{name}",
                "adapt",
                uses=(("adapters", adapt.adapter),),
                logits=self.logits(1, "target"),
                params=self.own("round1/fusion.json"),
                split=self.split,
                adapter=adapt.adapter,
                threshold=adapt.threshold,
                temperature=temperature,
                options=dict(adapt.options),
                out=self.own(f"round1/pseudo{name}.h5"),
            )

    def scored(self) -> dict[str, str]:
        """Return all stores that are scored, by the name of their row."""
        rounds = 1 + self.settings.adapt.rounds
        found: dict[str, str] = {}
        for number, when in zip(range(1, rounds + 1), ("before", "after")):
            for branch in self.settings.branches:
                found[f"{branch.name}/{when}"] = self.own(f"round{number}/target-{branch.name}.h5")
            for what, row in (("equal", "equal-weight"), ("fused", "fused")):
                found[f"{row}/{when}"] = self.own(f"round{number}/target-{what}.h5")
        if rounds > 1:
            found["pseudo"] = self.own("round1/pseudo.h5")
            found["pseudo-fitted"] = self.own("round1/pseudo-fitted.h5")
        return found

    def score(self, step: str, rows: Mapping[str, str], out: str) -> None:
        """Score stores against the truth: the only steps that read it."""
        self.add(
            step,
            "score",
            stores=list(rows.values()),
            names=list(rows),
            labels=self.file("data/labels.csv"),
            out=out,
        )

    def loop(self) -> None:
        """Add the paper's loop: branches, vote, pseudo-labels, retraining, vote."""
        if self.settings.adapt.folds and self.settings.adapt.rounds:
            self.deal_validation()
        for round_number in range(1, 2 + self.settings.adapt.rounds):
            if round_number > 1:
                self.adapt()
            for branch in self.settings.branches:
                self.branch(branch, round_number)
            self.fuse(round_number)

    def results(self) -> None:
        """Score everything, and write the submission."""
        self.score("result/score", self.scored(), self.file("scores.json"))
        self.add(
            "result/submit",
            "submit",
            probs=self.own(f"round{1 + self.settings.adapt.rounds}/target-fused.h5"),
            out=self.file("submission.zip"),
            table=("[submit]", self.settings.submit),
        )


def plan(settings: RunSettings, folder: Path, known: Registry) -> list[Step]:
    """Return all steps of a recipe except the report, which is made of their summary."""
    planner = Planner(settings, folder, known)
    planner.trackers()
    planner.data()
    planner.loop()
    planner.results()
    return planner.steps
