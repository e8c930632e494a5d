"""Records of losses, adapters and stages; imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import AdapterSpec, LossSpec, Param, StageSpec, TrackerSpec

LOSSES = (
    LossSpec(
        name="focal",
        summary="focal loss, p_t from the unweighted softmax, times w_c = 1/sqrt(N_c + 1) (paper 3.2)",
        factory="mg_adapt.losses.focal:Focal",
        options={"gamma": 2.0, "weighting": "sqrt", "label_smoothing": 0.0},
    ),
    LossSpec(
        name="cross-entropy",
        summary="cross-entropy, unweighted unless asked for",
        factory="mg_adapt.losses.focal:cross_entropy",
        options={"weighting": "none", "label_smoothing": 0.0},
    ),
    LossSpec(
        name="class-balanced",
        summary="cross-entropy or focal loss weighted by the effective number of samples (Cui et al. 2019)",
        factory="mg_adapt.losses.class_balanced:ClassBalanced",
        options={"beta": 0.999, "gamma": 0.0, "label_smoothing": 0.0},
    ),
    LossSpec(
        name="logit-adjustment",
        summary="cross-entropy of the logits plus tau log prior (Menon et al. 2021)",
        factory="mg_adapt.losses.logit_adjustment:LogitAdjustment",
        options={"tau": 1.0, "label_smoothing": 0.0},
    ),
    LossSpec(
        name="balanced-softmax",
        summary="softmax with the training counts as factors (Ren et al. 2020); logit-adjustment at tau 1",
        factory="mg_adapt.losses.balanced_softmax:BalancedSoftmax",
        options={"label_smoothing": 0.0},
    ),
    LossSpec(
        name="ldam",
        summary="margins that grow with rarity, deferred re-weighting if asked for (Cao et al. 2019)",
        factory="mg_adapt.losses.ldam:LDAM",
        options={"max_margin": 5.0, "scale": 1.0, "reweight_after": 1.0, "beta": 0.9999},
    ),
    LossSpec(
        name="information-maximisation",
        summary="certain and diverse answers, and self-labels: the loss of 'mg shot' (Liang et al. 2020)",
        factory="mg_adapt.losses.information:InformationMaximisation",
        options={"beta": 0.3},
    ),
    LossSpec(
        name="orthogonal-semantic",
        summary="MSE between the feature and its class's fixed orthogonal anchor (paper Eq. 1)",
        factory="mg_adapt.losses.semantic:OrthogonalSemantic",
        kind="auxiliary",
        # feature_dim 0: the trainer fills in the model's d. norm None: 4 sqrt(d / 256).
        options={"feature_dim": 0, "norm": None, "seed": 0, "anchors_file": ""},
    ),
)

ADAPTERS = (
    AdapterSpec(
        name="threshold",
        summary="label clips whose fused probability exceeds alpha (paper 3.3)",
        factory="mg_adapt.adapters.threshold:threshold",
        options={"threshold": 0.65},
    ),
    AdapterSpec(
        name="agreement",
        summary="the same, and at least so many models must vote for the label themselves (0: all)",
        factory="mg_adapt.adapters.agreement:agreement",
        options={"threshold": 0.65, "models": 0},
    ),
    AdapterSpec(
        name="flexmatch",
        summary="alpha for the best learnt class, less for classes of which few clips exceed it",
        factory="mg_adapt.adapters.adaptive:flexmatch",
        options={"threshold": 0.65, "floor": 0.4},
    ),
    AdapterSpec(
        name="freematch",
        summary="a threshold for each class from the target's own mean confidence, without alpha",
        factory="mg_adapt.adapters.adaptive:freematch",
        options={"floor": 0.4},
    ),
    AdapterSpec(
        name="balanced-top-k",
        summary="the most confident clips of each class, as many as a prior (source or uniform) gives it",
        factory="mg_adapt.adapters.top_k:balanced_top_k",
        options={"share": 0.5, "prior": "source", "least": 0.0},
    ),
    AdapterSpec(
        name="distribution-alignment",
        summary="alpha for the vote scaled until classes are as frequent as in a prior (source or uniform)",
        factory="mg_adapt.adapters.alignment:distribution_alignment",
        options={"threshold": 0.65, "prior": "source", "strength": 1.0},
    ),
)

TRACKERS = (
    TrackerSpec(
        name="tensorboard",
        summary="TensorBoard event files beside the checkpoint (extra mg-adapt[tensorboard])",
        factory="mg_adapt.trackers:TensorBoard",
    ),
)

_THREADS = Param(
    name="threads", help="torch threads, 0 = torch's own choice", type="int", default=0, in_key=False
)
_DEVICE = Param(
    name="device", help="auto (CUDA if there is one), cpu, cuda or cuda:N", default="auto", in_key=False
)

_TRAIN = StageSpec(
    name="train",
    path=("train",),
    summary="Train a model on the labelled parts of a split",
    factory="mg_adapt.stages.train:train",
    reads=("clips", "streams", "features", "split", "pseudo"),
    writes=("checkpoint",),
    params=(
        Param(name="model", help="registered model (see 'mg models')", positional=True, required=True),
        Param(name="data", help="store that the modality reads", role="input", type="path", required=True),
        Param(
            name="split", help="split store, the source of labels", role="input", type="path", required=True
        ),
        Param(
            name="out", help="checkpoint to write", role="output", type="path", required=True, flags=("-o",)
        ),
        Param(name="pseudo", help="pseudo-labels of the target to train on too", role="input", type="path"),
        Param(name="use", help="labelled part to train on", multiple=True, default=("train",)),
        Param(name="preset", help="named set of model options", default=""),
        Param(name="modality", help="what the model reads (its first one if not given)", default=""),
        Param(name="set", help="recipe.KEY=VALUE, model.KEY=VALUE or modality.KEY=VALUE", multiple=True),
        Param(name="settings", help="tables recipe, model and modality as JSON", type="json"),
        Param(name="branch", help="name of this branch in fusion and tables", default=""),
        Param(name="seed", help="seed of weights, order and augmentation", type="int", default=0),
        _THREADS,
        _DEVICE,
        Param(
            name="tracker",
            help="registered tracker that gets each epoch's numbers, such as tensorboard",
            multiple=True,
            default=(),
            in_key=False,
        ),
        Param(
            name="state_every",
            help="seconds between resumable states within an epoch",
            type="float",
            default=15.0,
            in_key=False,
        ),
    ),
)

_PREDICT = StageSpec(
    name="predict",
    path=("predict",),
    summary="Write a checkpoint's logits for one part of a split",
    factory="mg_adapt.stages.predict:predict",
    reads=("checkpoint", "clips", "streams", "features", "split"),
    writes=("logits", "features"),
    params=(
        Param(
            name="checkpoint",
            help="checkpoint of 'mg train'",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(name="data", help="store that the modality reads", role="input", type="path", required=True),
        Param(name="split", help="split store", role="input", type="path", required=True),
        Param(name="subset", help="part of the split: train, val, target ..., or all", required=True),
        Param(
            name="out", help="logit store to write", role="output", type="path", required=True, flags=("-o",)
        ),
        Param(
            name="features",
            help="also write what the classifier reads, (N, d), as a features store",
            role="output",
            type="path",
        ),
        Param(name="flip", help="average with mirrored views (default: as trained)", type="bool"),
        Param(
            name="clips",
            help="average so many views of different times of a clip, 0 = as trained",
            type="int",
            default=0,
        ),
        Param(
            name="bn_adapt",
            help="estimate BatchNorm statistics anew on these clips (they then count as selected on)",
            type="bool",
            default=False,
        ),
        Param(name="bn_batch", help="clips in a batch of --bn-adapt", type="int", default=32),
        Param(name="batch_size", help="samples in one forward pass", type="int", default=32, in_key=False),
        Param(name="shard", help="i/n: only the i-th of n parts of the clips", default=""),
        Param(
            name="launcher",
            help="ray: share the clips out to the tasks of a Ray cluster",
            default="",
            in_key=False,
        ),
        Param(
            name="shards",
            help="tasks of --launcher, 0 = as many as run at once",
            type="int",
            default=0,
            in_key=False,
        ),
        Param(name="workers", help="loader processes", type="int", default=0, in_key=False),
        _THREADS,
        _DEVICE,
    ),
)

_ADAPT = StageSpec(
    name="adapt",
    path=("adapt",),
    summary="Make pseudo-labels of the target from the vote of several models",
    factory="mg_adapt.stages.adapt:adapt",
    reads=("logits", "split"),
    writes=("pseudo",),
    params=(
        Param(
            name="logits",
            help="logit stores of the target, one of each branch",
            role="input",
            type="path",
            positional=True,
            multiple=True,
            required=True,
        ),
        Param(name="split", help="split store", role="input", type="path", required=True),
        Param(
            name="out",
            help="pseudo-label store to write",
            role="output",
            type="path",
            required=True,
            flags=("-o",),
        ),
        Param(name="params", help="fusion.json with the vote's weights", role="input", type="path"),
        Param(name="adapter", help="registered adapter", default="threshold"),
        Param(
            name="threshold",
            help="alpha: least fused probability, if the adapter has one",
            type="float",
            default=0.65,
        ),
        Param(
            name="temperature",
            help="tau of this vote; 'fitted' or 'calibrated' for those of --params",
            default="1.0",
        ),
        Param(name="round", help="2 or more allows models that know the target", type="int", default=1),
        Param(name="options", help="further options of the adapter as JSON", type="json"),
        Param(
            name="folds",
            help="also write so many splits beside -o, each with a part of the validation people held out",
            type="int",
            default=0,
        ),
    ),
)

_SHOT = StageSpec(
    name="shot",
    path=("shot",),
    summary="Adapt a checkpoint to the target without the source (SHOT)",
    factory="mg_adapt.stages.shot:shot",
    reads=("checkpoint", "clips", "streams", "features", "split"),
    writes=("checkpoint",),
    params=(
        Param(
            name="checkpoint",
            help="checkpoint of 'mg train'",
            role="input",
            type="path",
            positional=True,
            required=True,
        ),
        Param(name="data", help="store that the modality reads", role="input", type="path", required=True),
        Param(name="split", help="split store", role="input", type="path", required=True),
        Param(
            name="out", help="checkpoint to write", role="output", type="path", required=True, flags=("-o",)
        ),
        Param(name="set", help="recipe.KEY=VALUE over the checkpoint's own recipe", multiple=True),
        Param(name="seed", help="seed of order and augmentation", type="int", default=0),
        _THREADS,
        _DEVICE,
        Param(
            name="state_every",
            help="seconds between resumable states within an epoch",
            type="float",
            default=15.0,
            in_key=False,
        ),
    ),
)

STAGES = (_TRAIN, _PREDICT, _ADAPT, _SHOT)
