"""Runs beside each other: what differs in their specs and around them, their metrics and their curves."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.display import judged_by
from service.errors import InputError
from service.store.records import MetricSummary, RunRecord, jsonable
from service.store.spec_keys import length_of, name_of, written

Points: TypeAlias = "tuple[tuple[int, float], ...]"  # epoch, value; NaN where a training diverged
Column: TypeAlias = "tuple[Any, ...]"  # a value for each run; None where it has none
SPLITS = ("val_", "", "test_")  # where a metric is read unless told: what was kept to judge by comes first


@dataclass(frozen=True)
class Comparison:
    """Everything has one value for each of `runs`, in their order.

    `spec` has the keys whose values differ, written as paths such as `optimizer.adam.learning_rate`; `facts` what else
    differs. `metric` is the one that the runs are judged by, None before there is any; `curves` has the points of it
    on the training and on the validation rows.
    """

    runs: tuple[RunRecord, ...]
    spec: Mapping[str, Column]
    facts: Mapping[str, Column]
    metric: str | None
    curves: Mapping[str, tuple[Points, ...]]

    @property
    def metrics(self) -> list[str]:
        """Every metric that any of the runs has; the one that counts comes first."""
        names = sorted({name for run in self.runs for name in run.metrics})
        return sorted(names, key=lambda name: name != self.metric)

    def summaries(self, metric: str) -> tuple[MetricSummary | None, ...]:
        return tuple(run.metrics.get(metric) for run in self.runs)

    def best(self, metric: str) -> int | None:
        """The position of the run whose best value beats the others'; None when none has a finite one."""
        better = better_way(metric)
        values = [math.nan if summary is None else summary.best for summary in self.summaries(metric)]
        finite = [position for position, value in enumerate(values) if math.isfinite(value)]
        if better is None or not finite:
            return None
        return (max if better == "higher" else min)(finite, key=lambda position: values[position])

    def ranked(self, metric: str) -> list[int]:
        """The positions of all runs, the best first; those without a finite value last."""
        sign = -1 if better_way(metric) == "higher" else 1
        values = [math.nan if summary is None else summary.best for summary in self.summaries(metric)]
        return sorted(range(len(values)), key=lambda at: sign * values[at] if math.isfinite(values[at]) else math.inf)

    def document(self) -> dict[str, Any]:
        """Plain values for JSON: each list has an entry for each of `runs`."""
        metrics: dict[str, Any] = {}
        for name in sorted(self.metrics):
            summaries, best = self.summaries(name), self.best(name)
            columns = {
                field: [None if summary is None else getattr(summary, field) for summary in summaries]
                for field in ("last", "best", "best_epoch")
            }
            metrics[name] = columns | {"best_run": None if best is None else self.runs[best].id}
        curves = {
            name: [{"epochs": [epoch for epoch, _ in run], "values": [value for _, value in run]} for run in runs]
            for name, runs in self.curves.items()
        }
        document = {
            "runs": [{"id": run.id, "name": run.name, "state": run.state} for run in self.runs],
            "spec": dict(self.spec), "facts": dict(self.facts), "metric": self.metric, "metrics": metrics,
            "curves": curves,
        }  # fmt: skip
        plain: dict[str, Any] = jsonable(document)
        return plain


def compare(
    runs: Sequence[RunRecord],
    environments: Mapping[int, Mapping[str, Any]],
    metric: str | None,
    curves: Mapping[int, Mapping[str, Points]],
) -> Comparison:
    """`environments` are those of the runs' last attempts, `curves` the points of each run's metrics by name."""
    names = [] if metric is None else drawn(metric)
    return Comparison(
        tuple(runs),
        spec=_in_order(_differing([dict(leaves(_unnamed(run.spec))) for run in runs])),
        facts=_differing([_facts(run) | dict(environments.get(run.id, {})) for run in runs]),
        metric=metric,
        curves={name: tuple(curves.get(run.id, {}).get(name, ()) for run in runs) for name in names},
    )


def judging(runs: Iterable[RunRecord], wanted: str | None = None) -> str | None:
    """The metric to compare these runs by: the one that was asked for, else the one that counts for most of them.

    Raises InputError for one that none of them has. None: none of them has any yet.
    """
    runs = list(runs)
    known = sorted({name for run in runs for name in run.metrics})
    if wanted is not None:
        if wanted not in known:
            if not known:
                raise InputError(f"none of these runs has a metric yet, so no {wanted}")
            from service.wording import unknown

            raise InputError(unknown("metric", wanted, known))
        return wanted
    counted = Counter(judged_by(run) for run in runs if run.metrics).most_common()
    found = (split + name for name, _ in counted for split in SPLITS if split + name in known)
    return next(found, next(iter(known), None))


