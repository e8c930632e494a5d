"""Stages and fusers of this package as records; the command line is generated from them."""

from __future__ import annotations

from mg_data.contract import FuserSpec, Param, StageSpec
from mg_fusion.records_groups import GROUP_BY

FUSERS = (
    FuserSpec(
        name="soft-vote",
        summary="weighted mean of softmax(L / tau), as in the paper (Eq. 2-3)",
        factory="mg_fusion.fusers:soft_vote",
        options={"weights": None, "temperature": 1.0},
    ),
    FuserSpec(
        name="log-mean",
        summary="weighted geometric mean: softmax of the weighted mean of L / tau",
        factory="mg_fusion.fusers:log_mean",
        options={"weights": None, "temperature": 1.0},
    ),
    FuserSpec(
        name="majority",
        summary="share of the weighted votes of the models' answers",
        factory="mg_fusion.fusers:majority",
        options={"weights": None},
    ),
    FuserSpec(
        name="rank",
        summary="Borda count: weighted points for the places a model gives the classes",
        factory="mg_fusion.fusers:rank",
        options={"weights": None},
    ),
    FuserSpec(
        name="class-weights",
        summary="soft vote with a weight for each model and class, fitted by shrunken likelihood",
        factory="mg_fusion.fusers:class_weights",
        options={"class_weights": None, "temperature": 1.0, "fitted": None},
        fit="mg_fusion.fusers:fit_class_weights",
    ),
    FuserSpec(
        name="log-linear",
        summary="softmax of the weighted sum of logits, weights of highest likelihood drawn to equal ones",
        factory="mg_fusion.fusers:log_linear",
        options={"fitted": None},
        fit="mg_fusion.fusers:fit_log_linear",
    ),
    FuserSpec(
        name="bayesian-average",
        summary="each model, at its own temperature, weighted by its likelihood on labelled clips",
        factory="mg_fusion.fusers:bayesian_average",
        options={"fitted": None},
        fit="mg_fusion.fusers:fit_bayesian_average",
    ),
    FuserSpec(
        name="stacking-logistic",
        summary="softmax regression over all models' log-probabilities, fitted on labelled clips",
        factory="mg_fusion.fusers:stacking_logistic",
        options={"fitted": None},
        fit="mg_fusion.fusers:fit_stacking_logistic",
    ),
    FuserSpec(
        name="stacking-lightgbm",
        summary="boosted trees over all models' log-probabilities (extra stacking); overfits few clips",
        factory="mg_fusion.fusers:stacking_lightgbm",
        options={"fitted": None},
        fit="mg_fusion.fusers:fit_stacking_lightgbm",
    ),
)

FUSE = StageSpec(
    name="fuse",
    path=("fuse",),
    summary="Fuse logit stores by temperature-scaled soft voting, with given or searched parameters.",
    factory="mg_fusion.commands.fuse:fuse",
    reads=("logits", "split"),
    writes=("probs", "fusion.json"),
    params=(
        Param(
            name="stores",
            help="logit stores to fuse, one for each model",
            role="input",
            type="path",
            multiple=True,
            positional=True,
        ),
        Param(name="out", help="probs store to write", role="output", type="path", flags=("-o",)),
        Param(
            name="fit",
            help="logit stores of labelled clips to search temperature and weights on",
            role="input",
            type="path",
            multiple=True,
        ),
        Param(
            name="labels",
            help="truth of the clips to fit on: labels.csv or a split store (default: labels in the stores)",
            role="input",
            type="path",
        ),
        Param(name="params", help="fusion.json with fitted parameters to reuse", role="input", type="path"),
        Param(
            name="params_out",
            help="where --fit writes its parameters (default: fusion.json beside -o)",
            role="output",
            type="path",
        ),
        Param(
            name="temperature",
            help="tau; --fit keeps it fixed, --params takes it for its own (default: 1; --fit searches it)",
            type="float",
        ),
        Param(
            name="weights",
            help="weights in the order of the stores (2 1 1) or by branch (joint=2 rgb=1); default: equal",
            multiple=True,
        ),
        Param(
            name="metric",
            help="what --fit maximises",
            default="accuracy",
            choices=("accuracy", "macro_f1", "nll"),
        ),
        Param(name="weight_step", help="step of the weights that --fit tries", type="float", default=0.05),
        Param(
            name="fuser",
            help="registered fuser: soft-vote, log-mean, majority, rank; with --fit log-linear, ...",
            default="soft-vote",
        ),
        Param(
            name="fuser_options",
            help="settings of the fit of such a fuser, as name=value (folds=0: do not measure it)",
            type="json",
            multiple=True,
        ),
        Param(
            name="groups",
            help="clips or split store, or csv clip_id,group: what folds and intervals keep together "
            "(default: subjects of a split in --labels)",
            role="input",
            type="path",
        ),
        GROUP_BY,
        Param(
            name="diagnose",
            help="csv of clips that one overconfident model decides, at tau 1 and at the tau of the vote: "
            "of the clips fitted on, else of those fused (--labels says who was right)",
            role="output",
            type="path",
        ),
        Param(
            name="missing",
            help="clips that some stores lack: an error, or fused from those that have them",
            default="error",
            choices=("error", "allow"),
        ),
        Param(
            name="allow_tainted",
            help="fit even on clips a model was trained on; written into the results",
            type="bool",
            default=False,
        ),
        Param(
            name="calibrate",
            help="temperatures of --fit: searched on the grid, one of lowest NLL, or one for each model",
            default="grid",
            choices=("grid", "nll", "per-model"),
        ),
        Param(
            name="method",
            help="search of --fit: whole grid, coordinate ascent, or the convex optimum (metric nll)",
            default="auto",
            choices=("auto", "grid", "ascent", "newton"),
        ),
        Param(
            name="folds",
            help="also cross-fit --fit over so many folds of whole groups: what it is worth on unseen clips",
            type="int",
            default=0,
        ),
    ),
)

