"""What Prometheus reads, and what the alert rules and the boards make of it, judged by Prometheus' own tool."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import Client
from tests.boards import ALERTS, DEPLOY, alert_expressions, alert_rules, board_expressions, equalities, selectors
from tests.servers import eventually

PROJECT = Path(__file__).parents[2]
FROM_PROMETHEUS = {"up"}
FROM_DISCOVERY = {"job", "instance", "worker"}  # labels that the scraped page does not have


def promtool(*arguments: str | Path, given: str = "") -> str:
    """What promtool says; AssertionError when it finds something wrong."""
    program = shutil.which("promtool")
    if program is None:
        missing = "promtool is not on PATH; it comes with Prometheus (on Debian: apt install prometheus)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    said = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout + said.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The metrics of a yard and of its worker, after a run."""
    home = tmp_path_factory.mktemp("yard")
    yard = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "--home", home, "up", "--workers", "1", "--port", "0"],
        cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        url = re.search(r"http://\S+", yard.stdout.readline())[0]
        client = Client(home=home)
        run = client.submit(PROJECT / "examples/digits.yaml", overrides=["train.epochs=2"])
        assert client.wait(run.id, 60).state == "completed"
        (target,) = eventually(lambda: httpx.get(f"{url}/targets").json())
        worker_url = f"http://{target['targets'][0]}/metrics"
        eventually(lambda: 'trainyard_slots{state="idle"} 1.0' in httpx.get(worker_url).text)  # seen by a heartbeat
        client.database.dispose()
        yield {"yard": httpx.get(f"{url}/metrics").text, "worker": httpx.get(worker_url).text}
        yard.terminate()
        assert yard.wait(45) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(yard.pid, signal.SIGTERM)  # the worker and the broker end with it
        yard.wait(45)
        yard.stdout.close()


