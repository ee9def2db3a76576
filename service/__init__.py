"""What a person and a program talk to. `from service import Client` is the Python face of a yard.

The names are loaded when they are first used: the command line must not pay for a database to print its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client import Client as Client
    from service.errors import InputError as InputError
    from service.errors import TrainyardError as TrainyardError
    from service.errors import Unreachable as Unreachable
    from service.following import TimedOut as TimedOut
    from service.settings import Settings as Settings
    from service.settings import load_settings as load_settings
    from service.store.records import AttemptRecord as AttemptRecord
    from service.store.records import MetricSummary as MetricSummary
    from service.store.records import RunRecord as RunRecord
    from service.store.records import WorkerRecord as WorkerRecord
    from service.store.tables import State as State

_HOMES = {
    "AttemptRecord": "service.store.records",
    "Client": "service.client",
    "InputError": "service.errors",
    "MetricSummary": "service.store.records",
    "RunRecord": "service.store.records",
    "Settings": "service.settings",
    "State": "service.store.tables",
    "TimedOut": "service.following",
    "TrainyardError": "service.errors",
    "Unreachable": "service.errors",
    "WorkerRecord": "service.store.records",
    "load_settings": "service.settings",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'service' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
