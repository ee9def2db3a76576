"""The contenders: each makes the same network for a row and returns what trains it. None: it has nothing to show."""

from __future__ import annotations

import os

# before JAX is imported; it has no other switch for one thread
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

import nn
from benchmarks.rows import LEARNING_RATE, Row

Epochs = Callable[[int], None]  # train so many epochs on
FOR_EVER = 1_000_000


def trainyard(row: Row, optimizer: str) -> Epochs:
    layers: list[nn.Layer] = []
    for units, size in row.filters:
        layers += [nn.Conv2d(units, size, activation="relu"), nn.MaxPool(2)]
    layers += [nn.Flatten()] if row.filters else []
    layers += [nn.Dense(width, "relu") for width in row.widths[1:-1]]
    features, labels = row.data()
    plan = nn.Plan(
        network=nn.Network([*layers, nn.Dense(row.widths[-1])], features.shape[1:]),
        loss=nn.CrossEntropy(),
        optimizer=nn.OPTIMIZERS[optimizer](learning_rate=LEARNING_RATE[optimizer]),
        epochs=FOR_EVER,
        batch_size=row.batch_size,
    )
    training = nn.train(plan, nn.State.start(plan), nn.Data(features, labels))

    def train(epochs: int) -> None:
        for _ in range(epochs):
            next(training)

    return train


def pytorch(row: Row, optimizer: str, fused: bool = False, channels_last: bool = False) -> Epochs | None:
    if find_spec("torch") is None or (channels_last and not row.filters):
        return None
    import torch

    torch.set_num_threads(1)
    features, labels = (torch.from_numpy(array) for array in row.data())
    model, criterion = _torch_network(row), torch.nn.CrossEntropyLoss()
    if row.filters:
        features = features.permute(0, 3, 1, 2).contiguous()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        features = features.contiguous(memory_format=torch.channels_last)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    steps = kind(model.parameters(), lr=LEARNING_RATE[optimizer], fused=fused)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            order, total = torch.randperm(len(features)), 0.0
            for start in range(0, len(features), row.batch_size):
                batch = order[start : start + row.batch_size]
                steps.zero_grad()
                loss = criterion(model(features[batch]), labels[batch])
                loss.backward()
                steps.step()
                total += loss.item() * len(batch)

    return train


def _torch_network(row: Row) -> Any:
    from torch import nn as torch_nn

    layers: list[Any] = []
    channels = 1
    for units, size in row.filters:
        layers += [torch_nn.Conv2d(channels, units, size), torch_nn.ReLU(), torch_nn.MaxPool2d(2)]
        channels = units
    layers += [torch_nn.Flatten()] if row.filters else []
    for inputs, outputs in pairwise((row.flat, *row.widths[1:])):
        layers += [torch_nn.Linear(inputs, outputs), torch_nn.ReLU()]
    return torch_nn.Sequential(*layers[:-1])


def pytorch_fused(row: Row, optimizer: str) -> Epochs | None:
    return pytorch(row, optimizer, fused=True)


def pytorch_channels_last(row: Row, optimizer: str) -> Epochs | None:
    return pytorch(row, optimizer, channels_last=True)


def pytorch_fused_channels_last(row: Row, optimizer: str) -> Epochs | None:
    return pytorch(row, optimizer, fused=True, channels_last=True)


def jax_scan(row: Row, optimizer: str) -> Epochs | None:
    """An epoch is one compiled call: `lax.scan` over its batches. Dense rows only."""
    if find_spec("jax") is None or row.filters:
        return None
    import jax

    features, labels = (jax.numpy.asarray(array) for array in row.data())
    epoch = jax.jit(_jax_epoch(optimizer), donate_argnums=0)
    rng = np.random.default_rng(0)
    state = _jax_start(row, optimizer, rng)

    def train(epochs: int) -> None:
        nonlocal state
        for _ in range(epochs):
            order = rng.permutation(row.samples).reshape(-1, row.batch_size)
            state, total = epoch(state, features, labels, order)
            float(total)

    return train


def _jax_start(row: Row, optimizer: str, rng: np.random.Generator) -> Any:
    """Parameters, and for Adam two vectors beside each and the step."""
    import jax

    def layer(inputs: int, outputs: int) -> tuple[Any, Any]:
        limit = (6 / (inputs + outputs)) ** 0.5
        weight = rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)
        return jax.numpy.asarray(weight), jax.numpy.zeros(outputs, np.float32)

    parameters = [layer(*sizes) for sizes in pairwise(row.widths)]
    if optimizer == "sgd":
        return parameters, ()
    first, second = (jax.tree.map(jax.numpy.zeros_like, parameters) for _ in range(2))
    return parameters, (first, second, jax.numpy.zeros((), np.float32))


def _jax_epoch(optimizer: str) -> Callable[..., Any]:
    import jax

    rate = LEARNING_RATE[optimizer]

    def mean_loss(parameters: Any, x: Any, labels: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        logits = jax.nn.log_softmax(x @ parameters[-1][0] + parameters[-1][1])
        return -jax.numpy.take_along_axis(logits, labels[:, None], axis=1).mean()

    def sgd(parameters: Any, state: Any, gradients: Any) -> Any:
        return jax.tree.map(lambda p, g: p - rate * g, parameters, gradients), state

    def adam(parameters: Any, state: Any, gradients: Any) -> Any:
        first, second, step = state[0], state[1], state[2] + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        size, correction = rate / (1 - 0.9**step), 1 / (1 - 0.999**step)
        moved = jax.tree.map(
            lambda p, m, v: p - size * m / (jax.numpy.sqrt(v * correction) + 1e-8), parameters, first, second
        )
        return moved, (first, second, step)

    update = {"sgd": sgd, "adam": adam}[optimizer]

    def epoch(state: Any, features: Any, labels: Any, order: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            loss, gradients = jax.value_and_grad(mean_loss)(state[0], features[batch], labels[batch])
            return update(*state, gradients), loss * len(batch)

        state, losses = jax.lax.scan(step, state, order)
        return state, losses.sum()

    return epoch


def scikit_learn(row: Row, optimizer: str) -> Epochs | None:
    if find_spec("sklearn") is None or row.filters:
        return None
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    features, labels = row.data()
    model = MLPClassifier(
        row.widths[1:-1], solver=optimizer, alpha=0, batch_size=row.batch_size, momentum=0, warm_start=True, tol=0,
        learning_rate_init=LEARNING_RATE[optimizer], n_iter_no_change=FOR_EVER, early_stopping=False, random_state=0,
    )  # fmt: skip

    def train(epochs: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it did as many epochs as it was told
            model.set_params(max_iter=epochs).fit(features, labels)

    return train


Maker = Callable[[Row, str], Epochs | None]
CONTENDERS: dict[str, tuple[Maker, ...]] = {
    "nn": (trainyard,),
    "PyTorch": (pytorch, pytorch_channels_last),
    "fused": (pytorch_fused, pytorch_fused_channels_last),  # PyTorch with fused optimizers, which one has to ask for
    "JAX": (jax_scan,),
    "sklearn": (scikit_learn,),
}
"""Of several ways of doing the same the fastest counts."""
