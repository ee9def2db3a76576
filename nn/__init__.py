"""The engine: networks, losses, optimizers and the training loop, in NumPy. No files, no database, no queue."""

from nn.activations import ACTIVATIONS, ActivationFunction
from nn.arrays import Array, Arrays, Buffers, Shape, ShapeError
from nn.augmentation import Augmentation, ImageAugmentation
from nn.data import Data
from nn.initializers import INITIALIZERS
from nn.layers import LAYERS, Activation, Dense, Dropout, Layer
from nn.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError, one_hot, softmax
from nn.metrics import METRICS, Metric, direction, is_better
from nn.network import LayerSummary, Network
from nn.optimizers import OPTIMIZERS, Adam, Optimizer, Sgd
from nn.parameters import FlatBuffer
from nn.plan import EarlyStopping, Plan
from nn.preparation import FILLS, SCALERS, ByteScaler, Missing, Preparation, Scaler
from nn.registry import Registry, Settings, setting
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
    "Activation",
    "ActivationFunction",
    "Adam",
    "Array",
    "Arrays",
    "Augmentation",
    "Buffers",
    "ByteScaler",
    "CrossEntropy",
    "Data",
    "Dense",
    "Diverged",
    "Dropout",
    "EarlyStopping",
    "Epoch",
    "FlatBuffer",
    "ImageAugmentation",
    "Layer",
    "LayerSummary",
    "Loss",
    "MeanSquaredError",
    "Metric",
    "Missing",
    "Network",
    "Optimizer",
    "Plan",
    "Preparation",
    "Registry",
    "Scaler",
    "Settings",
    "Sgd",
    "Shape",
    "ShapeError",
    "State",
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
]
