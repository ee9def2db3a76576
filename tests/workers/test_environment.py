"""What an attempt records of where it trains."""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np
import pytest

from service.environments import DECIDES_BYTES, facts
from workers import slot
from workers.environment import environment

ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def test_all_that_decides_bytes_is_recorded_and_all_of_it_goes_into_json():
    found = environment()
    assert set(DECIDES_BYTES) <= found.keys()
    assert all(found[key] not in (None, "", "unknown") for key in DECIDES_BYTES)
    assert json.loads(json.dumps(found)) == found
    assert (found["numpy"], found["trainyard"]) == (np.__version__, version("trainyard"))
    assert found["cpu"]
    assert [name for name, _ in facts(found)] == ["host", "CPU", "BLAS", "versions", "system"]


def test_the_threads_are_those_that_blas_has_when_it_is_told():
    assert [environment(threads)["blas_threads"] for threads in (1, 2)] == [1, 2]


@ONE
def test_an_attempt_records_the_threads_that_its_spec_asks_for(here):
    runs = [here.submit("train.epochs=1"), here.submit("train.epochs=1", "train.threads=2")]
    for run in runs:
        here.train()
        [attempt] = here.client.attempts(run)
        assert attempt.environment == slot.environment(here.client.run(run).spec["train"]["threads"])
    assert [here.client.attempts(run)[0].environment["blas_threads"] for run in runs] == [1, 2]
