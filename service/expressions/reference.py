"""The reference of the language in Markdown. Its examples are parsed by a test, and it names every field."""

from __future__ import annotations

from service.expressions.fields import COLUMNS, is_metric
from service.expressions.keys import known_keys
from service.expressions.parser import DEEPEST
from service.expressions.tokens import LONGEST
from service.wording import listed

# Of each field its meaning and an example; what follows is for the spec and the metrics.
FIELDS = {
    "id": ("the run's number", "id >= 100"),
    "name": ("what the run is called", "name = 'digits'"),
    "state": ("where it stands", "state in ('queued', 'running')"),
    "tag": ("its tags: whether one of them fits; with `!=`, `not in`, `not like`: whether none does", "tag = 'base'"),
    "queue": ("the queue it was submitted to", "queue != 'default'"),
    "priority": ("higher goes first", "priority > 0"),
    "worker": ("who trains it, or did last", "worker like 'lab-%'"),
    "epoch": ("how many epochs are done", "epoch = 0"),
    "epochs": ("how many there shall be", "epochs > 1000"),
    "attempts": ("how often a worker has claimed it", "attempts > 1"),
    "note": ("what somebody noted on it", "note like '%leak%'"),
    "cloned_from": ("the run whose spec was submitted once more", "cloned_from = 12"),
    "fine_tuned_from": ("the run whose weights it began with", "fine_tuned_from = 12"),
    "replay_of": ("the run that it trained once more, to compare the bytes", "replay_of > 0"),
    "imported_from": ("the host it came from, and its number there", "imported_from like 'lab-2 %'"),
    "created": ("when it was submitted", "created > '7 days ago'"),
    "started": ("when it was claimed for the first time", "started >= '2026-11-01 12:30'"),
    "finished": ("when it ended", "finished < 'yesterday'"),
    "duration": ("from `started` to `finished`, or until now", "duration > '2 h'"),
    "error": ("why it failed", "error like '%memory%'"),
    "dataset": ("the SHA-256 of its data", "dataset like 'ab12%'"),
    "weights": ("the SHA-256 of its best weights", "weights like '7ebe%'"),
}
METRICS = (
    ("its name, `last(…)`", "the last value", "val_accuracy > 0.97"),
    ("`best(…)`", "the best value", "best(val_loss) < 0.1"),
    ("`at(…, N)`", "the value at an epoch", "at(loss, 10) < 0.5"),
)
KEYS = (
    ("a path", "the value there", "optimizer.adam.learning_rate < 0.001"),
    ("a part", "its name", "optimizer = 'adam'"),
    ("an item of a list", "by its number from 0, `network[0]` or `network.0`", "network.0.dense.units >= 64"),
    ("a section, a list", "whether it is there", "train.early_stopping is null"),
    ("`network.layers`", "how many layers there are", "network.layers >= 3"),
)
OPERATORS = (
    ("`=`, `==`", "equal", "train.batch_size = 32"),
    ("`!=`, `<>`", "not equal", "optimizer != 'sgd'"),
    ("`<`, `<=`, `>`, `>=`", "smaller, larger, earlier, later; texts by their characters' numbers", "loss <= 1e-3"),
    ("`in`, `not in`", "one of a list, none of it", "seed in (1, 2, 3)"),
    (
        "`like`, `not like`",
        "a pattern: `%` is any characters, `_` is one, `\\%` is a percent sign; capital and small letters differ",
        "tag like 'exp%'",
    ),
    (
        "`is null`, `is not null`",
        "nothing is there, something is; so are `= null` and `!= null`",
        "worker is null",
    ),
    ("`not`", "the opposite", "not (tag = 'base')"),
    ("`and`", "both; binds before `or`", "state = 'completed' and duration < 60"),
    ("`or`", "one or both", "test_accuracy > 0.9 or test_f1 > 0.9"),
    ("`( )`", "what belongs together", "(tag = 'a' or tag = 'b') and seed = 1"),
)
VALUES = (
    ("a number", "`5`, `-0.5`, `1e-3`", "train.l2 > 1e-4"),
    ("a text", "in `'` or `\"`, which is doubled inside: `'it''s'`", "name = 'it''s'"),
    ("true or false", "as they are", "data.split.stratify = true"),
    (
        "a time",
        "`'2026-11-01'`, `'2026-11-01 12:30'`, `'2026-11-01T12:30Z'`, `'2 h ago'`, `'today'`, `'yesterday'`, `'now'`; "
        "days begin at midnight, and what has no zone is of the zone of the machine that reads the expression",
        "created > '2 h ago'",
    ),
    ("a duration", "seconds, or `'90 s'`, `'5 min'`, `'2 h 30 min'`, `'1 day'`, `'2 weeks'`", "duration < '5 min'"),
)


_HEAD = (
    "What `--where` and `client.runs(where=…)` take:",
    "",
    "```sh",
    "trainyard runs list --where \"state = 'failed' and tag like 'exp-%'\" --limit 5",
    "```",
    "",
    "A comparison begins with a field and ends with a value. A text stands in quotes; one of a single word may do",
    "without. Words such as `and` may be written in capital letters,",
    "names of fields may not. What is misspelt is told, with its place and the nearest name, and no run is listed.",
    "",
    "**What is missing satisfies no comparison.** A run without a loss fits neither `loss < 1` nor `loss != 1`, and",
    "`not (…)` is the opposite: it fits `not (loss < 1)`. A metric that is not a number (NaN) is missing, too;",
    "so are a `null` in the spec, and what is of another kind there than the value it is compared with.",
)
_METRICS = (
    "`loss` and every [metric](spec.md#metrics), with `val_` on the validation rows, with `test_` on the test rows; "
    "`top_3` with any number."
)
_KEYS = (
    "Every key of the [spec](spec.md), by its path. `name` is that of the run and `loss` the metric: for the loss that "
    "is minimised, write `loss.mse is not null`."
)
_LIMITS = (
    f"An expression has at most {LONGEST:,} characters, and {DEEPEST} brackets and `not` inside each other. Times are "
    "compared with `<`, `<=`, `>` and `>=` alone: none is met to the microsecond."
)


def reference(note: str) -> str:
    """The whole document; `note` says below its title how it is made."""
    lines = ["# Expressions", "", note, "", *_HEAD]
    for title, sentence, head, rows in (
        ("Fields of a run", "", "field", [(f"`{name}`", *rest) for name, rest in FIELDS.items()]),
        ("Metrics", _METRICS, "metric", METRICS),
        ("Keys of the spec", _KEYS, "key", KEYS),
        ("Operators", "", "operator", OPERATORS),
        ("Values", _LIMITS, "value", VALUES),
    ):
        lines += ["", f"## {title}", "", *([sentence, ""] if sentence else [])]
        lines += [f"| {head} | meaning | example |", "| --- | --- | --- |"]
        lines += [f"| {name} | {meaning} | `{example}` |" for name, meaning, example in rows]
        if head == "key":
            lines += ["", "| compared with | keys |", "| --- | --- |", *_key_rows()]
    return "\n".join(lines) + "\n"


def _key_rows() -> list[str]:
    by_kind: dict[str, list[str]] = {}
    for key in known_keys():
        if str(key) not in COLUMNS and not is_metric(str(key)):
            by_kind.setdefault(listed(sorted(key.kinds), "or"), []).append(f"`{key}`")
    return [f"| {kind} | {', '.join(keys)} |" for kind, keys in by_kind.items()]


def examples() -> list[str]:
    """Every expression that stands in one of the tables."""
    return [row[-1] for rows in (FIELDS.values(), METRICS, KEYS, OPERATORS, VALUES) for row in rows]
