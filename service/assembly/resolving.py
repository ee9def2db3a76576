"""Resolving many specs that differ in little: what was checked for one is not checked again for the next.

`outline` takes a millisecond on a small dataset and a second on a large one. Nothing that it checks depends on a
spec's name, on how often a run is tried, or on the optimizer's settings (which the spec checks by itself) beyond how
many vectors the optimizer keeps; and on the seed only where it matters which rows a part of the split has, and not just
how many. All other keys are compared, those that do not exist yet included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.assembly import outline
from service.datasets import Dataset
from service.spec import Spec

if TYPE_CHECKING:
    from service.weights import Weights

OWN = ("name", "optimizer", "max_attempts", "seed")  # keys of a spec that come through `outline` unchanged


class Resolver:
    """Resolves specs on one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._known: dict[str, dict[str, Any]] = {}
        self._slots: dict[str, int] = {}

    def document(self, spec: Spec, begin: Weights | None = None) -> dict[str, Any]:
        """The document of `outline(spec, dataset, begin).spec`. Raises SpecError as `outline` does."""
        given = spec.document()
        key = self._key(spec, given)
        if key not in self._known:
            self._known[key] = outline(spec, self._dataset, begin).spec.document()
        return self._known[key] | {name: given[name] for name in OWN}

    def _key(self, spec: Spec, given: dict[str, Any]) -> str:
        """All that the checks look at: equal keys, equal outcomes."""
        seed = spec.seed if self._rows_matter(spec) else None
        slots = self._slots_of(spec, repr(given["optimizer"]))
        return repr((seed, slots, [value for name, value in given.items() if name not in OWN]))

    def _slots_of(self, spec: Spec, optimizer: str) -> int:
        if optimizer not in self._slots:
            self._slots[optimizer] = spec.optimizer.build().slots
        return self._slots[optimizer]

    def _rows_matter(self, spec: Spec) -> bool:
        """Whether a check looks at which rows a part has: at their weights, groups, classes or empty cells."""
        data = spec.data
        told = (data.weights, data.split.group, spec.train.class_weights)
        return self._dataset.schema.missing or any(value is not None for value in told)
