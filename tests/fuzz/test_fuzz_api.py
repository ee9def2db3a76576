"""Whatever the API's description allows, and much that it does not, is answered as it says, and never by a failure.

FUZZ=20 tries twenty times as much, as elsewhere here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from schemathesis.checks import load_all_checks

from service.client import Client
from service.settings import Settings
from service.web.api import PREFIX, api_app
from service.web.api.acting import LONGEST_WAIT
from service.web.heavy import Judges
from tests.fuzz import mutations
from tests.web import served
from tests.yard import settled


async def welcome(request: object) -> bool:
    return True


NOWHERE = Client(Settings(home=Path("/nowhere")))
DESCRIBED = api_app(NOWHERE, Judges(NOWHERE), welcome).openapi()
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
load_all_checks()
SCHEMA.config.checks.negative_data_rejection.expected_statuses = ["4xx"]  # what is too long may be told as that
SCHEMA.config.phases.coverage.enabled = mutations.FACTOR > 1  # each limit of each parameter, which takes a minute
# What fits the description may still be no spec, no expression or no run, which it cannot say.
LEFT_OUT = ["positive_data_acceptance"]


@pytest.fixture(scope="module")
def browser() -> Iterator[httpx.Client]:
    with settled() as there, served(Client(there.settings)) as made:
        yield made


def test_everything_is_described():
    for path, operations in DESCRIBED["paths"].items():
        for method, operation in operations.items():
            told = operation.get("summary"), operation.get("description"), operation.get("operationId")
            assert all(told), (method, path)
            statuses = set(operation["responses"])
            assert statuses >= {"400", "401", "403", "422", "429", "503"}, (method, path)
            assert method == "get" or "413" in statuses or method == "delete", (method, path)


@SCHEMA.exclude(operation_id="follow_events").parametrize()
@mutations.law(8)
def test_every_answer_is_as_described(case, browser):
    wait = case.body.get("wait") if isinstance(case.body, dict) else None
    if type(wait) in (int, float) and 0 < wait <= LONGEST_WAIT:
        case.body["wait"] = 0  # nobody trains here, so that nobody will obey
    left_out = [check for name in LEFT_OUT for check in schemathesis.checks.CHECKS.get_by_names([name])]
    case.call_and_validate(base_url=f"{browser.base_url}{PREFIX}", excluded_checks=left_out)
