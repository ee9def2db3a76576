"""All that a training needs to continue to the same bytes, as arrays and numbers that fit in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nn.arrays import Array, Arrays
from nn.parameters import FlatBuffer
from nn.plan import Plan
from nn.totals import Totals

COUNTERS: Mapping[str, type] = {
    "epoch": int,
    "cursor": int,
    "samples": int,
    "seconds": float,
    "elapsed": float,
    "best_epoch": int,
    "best_value": float,
    "waited": int,
    "wait_value": float,
    "rate_scale": float,
    "rate_waited": int,
    "rate_value": float,
    "ended": str,
}
MAYBE = {"best_epoch", "best_value", "wait_value", "rate_value", "ended"}  # None until an epoch has ended
ENDINGS = ("epochs", "early_stopping", "target", "max_seconds")  # after the first, the names of the plan's settings


@dataclass
class State:
    """Where a training stands, always between two steps when anyone but `train` looks.

    `epoch` counts finished epochs and `cursor` the samples of the current one that are done. `shuffle` stands where it
    stood at the epoch's start, so that the epoch's order can be drawn again; `noise` moves with every dropout and every
    augmented image. `average` is the moving average of the parameters, where the plan asks for one. `seconds` are the
    current epoch's, `elapsed` those of all finished ones. `rate_…` belong to a schedule that waits for a plateau.
    `ended` is why the training has ended (one of ENDINGS), or None.
    """

    parameters: FlatBuffer
    optimizer: Any
    shuffle: np.random.Generator
    noise: np.random.Generator
    epoch: int = 0
    cursor: int = 0
    samples: int = 0
    seconds: float = 0.0
    elapsed: float = 0.0
    totals: Totals = field(default_factory=lambda: Totals({}))
    average: FlatBuffer | None = None
    best: FlatBuffer | None = None
    best_epoch: int | None = None
    best_value: float | None = None
    waited: int = 0
    wait_value: float | None = None
    rate_scale: float = 1.0
    rate_waited: int = 0
    rate_value: float | None = None
    ended: str | None = None

    @classmethod
    def start(cls, plan: Plan, dtype: DTypeLike = np.float32, begin: Arrays | None = None) -> State:
        """The state before the first step; all of it follows from the plan's seed and from `begin`.

        `begin` holds another network's parameters by name; those of the same name and shape replace what was drawn.
        """
        weights, shuffle, noise = generators(plan.seed)
        parameters = plan.network.initialise(weights, dtype)
        for name, array in (begin or {}).items():
            if plan.network.parameter_shapes.get(name) == array.shape:
                parameters.views[name][...] = array
        optimizer = plan.optimizer.init(parameters.flat)
        state = cls(parameters, optimizer, shuffle, noise, totals=Totals(plan.metric_parts))
        state.average = parameters.copy() if plan.average is not None else None
        return state

    @property
    def step(self) -> int:
        """How many updates were made in all."""
        return int(self.optimizer.step)

    @property
    def finished(self) -> bool:
        return self.ended is not None

    @property
    def last_parameters(self) -> FlatBuffer:
        """What the network answers with now: the moving average if there is one."""
        return self.parameters if self.average is None else self.average

    @property
    def best_parameters(self) -> FlatBuffer:
        """Those of the best epoch, or the current ones while there is none."""
        return self.last_parameters if self.best is None else self.best

    def begin_epoch(self) -> None:
        self.cursor, self.seconds = 0, 0.0
        self.totals = Totals(self.totals.metrics)

    def keep_best(self, epoch: int, value: float) -> None:
        if self.best is None:
            self.best = self.last_parameters.copy()
        np.copyto(self.best.flat, self.last_parameters.flat)
        self.best_epoch, self.best_value = epoch, value

    def snapshot(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Copies of the vectors, and the rest as values that survive JSON: no NaN, no integer above 64 bits."""
        vectors = {"parameters": self.parameters.flat, **_optimizer_vectors(self.optimizer)}
        vectors |= {name: kept.flat for name in ("average", "best") if (kept := getattr(self, name)) is not None}
        counters: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        counters |= {
            "step": self.step,
            "totals": self.totals.document(),
            "layout": {name: list(shape) for name, shape in self.parameters.shapes.items()},
            "generators": {"shuffle": pack_generator(self.shuffle), "noise": pack_generator(self.noise)},
        }
        return {name: vector.copy() for name, vector in vectors.items()}, counters

    @classmethod
    def restore(cls, plan: Plan, arrays: Arrays, counters: Mapping[str, Any]) -> State:
        """The state of a snapshot, copied. Nothing in it is believed: ValueError says what does not fit the plan."""
        values = _checked_counters(plan, counters)
        parameters = np.array(_checked_vector(arrays, "parameters", plan.network.size))
        layout = FlatBuffer(plan.network.parameter_shapes, flat=parameters)
        optimizer = plan.optimizer.init(parameters)._replace(step=counters["step"])
        expected = {"parameters", *_optimizer_vectors(optimizer)}
        expected |= {"best"} if values["best_epoch"] is not None else set()
        expected |= {"average"} if plan.average is not None else set()
        if set(arrays) != expected:
            raise ValueError(f"checkpoint: the arrays are {sorted(arrays)} and should be {sorted(expected)}")
        for name, vector in _optimizer_vectors(optimizer).items():
            vector[...] = _checked_vector(arrays, name, plan.network.size, parameters.dtype)
        shuffle, noise = (unpack_generator(counters["generators"][name]) for name in ("shuffle", "noise"))
        state = cls(layout, optimizer, shuffle, noise, **values)
        for name in expected & {"average", "best"}:
            kept = _checked_vector(arrays, name, plan.network.size, parameters.dtype)
            setattr(state, name, FlatBuffer(plan.network.parameter_shapes, flat=np.array(kept)))
        return state