SCORE = StageSpec(
    name="score",
    path=("score",),
    summary="Measure logit, probability and pseudo-label stores against the truth.",
    factory="mg_fusion.commands.score:score",
    reads=("logits", "probs", "pseudo"),
    writes=("metrics.json",),
    params=(
        Param(
            name="stores",
            help="logits, probs or pseudo stores",
            role="input",
            type="path",
            multiple=True,
            positional=True,
            required=True,
        ),
        Param(
            name="labels",
            help="the truth: labels.csv or a split store",
            role="input",
            type="path",
            required=True,
        ),
        Param(
            name="names", help="row names, one for each store (default: branch or file name)", multiple=True
        ),
        Param(name="out", help="metrics.json to write", role="output", type="path", flags=("-o",)),
        Param(
            name="target_size",
            help="number of target clips, for the yield of pseudo stores that do not say it",
            type="int",
        ),
        Param(
            name="notes",
            help='remarks by row name, as JSON: {"heatmap/before": "below its floor"}',
            type="json",
        ),
        Param(
            name="against",
            help="logits or probs store to compare each store with: gain, McNemar's exact test",
            role="input",
            type="path",
        ),
        Param(
            name="intervals",
            help="95 % intervals by bootstrap over groups of clips",
            type="bool",
            default=False,
        ),
        Param(
            name="groups",
            help="clips or split store, or csv clip_id,group (default: subjects of a split in --labels)",
            role="input",
            type="path",
        ),
        GROUP_BY,
        Param(
            name="counts",
            help="split store or labels.csv of training clips, which make classes head, medium or tail "
            "(default: the clips scored)",
            role="input",
            type="path",
        ),
    ),
)

SUBMIT = StageSpec(
    name="submit",
    path=("submit",),
    summary="Write a challenge submission (csv in a zip) from a probs store.",
    factory="mg_fusion.commands.submit:submit",
    reads=("probs",),
    writes=("submission.zip",),
    params=(
        Param(
            name="probs",
            help="probs store of the test clips",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(
            name="out",
            help="zip file to write",
            role="output",
            type="path",
            flags=("-o",),
            default="submission.zip",
        ),
        Param(
            name="dialect",
            help="edition of the challenge: 2025 has the header Id,Target, 2023 none",
            default="2025",
            choices=("2025", "2023"),
        ),
        Param(
            name="ids",
            help="text file with the exact ids wanted, one a line, in the order to write them",
            role="input",
            type="path",
        ),
    ),
)

REPORT = StageSpec(
    name="report",
    path=("report",),
    summary="Write one self-contained HTML page about a run folder.",
    factory="mg_fusion.commands.report:report",
    reads=("run folder",),
    writes=("report.html",),
    params=(
        Param(
            name="run",
            help="run folder that mg run wrote",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(
            name="out",
            help="page to write (default: report.html in the run folder)",
            role="output",
            type="path",
            flags=("-o",),
        ),
        Param(
            name="embedding",
            help="how feature stores in the run folder are drawn; t-SNE needs the extra embed (auto: t-SNE "
            "where it is installed, else PCA)",
            default="auto",
            choices=("auto", "tsne", "pca"),
        ),
    ),
)

STAGES = (FUSE, SCORE, SUBMIT, REPORT)
