"""The command line as a program: what it loads, what it shows in a terminal, and how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.yard import ROOT, TIMEOUT, Yard, settled

LOADED = """
import sys
from service.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    heavy = ("sqlalchemy", "alembic", "celery", "redis", "nn", "numpy", "polars", "rich")
    print(ended.code or 0, *[name for name in heavy if name in sys.modules])
"""


@pytest.fixture(scope="module")
def there() -> Iterator[Yard]:
    """A home with a run in every state and no program; these tests change nothing in it."""
    with settled() as home:
        yield home


ASKED = "runs list --where val_accuracy>0.1 --sort best(val_loss) --columns id,optimizer,train.epochs,val_accuracy"


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ("--help", "0 rich"),
        ("runs list --help", "0 rich"),
        ("schema", "0 nn numpy"),
        ("check wrong.yaml", "2 nn numpy"),
        ("submit wrong.yaml", "2 nn numpy"),
        ("submit nothere.yaml", "2 nn numpy"),
        ("runs list", "0 sqlalchemy"),
        (ASKED, "0 sqlalchemy"),
    ],
)
def test_a_command_loads_nothing_that_it_does_not_need(there, words, loaded):
    """Each of these takes longer to load than the history to answer."""
    (there.home / "wrong.yaml").write_text("version: 1\ndata: {source: iris}\nnetwork: [{dense: {unit: 16}}]\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words.split()], cwd=there.home, capture_output=True, text=True, check=True,
        env=there.environment | {"PYTHONPATH": str(ROOT)}, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == loaded


@pytest.mark.parametrize(
    "words", ["runs list", "runs show 2", "check examples/digits.yaml", "doctor"], ids=lambda words: words[:9]
)
def test_tables_fit_a_terminal_of_80_columns(there, words):
    """A sentence may be longer and is wrapped by the terminal; a row of a table is not."""
    code, shown = in_terminal(there, words.split())
    rows = shown.splitlines()[1:] if "show" in words else shown.splitlines()
    assert code == 0
    assert max(map(len, rows)) <= 80
    if "show" in words:
        assert any(row.strip().endswith("too high") for row in rows)  # the end of a long reason, wrapped in its column


def in_terminal(there: Yard, words: list[str]) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    environment = there.environment | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm", "NO_COLOR": "1"}
    with open(ours, "rb", buffering=0) as terminal:
        with open(theirs, "wb", buffering=0) as end:
            program = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *words], cwd=ROOT, env=environment, stdout=end,
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        shown = b""
        try:
            while part := terminal.read(4096):
                shown += part
        except OSError:  # Linux' way to say that the other end is closed
            pass
        return program.wait(TIMEOUT), shown.decode().replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_a_worker_without_a_broker_exits_3(there):
    refused = there.cli("workers", "start", TRAINYARD_BROKER_URL="redis://:hunter2@127.0.0.1:1/0")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("error: the broker redis://:***@127.0.0.1:1/0 cannot be reached: ")
    assert refused.stderr.count("\n") == 1


def test_a_yard_without_its_broker_or_database_exits_and_leaves_nothing(there):
    for variable, url, code in (
        ("TRAINYARD_BROKER_URL", "redis://:hunter2@127.0.0.1:1/0", 3),
        ("TRAINYARD_DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:1/x", 3),
        ("TRAINYARD_DATABASE_URL", f"sqlite:///{there.home}/new.db", 2),
    ):
        refused = there.cli("up", "--port", "0", **{variable: url})
        assert (refused.returncode, refused.stdout) == (code, "")
        assert refused.stderr.startswith("error: ")
        assert refused.stderr.count("\n") == 1
        assert "hunter2" not in refused.stderr
        assert there.processes() == {}
        assert not (there.home / "yard.json").exists()


def test_a_reader_that_goes_away_is_not_complained_about(there):
    program = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "runs", "list", "--json"], cwd=ROOT, env=there.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    with program.stderr:
        assert program.stderr.read() == b""
    assert program.wait(TIMEOUT) in (0, 1)


def test_ctrl_c_while_watching_leaves_the_run_and_exits_130(there):
    program = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "submit", "examples/table.yaml", "--queue", "nobody", "--watch"],
        cwd=ROOT, env=there.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stderr is not None
    said = ""
    while "run 6: " not in said:
        line = program.stderr.readline()
        assert line, said
        said += line
    while program.poll() is None:  # until the watching has begun, the signal only ends the program
        program.send_signal(signal.SIGINT)
        try:
            program.wait(1)
        except subprocess.TimeoutExpired:
            continue
    out, err = program.communicate(timeout=TIMEOUT)
    assert (program.returncode, out) == (130, ""), err
    assert err in ("", "run 6 goes on; follow it again with `trainyard runs watch 6`\n")
    assert there.client.run(6).state == "queued"
    there.client.cancel(6)


def test_help_makes_no_file(tmp_path):
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "--help"], cwd=ROOT, env=os.environ | {"TRAINYARD_HOME": str(home)},
        capture_output=True, check=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert b"Usage: trainyard" in done.stdout
    assert not home.exists()