@pytest.fixture(scope="module")
def samples(pages: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Name of a time series -> the labels it is there with."""
    found: dict[str, list[dict[str, str]]] = {}
    for page in pages.values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
    return found


EXPRESSIONS = board_expressions(worker="ada", queue=".*") | alert_expressions()


@pytest.mark.parametrize("page", ["yard", "worker"])
def test_promtool_finds_nothing_wrong_with_the_metrics(pages, page):
    assert promtool("check", "metrics", given=pages[page]) == ""


@pytest.mark.parametrize("page", ["yard", "worker"])
def test_everything_is_named_after_trainyard_and_explained(pages, page):
    for family in text_string_to_metric_families(pages[page]):
        assert family.name.startswith("trainyard"), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name


def test_the_metrics_count_the_run(pages):
    assert 'trainyard_runs{state="completed"} 1.0' in pages["yard"]
    assert 'trainyard_attempts_ended_total{outcome="completed"} 1.0' in pages["yard"]
    assert "trainyard_epochs_trained_total 2.0" in pages["worker"]
    assert "trainyard_epoch_duration_seconds_count 2.0" in pages["worker"]


def test_promtool_accepts_the_configuration_and_the_rules():
    assert "FAILED" not in promtool("check", "config", "--lint=all", "--lint-fatal", DEPLOY / "prometheus.yml")
    assert "FAILED" not in promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_promtool_can_parse_every_expression_of_the_boards(tmp_path):
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(EXPRESSIONS.values())]
    file = tmp_path / "boards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]}))
    promtool("check", "rules", file)


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_expressions_ask_for_what_is_there(samples, where):
    asked = list(selectors(EXPRESSIONS[where]))
    assert asked
    for name, labels in asked:
        if name in FROM_PROMETHEUS:
            continue
        assert name in samples
        wanted = {key: value for key, value in equalities(labels).items() if key not in FROM_DISCOVERY}
        assert any(wanted.items() <= there.items() for there in samples[name]), (name, wanted)


def test_the_reader_of_expressions_sees_every_name():
    text = 'sum by (a) (rate(x_total{s="b c", t!="d"}[5m])) / on () y offset 5m > 2 unless up{job="z"}'
    assert list(selectors(text)) == [("x_total", 's="b c", t!="d"'), ("y", ""), ("up", 'job="z"')]
    assert equalities('s="b c", t!="d", u=~"e"') == {"s": "b c"}


def test_the_boards_are_those_that_are_made():
    check = [sys.executable, "deploy/grafana/make.py", "--check"]
    result = subprocess.run(check, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_it_means_and_what_to_do(rule):
    """In a section of its own, with the three questions somebody has at night."""
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    sections = re.split(r"^## ", (PROJECT / file).read_text(), flags=re.MULTILINE)
    (section,) = (text for text in sections if text.startswith(rule["alert"] + "\n"))
    for part in ("**It means:**", "**Look at:**", "**Do:**"):
        assert part in section, part
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


YARD = 'instance="service:8750", job="yard"'
HEALTHY = {
    f"up{{{YARD}}}": "1x40",
    'up{job="worker", instance="w:9101", worker="w"}': "1x40",
    "trainyard_database_up": "1x40",
    "trainyard_broker_up": "1x40",
    'trainyard_queue_depth{queue="default"}': "3x40",
    'trainyard_queue_depth{queue="night"}': "0x40",
    'trainyard_queue_oldest_seconds{queue="default"}': "100x40",
    'trainyard_queue_slots{queue="default"}': "2x40",
    'trainyard_queue_slots{queue="night"}': "0x40",
    'trainyard_workers{state="ready"}': "2x40",
    'trainyard_workers{state="gone"}': "1x40",
    'trainyard_worker_gone{worker="w"}': "0x40",
    'trainyard_worker_set_aside{worker="w"}': "0x40",
    "trainyard_leases_expired": "0x40",
    'trainyard_attempts_ended_total{outcome="completed"}': "0+1x40",
    'trainyard_attempts_ended_total{outcome="failed"}': "0x40",
    'trainyard_attempts_ended_total{outcome="lost"}': "0x40",
    'trainyard_leases_lost_total{job="worker", instance="w:9101", worker="w"}': "0x40",
    'trainyard_disk_bytes{job="yard", place="home"}': "1000x40",
    'trainyard_disk_free_bytes{job="yard", place="home"}': "500x40",
}
TROUBLE = {
    "YardDown": {f"up{{{YARD}}}": "0x40"},
    "DatabaseDown": {"trainyard_database_up": "0x40"},
    "BrokerDown": {"trainyard_broker_up": "0x40"},
    "NoWorkerReady": {'trainyard_workers{state="ready"}': "0x40", 'trainyard_queue_slots{queue="default"}': "0x40"},
    "NoSlotForQueue": {'trainyard_queue_depth{queue="night"}': "1x40"},
    "OldestWaitsTooLong": {'trainyard_queue_oldest_seconds{queue="default"}': "3000+60x40"},
    "WorkerGone": {'trainyard_worker_gone{worker="w"}': "0x20 1x20"},
    "WorkerSetAside": {'trainyard_worker_set_aside{worker="w"}': "1x40"},
    "WorkerNotWatched": {'up{job="worker", instance="w:9101", worker="w"}': "0x40"},
    "AttemptsLost": {'trainyard_attempts_ended_total{outcome="lost"}': "0+1x40"},
    "LeasesLost": {'trainyard_leases_lost_total{job="worker", instance="w:9101", worker="w"}': "0+1x40"},
    "LeasesNotTakenBack": {"trainyard_leases_expired": "2x40"},
    "ManyRunsFail": {'trainyard_attempts_ended_total{outcome="failed"}': "0+3x40"},
    "DiskNearlyFull": {'trainyard_disk_free_bytes{job="yard", place="home"}': "99x40"},
}
NO_TROUBLE_YET = {  # too little, too short, or somebody else's
    "YardDown": {f"up{{{YARD}}}": "1x29 0x10"},
    "DatabaseDown": {"trainyard_database_up": "1x29 0x10"},
    "BrokerDown": {"trainyard_broker_up": "0x20 1x20"},
    "NoWorkerReady": {'trainyard_workers{state="ready"}': "0x40", 'trainyard_queue_depth{queue="default"}': "0x40"},
    "NoSlotForQueue": {'trainyard_queue_depth{queue="night"}': "0x27 1x13"},
    "OldestWaitsTooLong": {'trainyard_queue_oldest_seconds{queue="default"}': "3600x40"},
    "WorkerGone": {'trainyard_worker_gone{worker="w"}': "0x10 1x9 0x20"},
    "WorkerSetAside": {'trainyard_worker_set_aside{worker="w"}': "1x29 0x10"},
    "WorkerNotWatched": {'up{job="worker", instance="w:9101", worker="w"}': "1x28 0x12"},
    "AttemptsLost": {'trainyard_attempts_ended_total{outcome="lost"}': "0x20 1x20"},
    "LeasesLost": {'trainyard_leases_lost_total{job="worker", instance="w:9101", worker="w"}': "0x20 1x20"},
    "LeasesNotTakenBack": {"trainyard_leases_expired": "0x27 2x13"},
    "ManyRunsFail": {'trainyard_attempts_ended_total{outcome="failed"}': "0x10 4x40"},
    "DiskNearlyFull": {'trainyard_disk_free_bytes{job="yard", place="home"}': "101x40"},
}


def test_there_is_a_case_of_trouble_and_one_of_almost_for_every_alert():
    assert set(TROUBLE) == set(NO_TROUBLE_YET) == set(alert_expressions())


def test_every_alert_fires_in_its_trouble_and_only_then(tmp_path):
    cases = [firing("healthy", HEALTHY, [])]
    cases += [firing(name, HEALTHY | series, [name]) for name, series in TROUBLE.items()]
    cases += [firing(f"almost {name}", HEALTHY | series, []) for name, series in NO_TROUBLE_YET.items()]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": cases}))
    promtool("test", "rules", file)


def test_a_page_that_starts_again_does_not_seem_to_lose_hundreds_of_attempts(tmp_path):
    """The counters of a page begin with zero; had they begun with all attempts ever, hundreds would seem just lost."""
    series = HEALTHY | {'trainyard_attempts_ended_total{outcome="lost"}': "800x20 1x20"}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [firing("restart", series, [])]}))
    promtool("test", "rules", file)


def firing(name: str, series: dict[str, str], alerts: list[str]) -> dict[str, Any]:
    """A case for `promtool test rules`: after half an hour exactly these alerts fire."""
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "30m", "exp_samples": expected}
        ],
    }
