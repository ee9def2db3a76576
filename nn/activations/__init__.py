"""Functions between layers. Each writes where it is told, which may be over its own input.

All but softmax work on every number by itself. None has settings: what could be set is a constant that its
documentation names. A new one is imported here, and is then in the job file, its schema and the docs.
"""

from nn.activations.base import ACTIVATIONS, ActivationFunction, activation_function
from nn.activations.rectifiers import Elu, LeakyRelu, Linear, Relu, Selu, Softplus
from nn.activations.smooth import Gelu, Silu
from nn.activations.squashing import Sigmoid, Softmax, Tanh

__all__ = [
    "ACTIVATIONS",
    "ActivationFunction",
    "Elu",
    "Gelu",
    "LeakyRelu",
    "Linear",
    "Relu",
    "Selu",
    "Sigmoid",
    "Silu",
    "Softmax",
    "Softplus",
    "Tanh",
    "activation_function",
]