def generators(seed: int) -> tuple[np.random.Generator, ...]:
    """Independent generators for weights, shuffling and noise, so that adding dropout does not change the order."""
    return tuple(np.random.Generator(np.random.PCG64(part)) for part in np.random.SeedSequence(seed).spawn(3))


def pack_generator(generator: np.random.Generator) -> dict[str, Any]:
    """PCG64's state for JSON. Its 128-bit integers are written as hexadecimal: most readers of JSON stop at 64."""
    state = generator.bit_generator.state
    return {
        "kind": state["bit_generator"],
        "state": hex(state["state"]["state"]),
        "inc": hex(state["state"]["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def unpack_generator(packed: Mapping[str, Any]) -> np.random.Generator:
    """The generator of `pack_generator`; ValueError if it is none."""
    bits = np.random.PCG64(0)
    try:
        state: Any = {
            "bit_generator": packed["kind"],
            "state": {"state": int(packed["state"], 16), "inc": int(packed["inc"], 16)},
            "has_uint32": packed["has_uint32"],
            "uinteger": packed["uinteger"],
        }
        bits.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"checkpoint: a generator's state is damaged: {error}") from error
    return np.random.Generator(bits)


def copy_generator(generator: np.random.Generator) -> np.random.Generator:
    """Another generator that will draw the same."""
    bits = np.random.PCG64(0)
    state: Any = generator.bit_generator.state
    bits.state = state
    return np.random.Generator(bits)


def _optimizer_vectors(state: Any) -> dict[str, Array]:
    """The vectors of an optimizer's state by their name in a snapshot."""
    fields = state._asdict().items()
    return {f"optimizer.{name}": value for name, value in fields if isinstance(value, np.ndarray)}


def _checked_vector(arrays: Arrays, name: str, size: int, dtype: DTypeLike | None = None) -> Array:
    if name not in arrays:
        raise ValueError(f"checkpoint: the array {name!r} is missing")
    vector = np.asarray(arrays[name])
    if vector.shape != (size,):
        raise ValueError(f"checkpoint: {name!r} has the shape {vector.shape} and should have ({size},)")
    if vector.dtype not in ((np.float32, np.float64) if dtype is None else (dtype,)):
        raise ValueError(f"checkpoint: {name!r} is {vector.dtype} and should be {dtype or 'float32 or float64'}")
    return vector


def _checked_counters(plan: Plan, counters: Mapping[str, Any]) -> dict[str, Any]:
    """The counters by the names of State's fields."""
    expected = {*COUNTERS, "step", "totals", "layout", "generators"}
    if not isinstance(counters, Mapping):
        raise ValueError(f"checkpoint: the counters are {counters!r:.40} and should be a table")
    if set(counters) != expected:
        raise ValueError(f"checkpoint: the counters are {sorted(counters)} and should be {sorted(expected)}")
    layout = {name: list(shape) for name, shape in plan.network.parameter_shapes.items()}
    if counters["layout"] != layout:
        raise ValueError(f"checkpoint: it is of another network, with {counters['layout']} instead of {layout}")
    for name, kind in {**COUNTERS, "step": int}.items():
        _check_number(name, counters[name], kind)
    totals = Totals.from_document(plan.metric_parts, counters["totals"])
    _checked_table(counters, "generators", ("shuffle", "noise"))
    _check_consistent(plan, counters, totals)
    # JSON may have written 1.0 as 1.
    values = {name: _as(kind, counters[name]) for name, kind in COUNTERS.items()}
    return {**values, "totals": totals}


def _as(kind: type, value: Any) -> Any:
    return None if value is None else kind(value)


def _checked_table(counters: Mapping[str, Any], name: str, keys: Iterable[str]) -> Mapping[str, Any]:
    """A table inside the counters, with these keys and no others."""
    table = counters[name]
    if not isinstance(table, Mapping) or set(table) != set(keys):
        raise ValueError(f"checkpoint: {name} should be a table of {', '.join(keys)}, got {table!r}")
    return table


def _check_number(name: str, value: Any, kind: type) -> None:
    if value is None and name in MAYBE:
        return
    right = type(value) is kind or (kind is float and type(value) is int)
    if kind is str:
        right = value in ENDINGS
    if not right or (kind is not str and not math.isfinite(value)) or (kind is int and value < 0):
        raise ValueError(f"checkpoint: {name} is {value!r}, which is not a {kind.__name__} that it can be")


def _check_consistent(plan: Plan, counters: Mapping[str, Any], totals: Totals) -> None:
    """Counters that are each possible may be impossible together."""
    epoch, cursor, best_epoch = counters["epoch"], counters["cursor"], counters["best_epoch"]
    ended, group = counters["ended"], plan.batch_size * plan.accumulate
    faults = {
        f"{epoch} epochs are done of {plan.epochs}": epoch > plan.epochs,
        f"the cursor {cursor} is not at an update of {group} samples": cursor % group != 0,
        f"the totals are of {totals.samples} samples at {cursor}": totals.samples != cursor,
        f"the best epoch is {best_epoch} after {epoch}": best_epoch is not None and not 1 <= best_epoch <= epoch,
        "the best epoch and its value do not go together": (best_epoch is None) != (counters["best_value"] is None),
        f"it says {ended} after {epoch} epochs": (ended is None) != (epoch < plan.epochs) and ended not in ENDINGS[1:],
        f"it was ended by {ended}, which is not in the plan": ended in ENDINGS[1:] and getattr(plan, ended) is None,
    }
    for sentence, wrong in faults.items():
        if wrong:
            raise ValueError(f"checkpoint: {sentence}")
