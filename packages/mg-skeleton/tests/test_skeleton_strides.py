"""Strides in time: right numbers, and no memory written past its end."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from mg_skeleton.temporal import pointwise

CRASHED = """
import torch
from mg_data.contract import InputSpec
from mg_data.plugins import registry, resolve
torch.set_num_threads(1)
spec = registry().get("models", "decoupled-stcnn")
options = {**spec.options, **spec.presets["tiny"], "widths": [8, 8], "strides": [2, 2]}
given = InputSpec(kind="keypoints", shape=(3, 64, 137), layout="openpose-137")
model = resolve(spec.factory)(3, input=given, **options)
model = model.to(memory_format=torch.channels_last)
for _ in range(5):
    x = torch.randn(8, 3, 64, 137).to(memory_format=torch.channels_last).requires_grad_()
    model(x).logits.sum().backward()
print("trained")
"""


@pytest.mark.slow
def test_few_channels_of_many_keypoints_that_stride_do_not_crash() -> None:
    """In a process of its own: the library's backward pass wrote past its memory."""
    done = subprocess.run([sys.executable, "-c", CRASHED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr[-2000:]


@pytest.mark.parametrize("bias", [False, True])
def test_a_subsampled_convolution_equals_the_strided_one(bias: bool) -> None:
    torch.manual_seed(0)
    ours = pointwise(6, 4, stride=2, bias=bias)
    theirs = nn.Conv2d(6, 4, 1, stride=(2, 1), bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 9, 5)
    torch.testing.assert_close(ours(x), theirs(x))
