"""The engine: networks, losses, optimizers and the training loop, in NumPy. No files, no database, no queue."""

from nn.activations import ACTIVATIONS, ActivationFunction
from nn.arrays import Array, Arrays, Buffers, Shape, ShapeError, Views
from nn.data import SCALERS, Data, Scaler
from nn.initializers import INITIALIZERS
from nn.layers import (
    LAYERS,
    Activation,
    AveragePool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool,
    Layer,
    LayerNorm,
    MaxPool,
    Reshape,
    Residual,
)
from nn.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError, one_hot, softmax
from nn.metrics import METRICS, Metric, direction, is_better
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
    "AveragePool",
    "BatchNorm",
    "Buffers",
    "Conv1d",
    "Conv2d",
    "CrossEntropy",
    "Data",
    "Dense",
    "Diverged",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Epoch",
    "FlatBuffer",
    "Flatten",
    "GlobalAveragePool",
    "Layer",
    "LayerNorm",
    "LayerSummary",
    "Loss",
    "MaxPool",
    "MeanSquaredError",
    "Metric",
    "Network",
    "Optimizer",
    "Plan",
    "Registry",
    "Reshape",
    "Residual",
    "Scaler",
    "Settings",
    "Sgd",
    "Shape",
    "ShapeError",
    "State",
    "Views",
    "direction",
    "evaluate",
    "is_better",
    "one_hot",
    "setting",
    "softmax",
    "split_indices",
    "train",
]
