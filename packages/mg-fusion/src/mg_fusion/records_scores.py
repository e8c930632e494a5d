"""Records of calibration, conversion and the check of submissions. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import CommandSpec, Param, StageSpec
from mg_fusion.records_groups import GROUP_BY

FORMATS = ("npz", "csv", "pyskl", "mmaction2", "ctr-gcn")

CALIBRATE = StageSpec(
    name="calibrate",
    path=("calibrate",),
    summary="Calibrate one model's scores on labelled clips; writes a store of the same kind.",
    factory="mg_fusion.commands.calibrate:calibrate",
    reads=("logits", "probs", "split"),
    writes=("logits", "probs", "calibration.json"),
    params=(
        Param(
            name="store",
            help="logits or probs store to calibrate",
            role="input",
            type="path",
            positional=True,
        ),
        Param(name="out", help="store to write", role="output", type="path", flags=("-o",)),
        Param(
            name="fit", help="store of the same model's scores on labelled clips", role="input", type="path"
        ),
        Param(
            name="labels",
            help="truth of the clips to fit on: labels.csv or a split store (default: labels in the store)",
            role="input",
            type="path",
        ),
        Param(
            name="method",
            help="temperature; matrix-diagonal: a scale for each class; vector: and a bias; matrix: and all "
            "between classes, shrunk; isotonic, histogram: each class against the rest",
            default="temperature",
            choices=("temperature", "vector", "matrix-diagonal", "matrix", "isotonic", "histogram"),
        ),
        Param(name="params", help="calibration.json of an earlier fit", role="input", type="path"),
        Param(name="params_out", help="where --fit writes its parameters", role="output", type="path"),
        Param(
            name="shrinkage",
            help="pull of vector, matrix-diagonal and matrix towards the temperature",
            type="float",
            default=1.0,
        ),
        Param(name="bins", help="bins of histogram", type="int", default=15),
        Param(name="folds", help="folds by which the fit is measured on other clips", type="int", default=5),
        Param(
            name="groups",
            help="clips or split store, or csv clip_id,group: what folds and intervals keep together "
            "(default: subjects of a split in --labels)",
            role="input",
            type="path",
        ),
        GROUP_BY,
        Param(
            name="allow_tainted",
            help="fit even on clips the model was trained on; written into the results",
            type="bool",
            default=False,
        ),
    ),
)

_KEYS = Param(
    name="keys",
    help="what things are called in the file: scores=logits names=name labels=label (npz, csv, mmaction2)",
    type="json",
    multiple=True,
)

COMMANDS = (
    CommandSpec(
        path=("store", "from-scores"),
        summary="Read other people's score files (npz, csv, pyskl, mmaction2, CTR-GCN) as a logit store.",
        factory="mg_fusion.commands.scores:from_scores",
        params=(
            Param(name="file", help="score file", role="input", type="path", positional=True, required=True),
            Param(
                name="out",
                help="logit store to write",
                role="output",
                type="path",
                flags=("-o",),
                required=True,
            ),
            Param(name="format", help="what wrote the file", required=True, choices=FORMATS),
            Param(
                name="classes",
                help="text file of class names in the order of the scores (default: --against's)",
                role="input",
                type="path",
            ),
            Param(
                name="names",
                help="text file of the clips in the order of the scores, for files that hold none; or a "
                "pyskl annotation pickle (with --split)",
                role="input",
                type="path",
            ),
            Param(name="split", help="split of the annotation pickle in --names"),
            Param(
                name="ids",
                help="text file of the clip ids wanted, one a line: the file's names are joined to them",
                role="input",
                type="path",
            ),
            Param(
                name="against",
                help="store whose clip ids are wanted, and whose classes and data set are taken",
                role="input",
                type="path",
            ),
            Param(
                name="match",
                help="how names are joined to the ids wanted; what was joined and dropped is reported",
                default="exact",
                choices=("exact", "casefold", "normalised"),
            ),
            _KEYS,
            Param(
                name="space",
                help="what the scores are (auto: prob if every row is a distribution, else logit)",
                default="auto",
                choices=("auto", "logit", "log_prob", "prob"),
            ),
            Param(name="branch", help="name of this model in fusion (default: the file's name)", default=""),
            Param(name="model", help="name of the model", default="imported"),
            Param(name="modality", help="name of its modality", default="unknown"),
            Param(name="dataset", help="name of the data set (default: of --against)", default=""),
            Param(
                name="labels_out",
                help="labels.csv to write, if the file holds labels; the store never gets them",
                role="output",
                type="path",
            ),
            Param(name="report", help="csv of every name: joined how, dropped", role="output", type="path"),
        ),
    ),
    CommandSpec(
        path=("store", "to-scores"),
        summary="Write a logits or probs store as a score file of another project.",
        factory="mg_fusion.commands.scores:to_scores",
        params=(
            Param(
                name="store",
                help="logits or probs store",
                role="input",
                type="path",
                positional=True,
                required=True,
            ),
            Param(
                name="out",
                help="score file to write",
                role="output",
                type="path",
                flags=("-o",),
                required=True,
            ),
            Param(name="format", help="who will read the file", required=True, choices=FORMATS),
            Param(
                name="ids",
                help="text file of clip ids in the order to write, for formats without names",
                role="input",
                type="path",
            ),
            _KEYS,
        ),
    ),
    CommandSpec(
        path=("submit", "check"),
        summary="Check a submission: form, exact ids, duplicates, range and convention of the labels.",
        factory="mg_fusion.commands.submit:check",
        params=(
            Param(
                name="file",
                help="submission: csv in a zip, or the csv",
                role="input",
                type="path",
                positional=True,
                required=True,
            ),
            Param(
                name="ids",
                help="text file with the exact ids wanted, one a line",
                role="input",
                type="path",
            ),
            Param(name="classes", help="number of classes", type="int", default=32),
            Param(
                name="dialect",
                help="edition of the challenge (auto: by the header)",
                default="auto",
                choices=("auto", "2025", "2023"),
            ),
        ),
    ),
)
