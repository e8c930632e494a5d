"""What a project that pins mg-fusion 1.x does with it: ``python smoke_fusion.py GOLDEN FOLDER``.

It runs with every mg-fusion since 1.0.0 and every mg-data since 1.0.0: nothing newer may be used here.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from mg_data.contract import StoreError
from mg_data.labels import write_labels
from mg_data.store import read_probs, write_logits
from mg_fusion import (
    ScoresError,
    SettingError,
    SoftVote,
    classification_metrics,
    expected_calibration_error,
    fit_soft_vote,
    fit_temperature,
    fuse_stores,
    fuse_to_store,
    join_stores,
    reliability,
    soft_vote,
)

GOLDEN, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])


def raises(error: type[Exception], call, *arguments, **settings) -> str:
    try:
        call(*arguments, **settings)
    except error as found:
        return str(found)
    raise AssertionError(f"{call} raised no {error.__name__}")


def mg(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# In memory.
rng = np.random.default_rng(5)
labels = rng.integers(0, 3, 120)
logits = np.stack([rng.normal(size=(120, 3)) + strength * np.eye(3)[labels] for strength in (1.0, 2.5)])
probs = soft_vote(logits, [0.25, 0.75], 1.5)
parts = np.exp(logits / 1.5) / np.exp(logits / 1.5).sum(axis=-1, keepdims=True)
np.testing.assert_allclose(probs, np.tensordot([0.25, 0.75], parts, 1), atol=1e-9)
vote = fit_soft_vote(
    logits, labels, models=["weak", "strong"], class_names="abc", groups=labels, weight_step=0.1
)
assert vote.weights["strong"] > vote.weights["weak"], vote.weights
vote.save(FOLDER / "fusion.json")
assert SoftVote.load(FOLDER / "fusion.json").weights == vote.weights
fused = vote.predict_proba({"weak": logits[0], "strong": logits[1]})
metrics = classification_metrics(fused, labels)
assert metrics.accuracy > 0.7, metrics.accuracy
assert metrics.to_json(["a", "b", "c"])["n"] == 120
assert 0 <= expected_calibration_error(fused, labels) < 0.5
assert 0.1 < fit_temperature(logits[1], labels) < 10
assert set(reliability(fused, labels))
raises(SettingError, soft_vote, logits, [0.25, 0.75], -1.0)
raises(ScoresError, soft_vote, np.full((2, 3, 3), np.nan), [0.5, 0.5], 1.0)

# Golden stores: of format 1.0, of strangers, of a newer minor version.
assert SoftVote.load(GOLDEN / "1.0" / "fusion.json").temperature == 1.25
paths = [GOLDEN / "1.0" / "logits-prob.h5", GOLDEN / "1.0" / "foreign.h5", GOLDEN / "newer" / "minor.h5"]
joined = join_stores(paths, missing="allow")
assert joined.logits.shape == (3, 4, 3)
together = fuse_stores(paths, missing="allow", temperature=2.0)
np.testing.assert_allclose(together.probs.sum(axis=1), 1, atol=1e-9)
digest = together.write(FOLDER / "golden.h5", command="smoke")
streamed = fuse_to_store(paths, FOLDER / "streamed.h5", missing="allow", temperature=2.0)
np.testing.assert_allclose(
    read_probs(FOLDER / "golden.h5").values, read_probs(FOLDER / "streamed.h5").values, atol=1e-6
)
assert digest.startswith("sha256:")
assert streamed.clips == 4
message = raises(StoreError, fuse_stores, [GOLDEN / "hostile" / "newer-major.h5"])
assert "needs a reader of format 2.0" in message, message

# By commands.
ids = [f"c{number}" for number in range(120)]
for name, values in zip(("weak", "strong"), logits, strict=True):
    for part, rows in (("val", slice(0, 60)), ("test", slice(60, 120))):
        write_logits(
            FOLDER / f"{name}-{part}.h5",
            clip_ids=ids[rows],
            values=values[rows],
            class_names="abc",
            model=name,
            modality="joint",
            branch=name,
            dataset="smoke",
            trained_on=[1, 2],
        )
write_labels(FOLDER / "labels.csv", ids, labels.tolist(), "abc")
val, test = ([FOLDER / f"{name}-{part}.h5" for name in ("weak", "strong")] for part in ("val", "test"))
fit = [word for path in val for word in ("--fit", path)]
mg("fuse", *test, *fit, "--labels", FOLDER / "labels.csv", "-o", FOLDER / "probs.h5")
assert set(json.loads((FOLDER / "fusion.json").read_text())["weights"]) == {"weak", "strong"}
assert "accuracy" in mg("score", FOLDER / "probs.h5", "--labels", FOLDER / "labels.csv")
assert "Needs" not in mg("plugins", "--json")
assert '"failed"' not in mg("plugins", "--json")
mg("store", "check", FOLDER / "probs.h5")
mg("fuse", GOLDEN / "hostile" / "truncated.h5", "-o", FOLDER / "none.h5", code=3)
print("fine")
