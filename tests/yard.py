"""Real yards for tests: `trainyard up` and `python -m workers` as programs of their own, ended by their handles.

    with yard() as there:                        # a home of its own, SQLite, the embedded broker
        there.up(slots=2)
        run = there.client.submit(there.spec(epochs=50))

Leases and heartbeats are short, so that faults are found quickly. Whatever a test leaves is ended with the `with`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from service.client import Client
from service.processes import alive
from service.settings import Settings
from service.store.records import RunRecord
from service.store.tables import Run
from service.yard import YardState, running
from tests.servers import eventually

ROOT = Path(__file__).parents[1]
QUICK = {"lease_seconds": "2", "heartbeat_seconds": "0.2", "checkpoint_seconds": "0.3"}
TIMEOUT = 60.0  # seconds for anything: programs to start, runs to end. It takes one to ten, but machines can be busy

Program = subprocess.Popen[bytes]

SPEC = """
version: 1
name: {name}
data: {{source: digits, split: {{validation: 0.2, test: 0.1}}, scale: minmax}}
network:
  - dense: {{units: 32, activation: relu}}
  - dropout: 0.2
optimizer: {{adam: 0.002}}
train: {{epochs: {epochs}, batch_size: 32}}
seed: {seed}
"""


class Yard:
    """A home, the variables of its programs, and the programs that were started in it."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        given = {f"TRAINYARD_{name.upper()}": value for name, value in (QUICK | variables).items()}
        self.environment = clean_environment() | given | {"TRAINYARD_HOME": str(home)}
        self.settings = Settings(home=home, **(QUICK | variables))
        self.client = Client(self.settings)
        self.programs: list[Program] = []

    def up(self, slots: int = 2, *flags: str) -> Program:
        """`trainyard up` in the foreground of a session of its own; returns once every slot can be used."""
        program = self.start("service.cli", "up", "--workers", str(slots), "--port", "0", *flags)
        self.wait_for(lambda: (state := self.state) and state.pid == program.pid, program)
        self.wait_for(lambda: self.slots >= slots, program)
        return program

    def worker(self, name: str, *, slots: int = 1, queues: str = "default") -> Program:
        """`python -m workers`, beside the yard's own worker; returns once every slot can be used."""
        program = self.start("workers", "--name", name, "--slots", str(slots), "--queues", queues)
        wanted = (name, slots, "ready")  # a worker of this name that has ended may be known already
        self.wait_for(lambda: wanted in {(w.name, w.slots, w.state) for w in self.client.workers()}, program)
        return program

    def start(self, module: str, *arguments: str, before: Sequence[str] = (), **variables: str) -> Program:
        """A program of this yard; what it says goes to `output.log` in the home. `before`: a command that runs it."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            program = subprocess.Popen(
                [*before, sys.executable, "-m", module, *arguments], cwd=ROOT, env=self.environment | variables,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.programs.append(program)
        return program

    def wait_for(self, condition: Callable[[], Any], program: Program) -> None:
        def ready_or_dead() -> bool:
            return program.poll() is not None or condition()

        eventually(ready_or_dead, TIMEOUT)
        assert program.returncode is None, f"{program.args} ended with {program.returncode}:\n{self.log()}"

    def cli(self, *arguments: str | Path | int, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command as a user gives it, with its output."""
        command = [str(Path(sys.executable).with_name("trainyard")), *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment | variables, capture_output=True, text=True, timeout=TIMEOUT,
            check=False,
        )  # fmt: skip

    def end(self) -> None:
        """End every program that was started here and still runs, the youngest first, and what they started."""
        while self.programs:
            end(self.programs.pop())
        with suppress(AssertionError):
            eventually(lambda: not self.processes(), 10)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.client.database.dispose()

    # What is there

    @property
    def state(self) -> YardState | None:
        return running(self.settings)

    @property
    def slots(self) -> int:
        return sum(worker.slots for worker in self.client.workers() if worker.state == "ready")

    def processes(self) -> dict[int, str]:
        """The processes with this home in their environment or command line, by pid, with that line (Linux).

        The broker writes its title over its environment; its title has its socket.
        """
        wanted, found = f"TRAINYARD_HOME={self.home}".encode(), {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                ours = str(self.home) in command or wanted in (entry / "environ").read_bytes().split(b"\0")
                if ours and alive(int(entry.name)):
                    found[int(entry.name)] = command
        found.pop(os.getpid(), None)
        return found

    @property
    def output(self) -> Path:
        return self.home / "output.log"

    def log(self) -> str:
        """Everything that its programs have said."""
        files = [self.output, *sorted(self.home.glob("logs/*.log"))]
        return "".join(f"--- {file.name}\n{file.read_text(errors='replace')}" for file in files if file.exists())

    # Runs

    def spec(self, *, epochs: int, seed: int = 1, name: str = "digits") -> Path:
        """A digits spec with dropout and without early stopping, so that every byte of a checkpoint counts."""
        folder = self.home / "specs"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}-{epochs}-{seed}.yaml"
        file.write_text(SPEC.format(name=name, epochs=epochs, seed=seed))
        return file

    def submit(self, epochs: int, seed: int = 1, **named: Any) -> int:
        return self.client.submit(self.spec(epochs=epochs, seed=seed), **named).id

    def long_run(self, seed: int = 1, **named: Any) -> int:
        """A run of some seconds: long enough to be met in its middle."""
        return self.submit(long_epochs(), seed, **named)

    def ended(self, run_id: int) -> RunRecord:
        return self.client.wait(run_id, TIMEOUT)

    def completed(self, *run_ids: int) -> list[RunRecord]:
        records = [self.ended(run_id) for run_id in run_ids]
        assert [record.state for record in records] == ["completed"] * len(records), self.log()
        return records

    def trains(self, run_id: int) -> int:
        """Wait until the run is in its middle; returns its training process."""
        eventually(lambda: self.client.run(run_id).epoch >= 2, TIMEOUT)
        return self.client.attempts(run_id)[-1].pid

    def is_saved(self, run_id: int) -> int:
        """Wait until the run is in its middle and has a checkpoint; returns its training process."""
        eventually(lambda: self.checkpoint(run_id) is not None, TIMEOUT)
        return self.trains(run_id)

    def checkpoint(self, run_id: int) -> int | None:
        with self.client.database.read() as session:
            return session.get_one(Run, run_id).checkpoint_id

    def result(self, run_id: int) -> Result:
        """All of a completed run that must not depend on what happened to its workers."""
        client = self.client
        best, last = client.weights_file(run_id), client.weights_file(run_id, last=True)
        return best, last, client.run(run_id).weights_sha256, client.history(run_id)

    def outcomes(self, run_id: int) -> list[str | None]:
        return [attempt.outcome for attempt in self.client.attempts(run_id)]


