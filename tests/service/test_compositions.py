"""Any composition of layers, loss, optimizer and data: refused by the check with a place, or it trains and predicts."""

import json
import re

import numpy as np
import pytest
import random_specs
from hypothesis import HealthCheck, event, given, settings

import nn
from service import weights as files
from service.assembly import assemble, check, outline
from service.datasets import load
from service.errors import DataError
from service.evaluation import evaluate
from service.prediction import predict_rows
from service.spec import Spec, SpecError, parse

PLACE = r"s\.yaml:\d+:\d+: "
NEVER = re.compile(r"Traceback|Error\b|<class|<function|object at|NoneType|dtype|ndarray|None\b")
MOST_BYTES = 100 * 2**20  # what is larger is only checked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    random_specs.write_datasets(made)
    return made


@given(document=random_specs.documents())
@settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
def test_a_spec_is_refused_with_a_place_or_trains_and_predicts(folder, document):
    if document["data"]["source"] != "iris":
        document["data"]["source"] = str(folder / document["data"]["source"])
    text = json.dumps(document, indent=1)
    try:
        spec = parse(text, "s.yaml")
        dataset = load(spec)
        found = outline(spec, dataset)
    except (SpecError, DataError) as error:
        event("refused")
        assert_readable(error)
        return
    event("accepted")
    assert_resolved(found, dataset)
    if check(spec, dataset).memory_bytes < MOST_BYTES:
        event("trained")
        assert_trains(spec, dataset)


def assert_readable(error):
    message = str(error)
    for line in message.split("\n"):
        assert isinstance(error, DataError) or re.match(PLACE, line), line
    assert not NEVER.search(message), message


def assert_resolved(found, dataset):
    """The resolved spec survives its document, and resolving it again changes nothing."""
    again = Spec.from_document(json.loads(json.dumps(found.spec.document())))
    assert again == found.spec
    assert outline(again, dataset).spec == found.spec


def assert_trains(spec, dataset):
    """Two steps leave finite numbers, and the network can be judged, packed, unpacked and asked."""
    assembly = assemble(spec, dataset)
    plan, state, steps = assembly.plan, nn.State.start(assembly.plan), iter(range(10))
    before = state.parameters.flat.copy()
    epochs = list(nn.train(plan, state, assembly.train, assembly.validation, lambda: next(steps) >= 2))
    assert np.isfinite(state.parameters.flat).all()
    assert all(np.isfinite(value) for epoch in epochs for value in epoch.metrics.values())
    assert state.step >= 1
    for span in plan.network.frozen_spans:
        assert (state.parameters.flat[span] == before[span]).all()
    packed = files.pack(state.parameters, assembly.scaler, assembly.spec, dataset.schema)
    weights = files.unpack(packed)
    assert weights.parameters.flat.tobytes() == state.parameters.flat.tobytes()
    judged = evaluate(weights, dataset, "train").metrics
    assert all(np.isfinite(value) for value in judged.values()), judged
    answers = predict_rows(weights, dataset.features[:7])
    assert len(answers) == 7
    assert all(np.isfinite(column.to_numpy()).all() for column in answers if column.dtype.is_numeric())
