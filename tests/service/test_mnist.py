"""The real MNIST through the whole of spec, dataset, assembly, training and evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import nn
from service import datasets
from service.assembly import assemble
from service.evaluation import evaluate
from service.spec import parse
from service.weights import pack, unpack
from tests.yard import ROOT

FOLDER = ROOT.parent / "shared" / "data" / "mnist"
SPEC = f"""
version: 1
name: mnist
data:
  source: {FOLDER}
  scale: none
  split: {{validation: 0.1, test: 0.1}}
network:
  - conv2d: {{units: 8, size: 5, stride: 2, activation: relu}}
  - max_pool: 2
optimizer: {{adam: 0.003}}
train: {{epochs: 2, batch_size: 64}}
"""


@pytest.mark.skipif(not FOLDER.exists(), reason=f"MNIST is not in {FOLDER}: its four idx .gz files belong there")
def test_a_small_convolution_reads_the_real_digits():
    spec = parse(SPEC, "mnist.yaml")
    dataset = datasets.load(spec)
    made = assemble(spec, dataset)
    assert made.train.features.dtype == np.uint8
    assert made.train.features.shape == (48_000, 28, 28, 1)
    state = nn.State.start(made.plan)
    list(nn.train(made.plan, state, made.train, made.validation))
    weights = unpack(pack(state.best_parameters, made.scaler, made.spec, dataset.schema))
    found = evaluate(weights, dataset)
    assert (found.split, found.rows) == ("test", 6_000)
    assert found.metrics["accuracy"] >= 0.96
    assert found.confusion is not None
    assert found.confusion.sum() == 6_000
