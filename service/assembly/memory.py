"""How much memory a training needs, told before it begins."""

from __future__ import annotations

import math

from nn import Plan
from nn.data import CHUNK
from nn.training import EVALUATION_BATCH
from service.datasets import Dataset
from service.display import size
from service.spec import Spec
from service.spec.schema import memory_bytes

NUMBER = 4  # bytes, float32
EMPTY_PROCESS = 100 * 2**20  # bytes, about
MOST_BYTES = 2**40  # a spec that needs more has a typo


def memory_estimate(plan: Plan, dataset: Dataset, train_rows: int, validation_rows: int) -> dict[str, int]:
    """Bytes that a training of this plan holds at once, by what holds them.

    weights: parameters, gradients, the best epoch's copy and the optimizer's vectors. checkpoint: a copy of all of
    them but the gradients while one is written. activations: what the layers keep for a batch, for the last batch of an
    epoch if it is smaller, and for a batch of the validation rows. batches: rows gathered for the next steps. data: the
    dataset as stored and its rows by part, which for images of bytes are bytes and otherwise the inputs.
    """
    vector = plan.network.size * NUMBER
    slots = plan.optimizer.slots + (plan.average is not None) + (plan.accumulate > 1)
    inputs = math.prod(plan.network.input_shape)
    gathered = min(len(dataset) * inputs * NUMBER, max(CHUNK, plan.batch_size * inputs * NUMBER))
    return {
        "weights": (3 + slots) * vector,
        "checkpoint": (2 + slots) * vector,
        "activations": _activations(plan, train_rows, validation_rows),
        "batches": 2 * gathered,
        "data": dataset.nbytes + len(dataset) * (inputs * dataset.features.itemsize + plan.outputs * NUMBER),
    }


def _activations(plan: Plan, train_rows: int, validation_rows: int) -> int:
    judged = min(max(plan.batch_size, EVALUATION_BATCH), validation_rows)
    batches = [(plan.batch_size, True), (train_rows % plan.batch_size, True), (judged, False)]
    if judged:
        batches.append((validation_rows % judged, False))
    losses = 4 * plan.outputs  # the loss's arrays and the metrics'
    return NUMBER * sum(
        plan.network.workspace(batch, training=training) + batch * losses for batch, training in batches if batch
    )


def check_memory(spec: Spec, plan: Plan, memory: dict[str, int]) -> None:
    """Raise SpecError at the layer that needs most if the training would need more than any machine has."""
    needed = sum(memory.values())
    if (limit := spec.limits.memory) is not None and needed + EMPTY_PROCESS > memory_bytes(limit):
        beside = f"beside the {size(EMPTY_PROCESS)} of an empty process"
        sentence = f"the training needs about {size(needed)} {beside}; allow more, or make the network or batch smaller"
        raise spec.error(("limits", "memory"), sentence)
    if needed <= MOST_BYTES:
        return
    network, most, worst = plan.network, -1, 0
    for index, (layer, taken, shapes) in enumerate(zip(network.layers, network.shapes, network.sizes, strict=False)):
        batch = layer.workspace(taken, plan.batch_size, training=True, input_gradient=index > 0)
        found = batch + sum(map(math.prod, shapes.values()))
        if found > most:
            most, worst = found, index
    kind = network.layers[worst].kind
    sentence = f"the training needs about {size(needed)}, most of it for layer {worst + 1} ({kind})"
    raise spec.error(("network", worst, kind), f"{sentence}; make it smaller")
