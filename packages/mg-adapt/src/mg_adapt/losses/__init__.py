"""Losses for a long tail (paper 3.2 and its successors), registered through ``mg_register_losses``.

A loss is built once a training with the class counts of the training clips and is called as
``loss(output: ModelOutput, target) -> scalar``. It is an ``nn.Module``: its buffers go into the checkpoint. A
loss that declares the option ``feature_dim`` is told the model's d when the option is 0.

What the trainer also knows of a loss, both optional:

- ``soft_targets = True``: the target may be (N, K) probabilities instead of (N,) int64 classes. The losses
  of this package (but ``information-maximisation``) then return the expectation,
  ``sum_c target_c loss(c)``, of what they return for the classes themselves.
- ``at_epoch(epoch, epochs)``: called before each epoch, counted from 0.
"""

from mg_adapt.losses.balanced_softmax import BalancedSoftmax
from mg_adapt.losses.class_balanced import ClassBalanced, effective_numbers
from mg_adapt.losses.focal import Focal, cross_entropy
from mg_adapt.losses.information import InformationMaximisation
from mg_adapt.losses.ldam import LDAM
from mg_adapt.losses.logit_adjustment import LogitAdjustment
from mg_adapt.losses.semantic import OrthogonalSemantic, orthogonal_anchors
from mg_adapt.losses.weights import class_weights

__all__ = [
    "LDAM",
    "BalancedSoftmax",
    "ClassBalanced",
    "Focal",
    "InformationMaximisation",
    "LogitAdjustment",
    "OrthogonalSemantic",
    "class_weights",
    "cross_entropy",
    "effective_numbers",
    "orthogonal_anchors",
]
