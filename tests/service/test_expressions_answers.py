"""What expressions answer: the same on both databases, and the same as plain Python makes of the tree."""

from __future__ import annotations

from service.expressions import condition
from service.store import history
from service.store.transitions import Point


def fitting(yard, text):
    return [run.id for run in yard.ask(history.runs, where=condition(text))][::-1]


def test_the_example_of_the_reference_finds_its_run(yard):
    spec = {"optimizer": {"adam": {"learning_rate": 0.0005}}, "network": [{"dense": {"units": 8}}] * 3}
    claim = yard.claimed(tags=["other"], spec=spec)
    yard.record(claim, Point("val_accuracy", 1, 0.98, higher_is_better=True), epoch=1)
    yard.submit(tags=["base"])
    text = (
        "val_accuracy > 0.97 and (tag = 'base' or optimizer.adam.learning_rate < 0.001) "
        "and network.layers >= 3 and created > '7 days ago'"
    )
    assert fitting(yard, text) == [claim.run_id]
    assert fitting(yard, f"not ({text})") == [claim.run_id + 1]
