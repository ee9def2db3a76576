"""What the API sends: the records of `service.store.records`, described. The names are those of `--json`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from service.store.tables import Level, Outcome, State

Time = Annotated[
    str, WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-25T08:30:00.000Z"]})
]
Figure = float | None  # null for what is no number, as a loss that diverged
Row = dict[str, JsonValue]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_enum_values=True)


class MetricSummary(Model):
    last: Figure = Field(description="the value at the last epoch")
    best: Figure = Field(description="the best value of all epochs")
    best_epoch: int


class RunInList(Model):
    """A run, without its spec."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["digits"])
    state: State
    queue: str
    priority: int = Field(description="higher goes first")
    tags: list[str]
    attempt: int = Field(description="how often a worker has claimed it")
    epoch: int = Field(description="how many epochs are done")
    epochs: int = Field(description="how many there shall be")
    created: Time
    started: Time | None
    finished: Time | None
    worker: str | None = Field(description="who trains it, or did last")
    error: str | None = Field(description="why it failed")
    dataset_sha256: str
    weights_sha256: str | None = Field(description="over the parameters' bytes: equal networks have equal hashes")
    metrics: dict[str, MetricSummary]
    wish: str | None = Field(description="what its worker was asked for and has still to do")
    note: str | None
    cloned_from: int | None
    fine_tuned_from: int | None
    replay_of: int | None
    imported_from: str | None


class Run(RunInList):
    """A run with its spec as it was resolved."""

    spec: dict[str, JsonValue]


class RunPage(Model):
    runs: list[RunInList]
    next: int | None = Field(description="what `after` takes to get the next page; null on the last one")


class WholeRunPage(Model):
    """The page when `specs` are asked for."""

    runs: list[Run]
    next: int | None


class ValuePage(Model):
    """The page when `columns` are asked for: of each run the value of each field."""

    runs: list[Row] = Field(examples=[[{"id": 1, "best(val_accuracy)": 0.98}]])
    next: int | None


class Values(Model):
    """Of each run the value of each field."""

    runs: list[Row] = Field(examples=[[{"id": 1, "best(val_accuracy)": 0.98}]])


class Runs(Model):
    runs: list[RunInList]


class WholeRuns(Model):
    """The runs when `specs` are asked for."""

    runs: list[Run]


class Attempt(Model):
    number: int
    worker: str
    pid: int
    started: Time
    finished: Time | None
    outcome: Outcome | None = Field(description="null while it trains")
    reason: str | None
    exit_signal: str | None = Field(description="what ended its process, such as SIGKILL")
    first_epoch: int | None
    epoch: int | None
    samples: int
    seconds: float = Field(description="of training, not of waiting")
    environment: dict[str, Any] = Field(description="machine, libraries and threads it trained with")


class Attempts(Model):
    attempts: list[Attempt]


class LogLine(Model):
    attempt: int
    number: int = Field(description="in its attempt, from 1; where numbers are missing, lines have been left out")
    at: Time
    level: Level
    text: str


class LogPage(Model):
    lines: list[LogLine]
    next: str | None = Field(description="what `after` takes to go on; null where there is no line yet")


class Edit(Model):
    at: Time
    who: str
    what: str = Field(description="name, note, tag, a kind of parent, weights or checkpoint")
    before: str | None
    after: str | None


class Edits(Model):
    edits: list[Edit]


class History(Model):
    """One object an epoch: `epoch` and every metric measured at it."""

    history: list[dict[str, int | Figure]] = Field(examples=[[{"epoch": 1, "loss": 0.61, "val_loss": 0.4}]])


class StepPoint(Model):
    step: int
    name: str
    value: Figure


class Steps(Model):
    steps: list[StepPoint]


class Sentence(Model):
    sentence: str = Field(examples=["run 5 waits: no worker serves its queue 'night'"])


class Group(Model):
    """The runs that are alike in the fields asked for, and how a value is spread over them."""

    key: list[JsonValue]
    count: int
    mean: Figure
    deviation: Figure = Field(description="of a sample; null for a single run")
    best: int | Figure
    run_id: int = Field(description="the oldest run that has the best value")


class Groups(Model):
    by: list[str]
    groups: list[Group]


class RunName(Model):
    id: int
    name: str
    state: State


class ComparedMetric(Model):
    last: list[Figure]
    best: list[Figure]
    best_epoch: list[int | None]
    best_run: int | None


class Curve(Model):
    epochs: list[int]
    values: list[Figure]


class Comparison(Model):
    """Each list has an entry for each of `runs`, in their order."""

    runs: list[RunName]
    spec: dict[str, list[JsonValue]] = Field(description="the keys of the specs whose values differ")
    facts: dict[str, list[JsonValue]] = Field(description="what else differs")
    metric: str | None = Field(description="what they are judged by")
    metrics: dict[str, ComparedMetric]
    curves: dict[str, list[Curve]]


class ClassScores(Model):
    model_config = ConfigDict(extra="allow")

    name: str


class DifferentEpoch(Model):
    epoch: int
    metrics: dict[str, tuple[Figure, Figure]] = Field(description="what the run has there, and its replay")


