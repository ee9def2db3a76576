"""Write the Grafana boards, boards/*.json: `make boards`; with `--check`, say which are stale.

The figures are explained in docs/reference/metrics.md, the alerts that share their limits in docs/how-to/alerts.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from panels import Board, Choice, Curves, Number

BOARDS = Path(__file__).resolve().parent / "boards"
LONG_WAIT = {None: "green", 600: "orange", 3600: "red"}  # seconds; the last as in alerts.yml
NONE_IS_GOOD = {None: "green", 1: "orange"}
RATE = "$__rate_interval"
BY_WORKER = 'job="worker"'
ONE = 'job="worker", worker="$worker"'
QUEUE = 'queue=~"$queue"'


def fleet() -> Board:
    services = {
        "yard": 'min(up{job="yard"})',
        "database": "min(trainyard_database_up)",
        "broker": "min(trainyard_broker_up)",
    }
    up = {"limits": {None: "red", 1: "green"}, "words": {0: "down", 1: "up"}}
    slots = "sum(trainyard_pool_slots)"
    return Board("fleet", "fleet", "Who trains, what waits, whether all is well.", [
        [
            Number("Services", "Whether the page, the database and the broker answer.", services, width=7, **up),
            Number("Workers ready", "Workers that take runs.", {"": 'sum(trainyard_workers{state="ready"})'},
                   limits={None: "red", 1: "green"}, width=3),
            Number("Slots busy", "Share of all slots that train.",
                   {"": f'sum(trainyard_pool_slots{{state="busy"}}) / {slots}'}, unit="percentunit", width=3),
            Number("Runs training", "Runs that hold a slot.", {"": 'sum(trainyard_runs{state="running"})'}, width=3),
            Number("Runs waiting", "Runs in all queues.", {"": "sum(trainyard_queue_depth)"}, width=3),
            Number("Longest wait", "How long the run that has waited longest has waited.",
                   {"": "max(trainyard_queue_oldest_seconds)"}, unit="s", limits=LONG_WAIT, width=5),
        ],
        [
            Curves("Slots", "Slots of all live workers, by use.",
                   {"{{state}}": "sum by (state) (trainyard_pool_slots)"}, stacked=True),
            Curves("Workers", "Gone are those that went silent without saying goodbye.",
                   {"{{state}}": 'sum by (state) (trainyard_workers{state!="stopped"})'}),
        ],
        [
            Curves("Busy slots, by worker", "Runs that each worker trains.",
                   {"{{worker}}": 'sum by (worker) (trainyard_worker_slots{state="busy"})'}, stacked=True),
            Curves("Attempts that ended", "By outcome; lost and interrupted ones go on elsewhere.",
                   {"{{outcome}}": f"sum by (outcome) (increase(trainyard_attempts_ended_total[{RATE}]))"}),
        ],
        [
            Number("Workers gone", "Within the last hour.", {"": "sum(trainyard_worker_gone) or vector(0)"},
                   limits=NONE_IS_GOOD),
            Number("Workers set aside", "They lost what others completed, and get no runs.",
                   {"": "sum(trainyard_workers_set_aside)"}, limits=NONE_IS_GOOD),
            Number("Leases run out", "Runs whose worker fell silent and that nobody has taken back yet.",
                   {"": "sum(trainyard_leases_expired)"}, limits=NONE_IS_GOOD),
            Number("Runs completed", "In the history.", {"": 'sum(trainyard_runs{state="completed"})'}),
            Number("Runs failed", "In the history.", {"": 'sum(trainyard_runs{state="failed"})'}),
            Number("Datasets", "In the database.", {"": "sum(trainyard_datasets)"}),
        ],
        [
            Curves("Database", "What it takes on its disk, by what it is for.",
                   {"{{part}}": "sum by (part) (trainyard_database_bytes)"}, unit="bytes", stacked=True),
            Curves("Room on disks", "Share that is free, of the yard's and of each worker's.",
                   {"{{job}} {{worker}} {{place}}":
                    "min by (job, worker, place) (trainyard_disk_free_bytes / trainyard_disk_bytes)"},
                   unit="percentunit", limits={None: "red", 0.1: "green"}),
        ],
    ])  # fmt: skip


def queues() -> Board:
    return Board("queues", "queues", "What waits, for how long, and for whom.", [
        [
            Number("Waiting", "Runs in the chosen queues.", {"": f"sum(trainyard_queue_depth{{{QUEUE}}})"}, width=6),
            Number("Training", "Runs of the chosen queues.", {"": f"sum(trainyard_queue_running{{{QUEUE}}})"}, width=6),
            Number("Longest wait", "Of a run that has waited longest.",
                   {"": f"max(trainyard_queue_oldest_seconds{{{QUEUE}}})"}, unit="s", limits=LONG_WAIT, width=6),
            Number("Queues without a slot", "They have runs that wait, and no worker that takes them.",
                   {"": f"count((trainyard_queue_depth{{{QUEUE}}} > 0) and (trainyard_queue_slots == 0)) or vector(0)"},
                   limits={None: "green", 1: "red"}, width=6),
        ],
        [
            Curves("Waiting, by queue", "Runs that could be claimed, and those that pause after a loss.",
                   {"{{queue}}": f"sum by (queue) (trainyard_queue_depth{{{QUEUE}}})"}),
            Curves("Longest wait, by queue", "A queue that only grows older has no worker, or too few.",
                   {"{{queue}}": f"max by (queue) (trainyard_queue_oldest_seconds{{{QUEUE}}})"},
                   unit="s", limits={None: "transparent", 3600: "red"}),
        ],
        [
            Curves("Training, by queue", "Runs that hold a slot.",
                   {"{{queue}}": f"sum by (queue) (trainyard_queue_running{{{QUEUE}}})"}, stacked=True),
            Curves("Slots, by queue", "Slots that take its runs; one that serves several queues counts in each.",
                   {"{{queue}}": f"max by (queue) (trainyard_queue_slots{{{QUEUE}}})"}),
        ],
        [
            Curves("Runs", "By state, of all queues.",
                   {"{{state}}": 'sum by (state) (trainyard_runs{state=~"queued|running|paused"})'}),
            Curves("Runs that ended in an hour", "Of all queues: how fast the line moves.",
                   {"{{outcome}}":
                    'sum by (outcome) (increase(trainyard_attempts_ended_total{outcome=~"completed|failed"}[1h]))'}),
        ],
    ], [Choice("queue", "trainyard_queue_depth", several=True)])  # fmt: skip


def training() -> Board:
    return Board("training", "training", "How fast it goes, how it ends, what is lost.", [
        [
            Number("Samples", "A second, as the database hears of them; workers need not be reachable for it.",
                   {"": f"sum(rate(trainyard_samples_recorded_total[{RATE}]))"}, unit="cps", width=6),
            Number("Epochs", "A second, as the database hears of them.",
                   {"": f"sum(rate(trainyard_epochs_recorded_total[{RATE}]))"}, unit="cps", width=6),
            Number("Failed within an hour", "Share of the attempts that completed, failed or were lost.",
                   {"": share_of("failed", "1h")}, unit="percentunit", width=6,
                   limits={None: "green", 0.2: "orange", 0.5: "red"}),
            Number("Lost within an hour", "Attempts whose worker or process vanished.",
                   {"": 'sum(increase(trainyard_attempts_ended_total{outcome="lost"}[1h]))'},
                   limits={None: "green", 1: "orange", 3: "red"}, width=6),
        ],
        [
            Curves("Samples a second, by worker", "Each sample counts once an epoch.",
                   {"{{worker}}": f"sum by (worker) (rate(trainyard_samples_trained_total{{{BY_WORKER}}}[{RATE}]))"},
                   unit="cps", stacked=True),
            Curves("Updates of weights a second, by worker", "Mini-batches.",
                   {"{{worker}}": f"sum by (worker) (rate(trainyard_steps_trained_total{{{BY_WORKER}}}[{RATE}]))"},
                   unit="cps", stacked=True),
        ],
        [
            Curves("Time of an epoch", "Validation included, of all workers.", quantiles(BY_WORKER), unit="s"),
            Curves("Attempts that ended", "By outcome; lost and interrupted ones go on elsewhere.",
                   {"{{outcome}}": f"sum by (outcome) (increase(trainyard_attempts_ended_total[{RATE}]))"}),
        ],
        [
            Curves("Retries and lost leases", "Both are zero while nothing dies and nobody resumes a run.", {
                "attempts beyond the first": f"sum(increase(trainyard_retries_total[{RATE}]))",
                "leases lost": f"sum(increase(trainyard_leases_lost_total[{RATE}]))",
            }),
            Curves("Share that fails", "Of what ended within an hour.", {
                "failed": share_of("failed", "1h"), "lost": share_of("lost", "1h"),
            }, unit="percentunit", limits={None: "transparent", 0.5: "red"}),
        ],
    ])  # fmt: skip


def worker() -> Board:
    slots = 'trainyard_worker_slots{worker="$worker"}'
    busy = 'trainyard_worker_slots{worker="$worker", state="busy"}'
    return Board("worker", "one worker", "What one worker does, by its own figures and by the database.", [
        [
            Number("Its figures", "Whether Prometheus can read them.", {"": f"min(up{{{ONE}}})"},
                   limits={None: "red", 1: "green"}, words={0: "away", 1: "read"}),
            Number("Heard of", "Whether it went silent without saying goodbye.",
                   {"": 'max(trainyard_worker_gone{worker="$worker"})'},
                   limits={None: "green", 1: "red"}, words={0: "alive", 1: "gone"}),
            Number("Trusted", "One that lost what others completed is set aside and gets no runs.",
                   {"": 'max(trainyard_worker_set_aside{worker="$worker"})'},
                   limits={None: "green", 1: "orange"}, words={0: "yes", 1: "set aside"}),
            Number("Slots busy", "Of all its slots.",
                   {"": f"sum({busy}) / sum({slots})"}, unit="percentunit"),
            Number("Leases lost", "Within an hour: runs that were taken from it while it trained them.",
                   {"": f"sum(increase(trainyard_leases_lost_total{{{ONE}}}[1h]))"}, limits=NONE_IS_GOOD),
            Number("Room on its disk", "Share that is free.",
                   {"": f"min(trainyard_disk_free_bytes{{{ONE}}} / trainyard_disk_bytes{{{ONE}}})"},
                   unit="percentunit", limits={None: "red", 0.1: "green"}),
        ],
        [
            Curves("Slots", "By the database.",
                   {"{{state}}": f"sum by (state) ({slots})"}, stacked=True),
            Curves("Samples a second", "Of all its slots.",
                   {"samples": f"sum(rate(trainyard_samples_trained_total{{{ONE}}}[{RATE}]))"}, unit="cps"),
        ],
        [
            Curves("Time of an epoch", "Validation included.", quantiles(ONE), unit="s"),
            Curves("Updates of weights, epochs", "A second, of all its slots.", {
                "updates": f"sum(rate(trainyard_steps_trained_total{{{ONE}}}[{RATE}]))",
                "epochs": f"sum(rate(trainyard_epochs_trained_total{{{ONE}}}[{RATE}]))",
            }, unit="cps"),
        ],
        [
            Curves("Attempts that ended", "In its slots, since it started; a process that was killed ends none itself.",
                   {"{{outcome}}": f"sum by (outcome) (trainyard_attempts_total{{{ONE}}})"}),
            Curves("Room on its disk", "Where it keeps its logs and figures.",
                   {"free": f"min(trainyard_disk_free_bytes{{{ONE}}})"}, unit="bytes"),
        ],
    ], [Choice("worker", "trainyard_worker_gone", several=False)])  # fmt: skip


def quantiles(labels: str) -> dict[str, str]:
    """Median and 99th hundredth of the time of an epoch."""
    buckets = f"sum by (le) (rate(trainyard_epoch_duration_seconds_bucket{{{labels}}}[{RATE}]))"
    return {"median": f"histogram_quantile(0.5, {buckets})", "99 of 100": f"histogram_quantile(0.99, {buckets})"}


def share_of(outcome: str, time: str) -> str:
    def ended(outcomes: str) -> str:
        return f'sum(increase(trainyard_attempts_ended_total{{outcome=~"{outcomes}"}}[{time}]))'

    return f"{ended(outcome)} / ({ended('completed|failed|lost')} > 0) or vector(0)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the Grafana boards.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is stale")
    check = parser.parse_args(arguments).check
    boards = {f"{board.name}.json": board for board in (fleet(), queues(), training(), worker())}
    stale = [file.name for file in BOARDS.glob("*.json") if file.name not in boards]
    for name, board in boards.items():
        file, text = BOARDS / name, json.dumps(board.json(), indent=1, ensure_ascii=False) + "\n"
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            file.write_text(text, encoding="utf-8")
    for name in stale:
        known = name in boards
        print(
            f"deploy/grafana/boards/{name} " + ("is of no board" if not known else "is stale" if check else "written"),
            file=sys.stderr,
        )
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
