"""Optimizers, one step downhill each. A new one is imported here, and is then in the job file, its schema and the docs.

`update` writes the parameters and its state in place, and uses the gradients' memory as scratch: after it they are
garbage. All work is elementwise, so vectors of any shape (..., size) do, and a stack costs no extra code.
"""

# isort: off
# From the simplest to what builds on it: the order of the registry, and so of the reference.
from nn.optimizers.base import OPTIMIZERS, Optimizer
from nn.optimizers.sgd import GradientDescent, Momentum, Nesterov, Sgd, SgdState
from nn.optimizers.adaptive import AdaGrad, AdaGradState, RmsProp, RmsPropState
from nn.optimizers.adam import Adam, AdamState, AdamW, AmsGrad, AmsGradState, Nadam, NadamState
# isort: on

__all__ = [
    "OPTIMIZERS",
    "AdaGrad",
    "AdaGradState",
    "Adam",
    "AdamState",
    "AdamW",
    "AmsGrad",
    "AmsGradState",
    "GradientDescent",
    "Momentum",
    "Nadam",
    "NadamState",
    "Nesterov",
    "Optimizer",
    "RmsProp",
    "RmsPropState",
    "Sgd",
    "SgdState",
]
