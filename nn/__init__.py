"""The engine: networks, losses, optimizers, schedules, the training loop, in NumPy. No files, no database, no queue."""

from nn.activations import ACTIVATIONS, ActivationFunction
from nn.arrays import Array, Arrays, Buffers, Shape, ShapeError
from nn.augmentation import Augmentation, ImageAugmentation
from nn.data import Data
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
from nn.metrics import METRICS, Metric, direction, is_better
from nn.network import LayerSummary, Network
from nn.optimizers import (
    OPTIMIZERS,
    AdaGrad,
    Adam,
    AdamW,
    AmsGrad,
    Momentum,
    Nadam,
    Nesterov,
    Optimizer,
    RmsProp,
    Sgd,
)
from nn.parameters import FlatBuffer
from nn.plan import EarlyStopping, Plan
from nn.preparation import FILLS, SCALERS, ByteScaler, Missing, Preparation, Scaler
from nn.registry import Registry, Settings, setting
from nn.schedules import (
    SCHEDULES,
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    warmed,
)
from nn.splits import fold_indices, given_indices, grouped_indices, split_indices
from nn.state import State
from nn.training import Diverged, Epoch, evaluate, train

__all__ = [
    "ACTIVATIONS",
    "FILLS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "METRICS",
    "OPTIMIZERS",
    "SCALERS",
    "SCHEDULES",
    "Activation",
    "ActivationFunction",
    "AdaGrad",
    "Adam",
    "AdamW",
    "AmsGrad",
    "Array",
    "Arrays",
    "Augmentation",
    "BinaryCrossEntropy",
    "Buffers",
    "ByteScaler",
    "ConstantRate",
    "CosineDecay",
    "CrossEntropy",
    "Data",
    "Dense",
    "Diverged",
    "Dropout",
    "EarlyStopping",
    "Epoch",
    "ExponentialDecay",
    "FlatBuffer",
    "Hinge",
    "Huber",
    "ImageAugmentation",
    "Layer",
    "LayerSummary",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Missing",
    "Momentum",
    "Nadam",
    "Nesterov",
    "Network",
    "OneCycle",
    "Optimizer",
    "Plan",
    "PolynomialDecay",
    "Preparation",
    "Quadratic",
    "ReduceOnPlateau",
    "Registry",
    "RmsProp",
    "Scaler",
    "Schedule",
    "Settings",
    "Sgd",
    "Shape",
    "ShapeError",
    "State",
    "StepDecay",
    "direction",
    "evaluate",
    "fold_indices",
    "given_indices",
    "grouped_indices",
    "is_better",
    "one_hot",
    "setting",
    "softmax",
    "split_indices",
    "train",
    "warmed",
]