Result = tuple[bytes, bytes, str | None, list[dict[str, Any]]]


@contextmanager
def yard(**variables: str) -> Iterator[Yard]:
    """A yard in a home of its own: below /tmp, for the path of the broker's socket must be short."""
    home = Path(tempfile.mkdtemp(prefix="yard-"))
    there = Yard(home, **variables)
    try:
        yield there
    finally:
        there.end()
        shutil.rmtree(home, ignore_errors=True)


def end(program: Program, grace: float = TIMEOUT) -> int:
    """SIGTERM and wait; SIGKILL for the whole session when that takes too long."""
    with suppress(ProcessLookupError):
        program.send_signal(signal.SIGCONT)  # a test may have frozen it
    program.terminate()
    try:
        return program.wait(grace)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        return program.wait()


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would tell a yard where it is."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_", "PROMETHEUS_"))}


def parent(pid: int) -> int:
    """The process that started this one (Linux)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    """The process and all that it and its children have started, parents first (Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = [pid]
    for known in found:
        found += children.get(known, [])
    return found


@lru_cache(maxsize=1)
def long_epochs(seconds: float = 1.0) -> int:
    """So many epochs of SPEC that a run takes about as long, however fast this machine and the engine are.

    By the fastest epoch, on one BLAS thread as in a slot: what others do on the machine while this is measured, they
    may have ended when the run is trained, and a run that is over cannot be met in its middle.
    """
    import nn
    from service import assembly, datasets
    from service.spec import load

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        file.write_text(SPEC.format(name="probe", epochs=30, seed=1))
        spec = load(file)
    made = assembly.assemble(spec, datasets.load(spec))
    moments = []
    with threadpool_limits(1):
        for _ in nn.train(made.plan, nn.State.start(made.plan), made.train, made.validation):
            moments.append(time.perf_counter())
    return max(50, int(seconds / min(later - earlier for earlier, later in pairwise(moments))))


@contextmanager
def settled() -> Iterator[Yard]:
    """A home with runs in every state and no program: what is trained was trained by a slot in this very process.

    1 completed (examples/table.yaml, 3 epochs, every step logged, `try`), 2 failed, 3 cancelled, 4 running, 5 queued.
    """
    from unittest.mock import patch

    from service.store import transitions
    from workers import slot

    with yard() as there:
        client, table = there.client, ROOT / "examples" / "table.yaml"
        patches = {"settings": there.settings, "database": client.database, "worker": "ada"}
        with patch.multiple(slot, **patches), patch.object(Client, "_send_tickets"):
            client.submit(table, overrides=["train.epochs=3", "train.log_every=1"], tags=["try"])
            client.submit(table, overrides=["optimizer.adam.learning_rate=1e30"])
            for _ in range(2):
                slot.train_next("default")
            client.cancel(client.submit(table).id)
            client.submit(table, overrides=["name=a-name-that-is-longer-than-its-column-allows"], priority=2)
            with client.database.write() as session:
                assert transitions.claim(session, "default", "bob", 7, 3600, {}) is not None
            client.submit(table, queue="night", tags=["a", "b"])
        client.database.dispose()
        yield there