def drawn(metric: str) -> list[str]:
    """The metrics whose curves tell about this one: itself, on the training rows and on those for validation."""
    from nn.metrics import base_name

    base = base_name(metric)
    return list(dict.fromkeys([base, f"val_{base}", metric]))


def better_way(metric: str) -> str | None:
    """`higher` or `lower`; None for a metric that this version does not know, such as one of an imported run."""
    from nn.metrics import direction

    try:
        return direction(metric)
    except KeyError:
        return None


# What differs


def leaves(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Everything in a spec that is not null by its path; which part was chosen, and how many items a list has."""
    path = written(steps)
    match value:
        case None:
            return
        case dict():
            if len(value) == 1 and isinstance(next(iter(value.values())), dict):
                yield name_of(path), next(iter(value))
            for key, inner in value.items():
                yield from leaves(inner, (*steps, str(key)))
        case list() if any(isinstance(item, dict | list) for item in value):
            yield length_of(path), len(value)
            for number, inner in enumerate(value):
                yield from leaves(inner, (*steps, number))
        case list():
            yield path, ", ".join(map(str, value)) or "none"
        case _:
            yield path, value


def _unnamed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec without the name, which can be edited and stands with the run."""
    return {key: value for key, value in spec.items() if key != "name"}


def _facts(run: RunRecord) -> dict[str, Any]:
    """What a run has beside its spec; its number and its times, which always differ, are no difference."""
    return {
        "name": run.name,
        "state": str(run.state),
        "queue": run.queue,
        "priority": run.priority,
        "tags": ", ".join(run.tags) or None,
        "note": run.note,
        "dataset": run.dataset_sha256,
        "attempts": run.attempt,
        "epochs done": run.epoch,  # train.epochs is what was asked for
        "cloned from": run.cloned_from,
        "fine-tuned from": run.fine_tuned_from,
        "replay of": run.replay_of,
        "imported from": run.imported_from,
        "worker": run.worker,
    }


def _differing(columns: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """The keys whose values are not the same everywhere. 1 and 1.0 are, 1 and true are not."""
    keys = dict.fromkeys(key for column in columns for key in column)
    found = {key: tuple(column.get(key) for column in columns) for key in keys}
    return {key: values for key, values in found.items() if len({identity(value) for value in values}) > 1}


def identity(value: Any) -> Any:
    """Equal for values that are the same to a spec."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value
    return type(value), str(value)


def _in_order(spec: dict[str, Column]) -> dict[str, Column]:
    """Keys of one section together, layers by their numbers, as they stand in a spec."""
    sections: dict[str, int] = {}

    def place(path: str) -> tuple[int, int]:
        section, _, rest = path.partition(" ")[0].partition(".")[0].partition("[")
        number = rest.removesuffix("]")
        return sections.setdefault(section, len(sections)), int(number) if number.isdecimal() else -1

    return {path: spec[path] for path in sorted(spec, key=place)}


# What tells, and under which name


def telling(spec: Mapping[str, Column]) -> list[str]:
    """The keys that say more than that a part is there or not: which part, how many, values that differ among the runs
    that have the key, and what several parts call the same, such as the learning rates of two optimizers."""
    ends = Counter(map(_section_and_end, spec))
    return [
        path
        for path, values in spec.items()
        if len({identity(value) for value in values if value is not None}) > 1
        or ends[_section_and_end(path)] > 1
        or path.endswith(")")
    ]


def _section_and_end(path: str) -> tuple[str, str]:
    return path.partition(".")[0], path.rpartition(".")[2]


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart: `learning_rate` for optimizer.adam.learning_rate."""
    return [next(end for end in _ends(path) if _alone(end, path, paths)) for path in paths]


def _ends(path: str) -> Iterator[str]:
    """The path from each of its dots and brackets on, the shortest first."""
    starts = [found.start() for found in re.finditer(r"(?<=\.)|\[", path)]
    yield from (path[at:] for at in reversed(starts))
    yield path


def _alone(end: str, path: str, paths: Sequence[str]) -> bool:
    return end == path or not any(other.endswith(end) for other in paths if other != path)
