"""How much each key of the spec matters for a metric, judged from runs that are there already."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.comparison import Comparison, better_way
from service.errors import InputError
from service.figures import is_number, judged, varied

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 8  # runs; with fewer, chance decides
GOOD = 5  # runs at least that count as good ones, which is what the method's authors advise
FACTOR = 10.0  # highest by lowest positive value of a key, from which on its logarithm counts


@dataclass(frozen=True)
class Importance:
    """`shares` have a number for each key that differs, the most important first; together they are 1."""

    metric: str
    direction: str
    runs: int
    shares: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        return {
            "metric": self.metric, "direction": self.direction, "runs": self.runs, "importance": dict(self.shares)
        }  # fmt: skip


def importance(found: Comparison) -> Importance:
    """PED-ANOVA (Watanabe, Bansal and Hutter 2023, https://arxiv.org/abs/2304.10255), as Optuna computes it: how much
    the best tenth of the runs (five at least) differ from all of them in each key.

    It sees each key alone: of two keys that changed together, it cannot tell which was the reason. Raises InputError
    when the runs are too few or nothing differs between them.
    """
    metric, kept, values = judged(found)
    direction = better_way(metric)
    if direction is None:
        raise InputError(f"{metric} is no metric of this version, so which runs are the good ones is not known")
    if len(kept) < FEWEST:
        raise InputError(f"importance takes {FEWEST} runs or more with {metric}; {len(kept)} of these have it")
    columns = varied(found, kept)
    if not columns:
        raise InputError("no key of the spec differs between these runs, so there is nothing to weigh")
    if len(set(values)) == 1:
        raise InputError(f"{metric} is {values[0]:.4g} in all of these runs, so no key matters")
    shares = _shares(columns, values, direction)
    total = sum(shares.values())
    if not total:
        raise InputError(f"the best runs by {metric} do not differ from the others in any key")
    return Importance(metric, direction, len(kept), {path: share / total for path, share in shares.items()})


def _shares(columns: Mapping[str, Sequence[Any]], values: Sequence[float], direction: str) -> dict[str, float]:
    import optuna

    distributions = {path: _distribution(column) for path, column in columns.items()}
    trials = []
    for at, value in enumerate(values):
        there = {path: column[at] for path, column in columns.items() if column[at] is not None}
        trials.append(
            optuna.trial.create_trial(
                params=there, distributions={path: distributions[path] for path in there}, value=value
            )
        )
    quantile = max(0.1, min(0.5, GOOD / len(values)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with _quiet():
        study = optuna.create_study(direction="maximize" if direction == "higher" else "minimize")
        study.add_trials(trials)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)


def _distribution(column: Sequence[Any]) -> BaseDistribution:
    """Numbers between the lowest and the highest, by their logarithm if they span decades; else one of the values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    there = [value for value in column if value is not None]
    if not all(map(is_number, there)):
        return CategoricalDistribution(tuple(sorted(set(there), key=str)))
    low, high = min(there), max(there)
    logarithmic = low > 0 and high / low >= FACTOR
    if all(isinstance(value, int) for value in there):
        return IntDistribution(low, high, log=logarithmic)
    return FloatDistribution(float(low), float(high), log=logarithmic)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log line for each study, and its warnings of keys that one run alone has: they weigh nothing."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
