"""Any order of transitions, against a model small enough to be read: the state machine as a person would explain it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    consumes,  # noqa: F401
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.store import history, transitions
from service.store.clock import after
from service.store.tables import Outcome, State
from service.store.transitions import Claim, LeaseLost, Point, WrongState
