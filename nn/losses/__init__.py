"""What training makes small. A file a family; `base` has the contract, and the weighting that all of them share."""

# In the order in which they are listed to people.
# isort: off
from nn.losses.base import LOSSES, Loss
from nn.losses.classes import check_class_labels, one_hot, row_starts
from nn.losses.cross_entropy import CrossEntropy, softmax
from nn.losses.binary_cross_entropy import BinaryCrossEntropy, logistic
from nn.losses.squared import MeanSquaredError, Quadratic
from nn.losses.absolute import Huber, MeanAbsoluteError
from nn.losses.hinge import Hinge
# isort: on

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Quadratic",
    "check_class_labels",
    "logistic",
    "one_hot",
    "row_starts",
    "softmax",
]
