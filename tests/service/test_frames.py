"""Runs and metrics as data frames: a row for each, columns of one type whatever stands in them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from service import Client, InputError, Settings
from service.store.points import Point
from service.store.tables import Outcome
from service.store.transitions import NoSuchRun
from tests.service.conftest import Yard

ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
NAN = float("nan")
CREATED = datetime(2026, 11, 1, 12, 30, 15, 250_000, UTC)


@pytest.fixture
def client(yard: Yard) -> Client:
    """1 completed in 90 s with metrics of three epochs, 2 failed after a NaN, 3 waiting in another queue."""
    client = Client(Settings(database_url=yard.database.url, broker_url=""))
    client.__dict__["database"] = yard.database
    adam = {"optimizer": {"adam": {"learning_rate": 0.01, "beta1": 0.9}}, "seed": 7}
    data = {"data": {"split": {"stratify": True}}, "network": [{"dense": {"units": 16}}, {"dropout": {"rate": 0.5}}]}
    first = yard.claimed(name="first", spec=adam | data, tags=["b", "a"])
    losses = [Point("loss", epoch, loss, False) for epoch, loss in enumerate((0.5, 0.125, 0.25), 1)]
    yard.record(first, *losses, Point("val_accuracy", 3, 0.75, True), epoch=3)
    yard.finish(first)
    yard.set(1, created=CREATED, started=CREATED, finished=CREATED + timedelta(seconds=90))
    second = yard.claimed(name="second", spec={"optimizer": {"sgd": {"learning_rate": 1.0}}, "train": {"epochs": 9}})
    yard.record(second, Point("loss", 1, NAN, False), epoch=1)
    yard.finish(second, Outcome.FAILED, error="diverged")
    yard.submit(name="third", queue="night")
    return client


# Runs


def test_a_frame_has_the_usual_columns_and_every_metric_with_their_types(client):
    frame = client.frame()
    assert dict(frame.schema) == {
        "id": pl.Int64, "name": pl.String, "state": pl.String, "queue": pl.String, "tags": pl.List(pl.String),
        "epoch": pl.Int64, "created": pl.Datetime("us", "UTC"), "started": pl.Datetime("us", "UTC"),
        "finished": pl.Datetime("us", "UTC"), "duration": pl.Duration("us"), "loss": pl.Float64,
        "best(loss)": pl.Float64, "val_accuracy": pl.Float64, "best(val_accuracy)": pl.Float64,
    }  # fmt: skip
    assert frame["id"].to_list() == [3, 2, 1]
    assert frame.row(2, named=True) == {
        "id": 1, "name": "first", "state": "completed", "queue": "default", "tags": ["a", "b"], "epoch": 3,
        "created": CREATED, "started": CREATED, "finished": CREATED + timedelta(seconds=90),
        "duration": timedelta(seconds=90), "loss": 0.25, "best(loss)": 0.125, "val_accuracy": 0.75,
        "best(val_accuracy)": 0.75,
    }  # fmt: skip


def test_what_a_run_does_not_have_is_null_and_so_is_nan(client):
    frame = client.frame()
    waiting, failed = frame.row(0, named=True), frame.row(1, named=True)
    assert (waiting["tags"], waiting["started"], waiting["duration"], waiting["loss"]) == ([], None, None, None)
    assert (failed["state"], failed["loss"], failed["best(loss)"], failed["val_accuracy"]) == ("failed", *[None] * 3)


def test_columns_are_fields_of_expressions_whole_numbers_told_apart_by_the_schema_of_specs(client):
    columns = [
        "id", "optimizer", "optimizer.adam.learning_rate", "seed", "train.epochs", "network[0].dense.units",
        "network.layers", "data.split.stratify", "at(loss, 2)", "tags", "error, attempts",
    ]  # fmt: skip
    frame = client.frame("id < 3", columns=columns, sort="id")
    assert frame.columns == [*columns[:-1], "error", "attempts"]
    assert frame.dtypes == [
        pl.Int64, pl.String, pl.Float64, pl.Int64, pl.Int64, pl.Int64, pl.Int64, pl.Boolean, pl.Float64,
        pl.List(pl.String), pl.String, pl.Int64,
    ]  # fmt: skip
    assert frame.rows() == [
        (1, "adam", 0.01, 7, None, 16, 2, True, 0.125, ["a", "b"], None, 1),
        (2, "sgd", None, None, 9, None, None, None, None, [], "diverged", 1),
    ]


@ONE
def test_a_single_column_or_metric_may_come_without_a_list(client):
    assert client.frame(columns="id, best(loss)").columns == ["id", "best(loss)"]
    assert client.frame(columns="tags").columns == ["tags"]
    assert client.metrics_frame([1], "loss").columns == ["run", "epoch", "loss"]
    assert client.metrics_frame([1], ["loss", "loss"]).columns == ["run", "epoch", "loss"]


def test_a_frame_is_filtered_sorted_and_cut_as_lists_are(client):
    def names(*arguments, **named):
        return client.frame(*arguments, columns=["name"], **named)["name"].to_list()

    assert names("queue = 'night' or tag = 'a'") == ["third", "first"]
    assert names(sort="best(loss)") == ["first", "third", "second"]
    assert names(sort="name", limit=2) == ["first", "second"]


@ONE
@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"where": "los < 1"}, "did you mean 'loss'"),
        ({"sort": "best(val_los)"}, "there is no metric 'val_los'"),
        ({"columns": ["id", "optimizr"]}, "did you mean 'optimizer'"),
        ({"columns": ["optimizer.adam"]}, "no single value"),
        ({"library": "dask"}, "frames are made for polars or pandas, not for 'dask'"),
    ],
    ids=str,
)
def test_a_frame_that_cannot_be_made_is_told(client, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        client.frame(**asked)


@ONE
def test_a_frame_without_runs_has_its_columns(client):
    frame = client.frame("id > 3")
    assert frame.height == 0
    assert frame.schema["created"] == pl.Datetime("us", "UTC")
    assert client.frame("id > 3", columns=["best(loss)"]).schema == {"best(loss)": pl.Float64}


# Metrics


def test_metrics_come_in_a_row_for_each_epoch_in_the_order_of_the_runs(client):
    frame = client.metrics_frame([2, 1])
    assert dict(frame.schema) == {
        "run": pl.Int64, "epoch": pl.Int64, "loss": pl.Float64, "val_accuracy": pl.Float64,
    }  # fmt: skip
    assert frame.rows() == [(2, 1, None, None), (1, 1, 0.5, None), (1, 2, 0.125, None), (1, 3, 0.25, 0.75)]
    assert client.metrics_frame("tag = 'a' or id > 2").rows() == frame.rows()[1:]


def test_metrics_may_be_named_and_one_that_nobody_has_is_null(client):
    frame = client.metrics_frame("id > 0", ["val_loss", "loss"])
    assert frame.columns == ["run", "epoch", "val_loss", "loss"]
    assert frame["loss"].to_list() == [0.5, 0.125, 0.25, None]
    assert (frame["val_loss"].dtype, frame["val_loss"].null_count()) == (pl.Float64, 4)
    assert client.metrics_frame([3]).columns == ["run", "epoch"]
    assert client.metrics_frame("id > 3", ["loss"]).schema == {"run": pl.Int64, "epoch": pl.Int64, "loss": pl.Float64}


@ONE
def test_metrics_of_what_is_not_there_are_told(client):
    with pytest.raises(InputError, match="there is no metric 'vall_loss'; did you mean 'val_loss'"):
        client.metrics_frame([1], ["vall_loss"])
    with pytest.raises(NoSuchRun, match="9"):
        client.metrics_frame([1, 9])


# Pandas


@ONE
def test_pandas_gets_the_same_with_types_that_know_null(client):
    pandas = pytest.importorskip("pandas")
    ours, theirs = client.frame(sort="id"), client.frame(sort="id", library="pandas")
    assert isinstance(theirs, pandas.DataFrame)
    assert list(theirs.columns) == ours.columns
    kinds = {name: str(theirs[name].dtype) for name in ("id", "name", "created", "duration", "loss")}
    assert kinds == {
        "id": "Int64", "name": "string", "created": "datetime64[us, UTC]", "duration": "timedelta64[us]",
        "loss": "Float64",
    }  # fmt: skip
    assert theirs["created"][0] == pandas.Timestamp(CREATED)
    assert theirs["duration"][0] == pandas.Timedelta(seconds=90)
    assert theirs["duration"].isna().tolist() == [False, False, True]
    assert theirs["tags"][0] == ["a", "b"]
    assert theirs["best(loss)"].isna().tolist() == [False, True, True]
    curves = client.metrics_frame([1], ["loss"], library="pandas")
    assert curves["loss"].tolist() == [0.5, 0.125, 0.25]
    assert client.frame("id > 3", library="pandas").shape == (0, 10)


@ONE
def test_where_pandas_is_not_installed_it_is_told_before_anything_is_read(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pandas is not installed; `pip install pandas`, or take the frame of polars"):
        client.frame(library="pandas")
