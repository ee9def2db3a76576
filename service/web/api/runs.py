"""Questions about runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Response

from service.client import Client
from service.errors import InputError
from service.live import listed
from service.store.records import RunRecord, jsonable
from service.web.api import models
from service.web.api.shared import LONGEST, MOST_AT_ONCE, MOST_RUNS, Limit, RunPath, Specs, Where
from service.web.heavy import Judges
from service.web.problems import answers

T = TypeVar("T")
MOST_COMPARED = 100
MOST_POINTS = 100_000
PLACE = r"^[0-9]{1,9}\.[0-9]{1,9}$"  # an attempt and a line of its log
Field = Annotated[str, Query(min_length=1, max_length=LONGEST)]


def router(client: Client, judges: Judges) -> APIRouter:
    api = APIRouter(prefix="/runs", tags=["runs"])
    _add_lists(api, client)
    _add_one(api, client)
    _add_parts(api, client)
    _add_weights(api, client, judges)
    return api


def _add_lists(api: APIRouter, client: Client) -> None:
    @api.get(
        "", operation_id="list_runs", response_model=models.RunPage | models.WholeRunPage | models.ValuePage,
        responses=answers(404),
    )  # fmt: skip
    def list_runs(
        where: Where = None,
        sort: Annotated[
            str | None,
            Query(max_length=LONGEST, description="a field, and asc or desc", examples=["best(val_loss)"]),
        ] = None,
        after: Annotated[int | None, Query(ge=0, le=MOST_RUNS, description="go on behind this run")] = None,
        limit: Limit = 20,
        columns: Annotated[
            str | None,
            Query(max_length=LONGEST, description="these fields alone", examples=["id, optimizer, best(val_loss)"]),
        ] = None,
        specs: Specs = False,
    ) -> dict[str, Any]:
        """A page of the runs that fit, the newest first. With `columns` each has only these fields."""
        if specs and columns is not None:
            raise InputError("`specs` asks for whole runs and `columns` for some fields of them: one or the other")
        found = client.runs(where, sort=sort, after=after, limit=limit + 1)
        more, found = len(found) > limit, found[:limit]
        ids = [run.id for run in found]
        rows = _rows(found, specs) if columns is None else jsonable(client.values(ids, columns))
        return {"runs": rows, "next": found[-1].id if more else None}

    @api.get("/values", operation_id="run_values", response_model=models.Values, responses=answers())
    def values(
        run: Annotated[
            list[Annotated[int, Query(ge=0, le=MOST_RUNS)]],
            Query(min_length=1, max_length=MOST_COMPARED, description="the runs' numbers", examples=[[1, 2]]),
        ],
        columns: Annotated[str, Query(max_length=LONGEST, examples=["id, optimizer, best(val_loss)"])],
    ) -> dict[str, Any]:
        """Of each of these runs the value of each of the fields; one that is not there is left out."""
        return {"runs": jsonable(client.values(run, columns))}

    @api.get("/best", operation_id="best_runs", response_model=models.Runs | models.WholeRuns, responses=answers())
    def best(metric: Field, where: Where = None, limit: Limit = 1, specs: Specs = False) -> dict[str, Any]:
        """The runs that are best by a metric at its best epoch."""
        return {"runs": _rows(client.best(metric, where, limit=limit), specs)}

    @api.get("/stats", operation_id="run_statistics", response_model=models.Groups, responses=answers())
    def stats(metric: Field, by: Field, where: Where = None, limit: Limit = 20) -> dict[str, Any]:
        """A value by group of runs: count, mean, deviation, best. `by` lists fields: optimizer, train.batch_size."""
        from service.expressions import parse_fields

        groups = client.stats(metric, by, where, limit=limit)
        return {"by": list(parse_fields(by)), "groups": [jsonable(vars(group)) for group in groups]}

    @api.get("/pareto", operation_id="pareto_front", response_model=models.Runs | models.WholeRuns, responses=answers())
    def pareto(first: Field, second: Field, where: Where = None, specs: Specs = False) -> dict[str, Any]:
        """The runs of which no other is better in one of two fields and at least as good in the other."""
        return {"runs": _rows(client.pareto(first, second, where), specs)}

    @api.get("/compare", operation_id="compare_runs", response_model=models.Comparison, responses=answers(404))
    def compare(
        run: Annotated[
            list[Annotated[int, Query(ge=0, le=MOST_RUNS)]],
            Query(min_length=1, max_length=MOST_COMPARED, description="the runs' numbers", examples=[[1, 2]]),
        ],
        metric: Annotated[str | None, Query(max_length=LONGEST, description="what to judge them by")] = None,
        curves: Annotated[bool, Query(description="with the points of the metric")] = True,
    ) -> dict[str, Any]:
        """Runs beside each other: what differs in their specs and around them, metrics and curves."""
        return client.compare(run, metric, curves=curves).document()


def _rows(runs: list[RunRecord], specs: bool) -> list[dict[str, Any]]:
    return [run.json() if specs else listed(run) for run in runs]


def _add_one(api: APIRouter, client: Client) -> None:
    @api.get("/{run:int}", operation_id="show_run", response_model=models.Run, responses=answers(404))
    def show(run: RunPath) -> dict[str, Any]:
        """A run with its spec."""
        return client.run(run).json()

    @api.get("/{run:int}/why", operation_id="why", response_model=models.Sentence, responses=answers(404))
    def why(run: RunPath) -> dict[str, str]:
        """One sentence: why the run waits, or what ended it."""
        return {"sentence": client.why(run)}

    @api.get("/{run:int}/origin", operation_id="run_origin", response_model=models.Row, responses=answers(404))
    def origin(run: RunPath) -> dict[str, Any]:
        """Who submitted the run, where, and with what; empty for runs of early versions."""
        return client.origin(run)

    @api.get(
        "/{run:int}/replays/{replay:int}", operation_id="compare_replay", response_model=models.Replay,
        responses=answers(404, 409),
    )  # fmt: skip
    def compare_replay(
        run: RunPath, replay: Annotated[int, Path(ge=0, le=MOST_RUNS, description="the replay's number")]
    ) -> dict[str, Any]:
        """Whether a run and its replay ended with the same weights, else where they first differ."""
        return client.compare_replay(run, replay).json()

    @api.get("/{run:int}/layers", operation_id="run_layers", response_model=models.Layers, responses=answers(404, 409))
    def layers(run: RunPath) -> dict[str, Any]:
        """The network of a run as a table of its layers."""
        return asdict(client.layers(run))


def _add_parts(api: APIRouter, client: Client) -> None:
    def of(run: int, question: Callable[[int], T]) -> T:
        """The answer to a question that does not mind whether there is the run."""
        client.run(run)
        return question(run)

    @api.get("/{run:int}/history", operation_id="run_history", response_model=models.History, responses=answers(404))
    def history(run: RunPath, after_epoch: Annotated[int, Query(ge=0, le=MOST_RUNS)] = 0) -> dict[str, Any]:
        """The metrics of each epoch, or of those after one."""
        return {"history": jsonable(client.history(run, after_epoch))}

    @api.get("/{run:int}/steps", operation_id="run_steps", response_model=models.Steps, responses=answers(404))
    def steps(
        run: RunPath,
        name: Annotated[list[str] | None, Query(max_length=MOST_AT_ONCE, description="only these metrics")] = None,
        points: Annotated[int, Query(ge=2, le=MOST_POINTS, description="of each metric, at most")] = 1000,
    ) -> dict[str, Any]:
        """Points of steps, where the spec asks for them; long curves are thinned, their ends and spikes stay."""
        return {"steps": jsonable(client.steps(run, name, points))}

    @api.get("/{run:int}/attempts", operation_id="run_attempts", response_model=models.Attempts, responses=answers(404))
    def attempts(run: RunPath) -> dict[str, Any]:
        """Each try at the run by a worker, and how it ended."""
        return {"attempts": [attempt.json() for attempt in of(run, client.attempts)]}

    @api.get("/{run:int}/logs", operation_id="run_logs", response_model=models.LogPage, responses=answers(404))
    def logs(
        run: RunPath,
        attempt: Annotated[int | None, Query(ge=1, le=MOST_RUNS, description="of this attempt alone")] = None,
        after: Annotated[
            str | None,
            Query(
                pattern=PLACE,
                description="go on behind this attempt and number",
                examples=["1.20"],
            ),
        ] = None,
        limit: Limit = 1000,
    ) -> dict[str, Any]:
        """What the run's attempts had to tell, in order. Ask again with `next` for more, also while it trains."""
        number_of_attempt, _, number = (after or "0.0").partition(".")
        place = int(number_of_attempt), int(number)
        lines = client.logs(run, attempt=attempt, after=place, limit=limit)
        last = f"{lines[-1].attempt}.{lines[-1].number}" if lines else after
        return {"lines": [line.json() for line in lines], "next": last}

    @api.get("/{run:int}/edits", operation_id="run_edits", response_model=models.Edits, responses=answers(404))
    def edits(run: RunPath) -> dict[str, Any]:
        """What people have changed of the run afterwards."""
        return {"edits": [edit.json() for edit in of(run, client.edits)]}