class Replay(Model):
    """A run, its replay, and whether they ended with the same bytes."""

    run: int
    replay: int
    state: State = Field(description="of the replay")
    same: bool
    weights_sha256: tuple[str | None, str | None]
    difference: DifferentEpoch | None = Field(description="the first epoch at which they do not say the same")
    step: int | None = Field(description="the first that differs, where both have kept steps")
    environment: list[str] = Field(description="what of the machines may be why")


class Layer(Model):
    number: int
    kind: str
    settings: str
    output_shape: list[int] = Field(description="of one sample")
    parameters: int


class Layers(Model):
    input_shape: list[int] = Field(description="of one sample")
    layers: list[Layer]
    parameters: int


class Spread(Model):
    """How the finite values of an array lie between `low` and `high`, the smallest and the largest, in equal bins;
    in a single one if they are all the same."""

    name: str = Field(examples=["1.dense.weight"])
    shape: list[int]
    low: Figure
    high: Figure
    mean: Figure
    deviation: Figure
    counts: list[int] = Field(description="of the bins")
    zeros: int = Field(description="how many are exactly 0")
    strange: int = Field(description="how many are no finite number")


class Spreads(Model):
    weights: list[Spread]


class Gradients(Model):
    """Of the mean loss of some training rows, by each array that is trained."""

    spreads: list[Spread]
    rows: int = Field(description="how many they are")
    of: int = Field(description="how many training rows there are")
    still: list[str] = Field(description="layers that no gradient reaches, although they are to be trained")
    frozen: list[str] = Field(description="layers that are not to be trained")


class Evaluation(Model):
    split: str
    rows: int
    metrics: dict[str, Figure]
    classes: list[ClassScores] | None = Field(None, description="scores of each class")
    confusion: list[list[int]] | None = Field(
        None, description="a row for each true class, a column for each predicted one"
    )


class Mistake(Model):
    row: int = Field(description="of the dataset")
    image: str = Field(description="a PNG as a data URL")
    true: str = Field(description="its class")
    told: str = Field(description="the class that it was taken for")


class Inside(Model):
    spreads: list[Spread] = Field(description="of the weights")
    gradients: Gradients
    filters: list[str] = Field(description="PNGs as data URLs, the first layer's, grey for 0; without images none")
    units: int = Field(description="of the first layer, of which the filters may be some")
    mistakes: list[Mistake] = Field(description="the most firmly wrong ones on the split that is evaluated")
    evaluation: Evaluation | None = Field(description="on rows that were kept back; null where there are none")


class Worker(Model):
    name: str
    host: str
    pid: int
    slots: int
    busy: int
    queues: list[str]
    state: str = Field(description="ready, draining, gone or stopped")
    last_seen: Time
    silent_seconds: float
    metrics_url: str | None
    set_aside: str | None = Field(description="the evidence for which it gets no more runs")


class Workers(Model):
    workers: list[Worker]


class Pace(Model):
    """How fast a run trains; null before the first epoch of its attempt."""

    samples_per_second: Figure
    seconds_left: Figure


class Paces(Model):
    paces: dict[str, Pace] = Field(description="by the number of each run that trains")


class Glance(Model):
    """Of long lists the first: 200 runs that train, 20 that rest, 10 of each queue, 5 that failed, 30 that ended."""

    moment: Time
    workers: list[Worker]
    queues: dict[str, tuple[int, float]] = Field(
        description="how many runs wait, and for how many seconds the oldest has"
    )
    running_number: int
    paused_number: int
    running: list[Run]
    paces: dict[str, Pace] = Field(description="by the number of each of the runs in `running`")
    paused: list[Run] = Field(description="the newest first")
    waiting: list[Run] = Field(description="those that are next in their queues")
    failed: list[Run] = Field(description="the newest first")
    ended: list[Run] = Field(description="however they did, the last first")


class Ended(Model):
    counts: dict[State, int] = Field(description="how many runs have ended since then, by the state they are in now")


class UndeliveredNotices(Model):
    subscriber: str
    waiting: int
    given_up: int = Field(description="within the last week")
    last_error: str | None


class Undelivered(Model):
    undelivered: list[UndeliveredNotices]


class Delivery(Model):
    """What came of sending one notification."""

    good: bool
    sentence: str


class Dataset(Model):
    sha256: str
    source: str = Field(description="what the first spec that used it called it")
    created: Time
    bytes: int
    runs: int = Field(description="how many runs use it")
    about: dict[str, Any] = Field(description="task, rows, columns, classes")


class Datasets(Model):
    built_in: list[str] = Field(description="names that any spec may use")
    datasets: list[Dataset]


class Queue(Model):
    waiting: int
    oldest_seconds: float = Field(description="for how long the oldest of its runs has waited")
    served: bool = Field(description="whether a live worker takes runs from it")


class Queues(Model):
    queues: dict[str, Queue]
    counts: dict[str, int] = Field(description="how many runs are in each state")


class Space(Model):
    """Bytes, but for `runs`."""

    database: int
    metrics: int
    logs: int
    weights: int
    checkpoints: int
    datasets: int
    rest: int
    free: int
    runs: int
    prunable: int


class Status(Queues):
    version: str
    database: str
    broker: str
    workers: list[Worker]
