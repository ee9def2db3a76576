"""The one metric that a list and a sentence show of a run."""

from datetime import UTC, datetime

import pytest

from service.display import headline
from service.store.records import MetricSummary, RunRecord
from service.store.tables import State
from service.wording import nearest


def run(metrics, listed=None, monitor=None):
    stopping = {"monitor": monitor} if monitor else None
    return RunRecord(
        id=1, name="r", state=State.COMPLETED, queue="default", priority=0, tags=(), attempt=1, epoch=3, epochs=3,
        created=datetime.now(UTC), started=None, finished=None, worker="w", error=None,
        spec={"metrics": listed, "train": {"early_stopping": stopping}}, dataset_sha256="d", weights_sha256=None,
        metrics={name: MetricSummary(last=0.5, best=0.5, best_epoch=1) for name in metrics},
    )  # fmt: skip


MEASURED = [f"{part}{name}" for part in ("", "val_", "test_") for name in ("loss", "f1", "r2")] + ["val_roc_auc"]


@pytest.mark.parametrize(
    ("measured", "listed", "monitor", "shown"),
    [
        (MEASURED, ["f1", "r2"], None, "test_f1"),
        (MEASURED, ["r2", "f1"], "val_loss", "test_r2"),
        (MEASURED, ["f1", "roc_auc"], "val_roc_auc", "val_roc_auc"),
        (["loss", "val_loss", "accuracy", "val_accuracy"], None, None, "val_accuracy"),  # a run of version 0.1
        (["loss", "mae"], ["mae"], None, "mae"),
        (["loss", "val_loss"], [], None, "val_loss"),
        ([], ["f1"], None, "-"),
    ],
)
def test_a_run_is_shown_by_what_it_was_to_be_judged_by(measured, listed, monitor, shown):
    assert headline(run(measured, listed, monitor)).split()[0] == shown


@pytest.mark.parametrize(("word", "meant"), [("val", "validation"), ("acc", "accuracy"), ("t", None), ("te", "test")])
def test_the_beginning_of_a_single_name_means_that_name(word, meant):
    assert nearest(word, ["validation", "accuracy", "test", "train"]) == meant
