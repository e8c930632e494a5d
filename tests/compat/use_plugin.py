"""What users do with a plugin that was built against contract 1.0: ``python use_plugin.py FOLDER``."""

import json
import sys
from pathlib import Path

import numpy as np

from mg_data.cli.main import run
from mg_data.contract import TargetScores, UsageError
from mg_data.plugins import registry, resolve
from mg_data.store import open_clips, read_probs, write_logits

FOLDER = Path(sys.argv[1])
NAMES = {
    "datasets": "compat-toy",
    "layouts": "compat-three",
    "pose_estimators": "compat-pose",
    "modalities": "compat-mean",
    "models": "compat-linear",
    "losses": "compat-loss",
    "adapters": "compat-top",
    "fusers": "compat-median",
    "trackers": "compat-tracker",
    "stages": "compat-count",
}


def mg(*words: object, code: int = 0) -> None:
    found = run([str(word) for word in words])
    assert found == code, f"mg {words}: exit code {found}, wanted {code}"


known = registry()
(info,) = [info for info in known.plugins if info.distribution == "mg-compat-plugin"]
assert (info.status, info.version) == ("loaded", "1.0.0"), info
assert not known.conflicts, known.conflicts
records = {kind: known.get(kind, name) for kind, name in NAMES.items()}
for kind, name in NAMES.items():
    assert known.owners[kind, name] == "mg-compat-plugin"
assert records["datasets"].mirror_classes == ((0, 1),)
assert records["models"].weights[0].licence == "CC0-1.0"

clips = FOLDER / "clips.h5"
mg(
    "data",
    "import",
    "compat-toy",
    FOLDER,
    "-o",
    clips,
    "--labels",
    FOLDER / "labels.csv",
    "--option",
    "clips=9",
)
mg("data", "check", clips, "--labels", FOLDER / "labels.csv")
store = open_clips(clips)
assert len(store) == 9
assert store.signal("pulse", 0).shape[1] == 1
modality = resolve(records["modalities"].factory)(clips, scale=2.0)
sample = modality.sample(str(modality.clip_ids[0]), None)
assert sample.shape == modality.input.shape
np.testing.assert_array_equal(modality.flip(modality.flip(sample)), sample)

people = list(resolve(records["pose_estimators"].factory)().estimate([np.zeros((48, 64, 3), np.uint8)], 25.0))
assert people[0].shape == (1, 3, 3)

scores = TargetScores(
    clip_ids=np.array(["a", "b", "c"]),
    class_names=("wave", "nod"),
    probs=np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]),
    model_probs=np.array([[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]]),
    present=np.ones((1, 3), bool),
    model_names=("one",),
    prior=np.array([0.5, 0.5]),
)
chosen = resolve(records["adapters"].factory)(scores, count=2)
assert (chosen.rows.tolist(), chosen.labels.tolist()) == ([0, 2], [0, 1])

for number in range(3):
    write_logits(
        FOLDER / f"m{number}.h5",
        clip_ids=store.clip_ids,
        values=5
        * np.eye(2, dtype=np.float32)[[(int(clip[-1]) + (number == 2)) % 2 for clip in store.clip_ids]],
        class_names=store.class_names,
        vocabulary=store.vocabulary,
        model=f"m{number}",
        modality="compat-mean",
        dataset=store.dataset,
    )
fused = FOLDER / "probs.h5"
logits = [FOLDER / f"m{number}.h5" for number in range(3)]
mg("fuse", *logits, "--fuser", "compat-median", "-o", fused)
# Two of three agree, and a median is what they say.
truth = [int(clip[-1]) % 2 for clip in store.clip_ids]
assert read_probs(fused).values.argmax(axis=1).tolist() == truth
fit = [word for path in logits for word in ("--fit", path)]
mg("fuse", *logits, *fit, "--labels", FOLDER / "labels.csv", "--fuser", "compat-best", "-o", fused)
assert read_probs(fused).values.argmax(axis=1).tolist() == truth

mg("compat", "count", clips, "-o", FOLDER / "count.json")
assert json.loads((FOLDER / "count.json").read_text()) == {"clips": 9}
mg("compat", "hello", "you", "--times", 2, "--loud", "--more", '{"a": 1}', "--weight", 0.25)
mg("compat", "hello", "--tone", "rude", code=2)
mg("layouts", "show", "compat-three")
mg("--help")
mg(
    "data",
    "import",
    "compat-toy",
    FOLDER,
    "-o",
    clips,
    "--labels",
    FOLDER / "l.csv",
    "--option",
    "clips=0",
    code=2,
)
try:
    resolve(records["datasets"].factory)(FOLDER, clips=0)
except UsageError:
    pass
else:
    raise AssertionError("an importer's UsageError is lost")
log = (FOLDER / "log.txt").read_text().split("\n")
assert any(line.startswith("clips ") for line in log), log
assert any(line.startswith("probs ") for line in log), log
print("fine")
