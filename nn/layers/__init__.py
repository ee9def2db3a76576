"""Layers, one class each. A new one is imported here, and is then in the job file, its schema and the docs."""

from nn.layers.activation import Activation
from nn.layers.base import LAYERS, Layer
from nn.layers.dense import Dense
from nn.layers.dropout import Dropout

__all__ = ["LAYERS", "Activation", "Dense", "Dropout", "Layer"]