def _add_weights(api: APIRouter, client: Client, judges: Judges) -> None:
    unready = answers(404, 409)

    @api.get(
        "/{run:int}/evaluation", operation_id="evaluate_run", response_model=models.Evaluation,
        responses=unready,
    )  # fmt: skip
    def evaluate(
        run: RunPath,
        split: Annotated[
            str | None, Query(max_length=LONGEST, description="train, validation or test", examples=["test"])
        ] = None,
        last: Annotated[bool, Query(description="the last weights instead of the best")] = False,
    ) -> dict[str, Any]:
        """Every metric, the scores of each class and the confusion matrix on a split of the run's data."""
        return judges.evaluate(run, split, last).document()

    @api.get("/{run:int}/spreads", operation_id="run_spreads", response_model=models.Spreads, responses=unready)
    def spreads(run: RunPath) -> dict[str, Any]:
        """How each array of the run's best weights is spread."""
        return {"weights": [jsonable(asdict(spread)) for spread in client.spreads(run)]}

    @api.get("/{run:int}/gradients", operation_id="run_gradients", response_model=models.Gradients, responses=unready)
    def gradients(run: RunPath) -> Any:
        """How the gradients of the run's loss are spread, at its best weights and on rows of its training split."""
        return jsonable(asdict(judges.gradients(run)))

    @api.get("/{run:int}/inside", operation_id="run_inside", response_model=models.Inside, responses=unready)
    def inside(run: RunPath) -> dict[str, Any]:
        """All there is to see in the run's best weights: how they and their gradients are spread, what the first layer
        looks for in images, the images that the network is most firmly wrong about, and how good it is."""
        return judges.inside(run).document()

    @api.get(
        "/{run:int}/weights", operation_id="download_weights", response_class=Response,
        responses=answers(404, 409) | {200: {"description": "A safetensors file.", "content": BINARY}},
    )  # fmt: skip
    def weights(run: RunPath, last: Annotated[bool, Query(description="instead of the best")] = False) -> Response:
        """The run's best weights, or the last ones, as a safetensors file."""
        data = client.weights_file(run, last=last)
        name = f"run-{run}{'-last' if last else ''}.safetensors"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type="application/octet-stream", headers=headers)


BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
