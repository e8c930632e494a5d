"""Records of the stages ``dann`` and ``folds``; imports the contract and nothing heavy."""

from __future__ import annotations

from mg_adapt.records import STAGES
from mg_data.contract import Param, StageSpec

# What adversarial training shares with ``mg train``; pseudo-labels it has no use for.
_SHARED = (
    *("model", "data", "split", "out", "use", "preset", "modality", "set", "settings", "branch", "seed"),
    *("threads", "device", "tracker", "state_every"),
)
_TRAIN_PARAMS = next(stage.params for stage in STAGES if stage.name == "train")

_DANN = StageSpec(
    name="dann",
    path=("dann",),
    summary="Train a model on the source while its feature hides the domain (DANN)",
    factory="mg_adapt.stages.dann:dann",
    reads=("clips", "streams", "features", "split"),
    writes=("checkpoint",),
    params=(
        *(param for param in _TRAIN_PARAMS if param.name in _SHARED),
        Param(name="weight", help="of the domain loss beside the recipe's losses", type="float", default=1.0),
        Param(name="hidden", help="units of the domain classifier", type="int", default=128),
    ),
)

_FOLD = StageSpec(
    name="fold",
    path=("folds", "split"),
    summary="Write the split of one fold, which leaves some people out",
    factory="mg_adapt.stages.folds:split_fold",
    reads=("split",),
    writes=("split",),
    params=(
        Param(name="split", help="split store", role="input", type="path", positional=True, required=True),
        Param(
            name="out", help="split store to write", role="output", type="path", required=True, flags=("-o",)
        ),
        Param(name="fold", help="which fold, from 1", type="int", required=True),
        Param(name="folds", help="number of folds, or subject: one for each person", default="subject"),
        Param(
            name="purpose",
            help="cross-validation: people of train and val become target, val and train of the fold; "
            "out-of-fold: some people of val become the part held",
            default="cross-validation",
            choices=("cross-validation", "out-of-fold"),
        ),
    ),
)

_JOIN = StageSpec(
    name="join-folds",
    path=("folds", "join"),
    summary="Join one branch's logits of clips that its models left out, on which a vote may be fitted",
    factory="mg_adapt.stages.folds:join_folds",
    reads=("logits",),
    writes=("logits",),
    params=(
        Param(
            name="stores",
            help="logit stores of the parts held out, one a fold",
            role="input",
            type="path",
            positional=True,
            multiple=True,
            required=True,
        ),
        Param(
            name="out", help="logit store to write", role="output", type="path", required=True, flags=("-o",)
        ),
    ),
)

TARGET_STAGES = (_DANN, _FOLD, _JOIN)
