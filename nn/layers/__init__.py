"""Layers, one class each. A new one is imported here, and is then in the job file, its schema and the docs."""

from nn.layers.activation import Activation
from nn.layers.base import LAYERS, Layer
from nn.layers.conv1d import Conv1d
from nn.layers.conv2d import Conv2d
from nn.layers.dense import Dense
from nn.layers.dropout import Dropout
from nn.layers.embedding import Embedding
from nn.layers.normalisation import BatchNorm, LayerNorm
from nn.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from nn.layers.residual import Residual
from nn.layers.shaping import Flatten, Reshape

__all__ = [
    "LAYERS",
    "Activation",
    "AveragePool",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePool",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Reshape",
    "Residual",
]
