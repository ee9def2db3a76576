"""The engine: networks, losses, optimizers and the training loop, in NumPy. No files, no database, no queue."""

from nn.activations import ACTIVATIONS, ActivationFunction
from nn.arrays import Array, Arrays, Buffers, Shape, ShapeError
from nn.data import SCALERS, Data, Scaler
from nn.initializers import INITIALIZERS
from nn.layers import LAYERS, Activation, Dense, Dropout, Layer
from nn.losses import (
    LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Quadratic,
    one_hot,
    softmax,
)
from nn.metrics import METRICS, Metric, PerClass, confusion, direction, is_better, per_class, per_label
from nn.network import LayerSummary, Network
from nn.optimizers import OPTIMIZERS, Adam, Optimizer, Sgd
from nn.parameters import FlatBuffer
from nn.plan import EarlyStopping, Plan
from nn.registry import Registry, Settings, setting
from nn.splits import split_indices
from nn.state import State
from nn.training import Diverged, Epoch, evaluate, train

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "METRICS",
    "OPTIMIZERS",
    "SCALERS",
    "Activation",
    "ActivationFunction",
    "Adam",
    "Array",
    "Arrays",
    "BinaryCrossEntropy",
    "Buffers",
    "CrossEntropy",
    "Data",
    "Dense",
    "Diverged",
    "Dropout",
    "EarlyStopping",
    "Epoch",
    "FlatBuffer",
    "Hinge",
    "Huber",
    "Layer",
    "LayerSummary",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Network",
    "Optimizer",
    "PerClass",
    "Plan",
    "Quadratic",
    "Registry",
    "Scaler",
    "Settings",
    "Sgd",
    "Shape",
    "ShapeError",
    "State",
    "confusion",
    "direction",
    "evaluate",
    "is_better",
    "one_hot",
    "per_class",
    "per_label",
    "setting",
    "softmax",
    "split_indices",
    "train",
]
