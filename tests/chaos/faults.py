"""The faults: each hits something of the yard, and mends it where a person or a machine would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.errors import InputError, Unreachable
from tests.chaos.findings import Findings
from tests.chaos.recoveries import Blows
from tests.chaos.schedule import Strike
from tests.chaos.watcher import Open, Watcher
from tests.chaos.workload import Case
from tests.chaos.yards import Breath, ChaosYard, Kept, frozen, kill
from tests.servers import eventually
from tests.yard import Program, descendants, end, parent

T = TypeVar("T")
PATIENCE = 120.0  # seconds until there is something to hit
RACE_SECONDS = 20.0


class NotStruck(Exception):
    """A fault that could not be struck, and why."""


@dataclass
class Scene:
    """What a fault needs to know of the trial."""

    there: ChaosYard
    watcher: Watcher
    blows: Blows
    findings: Findings
    breath: Breath
    cases: Sequence[Case]
    lease: float


FAULTS: dict[str, Callable[[Scene, Strike], str]] = {}


def fault(kind: str) -> Callable[[Callable[[Scene, Strike], str]], Callable[[Scene, Strike], str]]:
    def register(strike: Callable[[Scene, Strike], str]) -> Callable[[Scene, Strike], str]:
        FAULTS[kind] = strike
        return strike

    return register


def strike(scene: Scene, planned: Strike) -> str:
    """Strike a fault and return what it has hit. Raises NotStruck."""
    if (why := scene.there.impossible.get(planned.kind)) is not None:
        raise NotStruck(why)
    return FAULTS[planned.kind](scene, planned)


# Victims


def _pick(candidates: Callable[[], Sequence[T]], share: float, what: str) -> T:
    """The candidate at this share of the list, as soon as there is one."""
    try:
        found = eventually(candidates, PATIENCE)
    except AssertionError:
        raise NotStruck(f"there was no {what} for {PATIENCE:g} s") from None
    return found[int(share * len(found))]


def _slot(scene: Scene, planned: Strike) -> Open:
    """A slot that trains. Those that are frozen or gone are none, though the database may not know it yet."""

    def busy() -> list[Open]:
        family = {pid for top in scene.there.supervisors().values() for pid in descendants(top)}
        return [one for one in scene.watcher.open if one.pid in family]

    return _pick(busy, planned.pick, "slot that trains")


def _worker(scene: Scene, planned: Strike) -> tuple[str, list[int]]:
    """A worker with all its processes, the supervisor first: one that trains, else one that runs."""

    def running() -> list[tuple[str, list[int]]]:
        every = [(name, descendants(top)) for name, top in sorted(scene.there.supervisors().items())]
        training = {one.pid for one in scene.watcher.open}
        return [worker for worker in every if training & set(worker[1])] or every

    return _pick(running, planned.pick, "worker that runs")


def _hit(scene: Scene, planned: Strike, pids: Sequence[int]) -> str:
    """Note which attempts are hit, and say so."""
    hit = [one for one in scene.watcher.open if one.pid in pids]
    scene.blows.struck(planned.kind, hit)
    return ", ".join(f"run {one.run_id} attempt {one.number}" for one in hit) or "no run"


# Workers


@fault("slot killed")
def slot_killed(scene: Scene, planned: Strike) -> str:
    victim = _slot(scene, planned)
    said = _hit(scene, planned, [victim.pid])
    kill(victim.pid)
    return f"process {victim.pid} of {victim.worker}: {said}"


@fault("pool killed")
def pool_killed(scene: Scene, planned: Strike) -> str:
    """The Celery worker, whose children end with it."""
    victim = _slot(scene, planned)
    pool = parent(victim.pid)
    said = _hit(scene, planned, descendants(pool))
    kill(pool)
    return f"process {pool} of {victim.worker}: {said}"


@fault("supervisor killed")
def supervisor_killed(scene: Scene, planned: Strike) -> str:
    name, pids = _worker(scene, planned)
    said = _hit(scene, planned, pids)
    kill(pids[0])
    return f"process {pids[0]} of {name}: {said}"


@fault("machine killed")
def machine_killed(scene: Scene, planned: Strike) -> str:
    """A whole worker at once, as if its machine had lost its power."""
    name, pids = _worker(scene, planned)
    said = _hit(scene, planned, pids)
    kill(*pids)
    return f"{len(pids)} processes of {name}: {said}"


@fault("slot frozen")
def slot_frozen(scene: Scene, planned: Strike) -> str:
    victim = _slot(scene, planned)
    return f"process {victim.pid} of {victim.worker} {_frozen_until_taken_over(scene, planned, [victim.pid])}"


@fault("worker frozen")
def worker_frozen(scene: Scene, planned: Strike) -> str:
    """A whole worker for longer than its lease: it comes back and finds its runs taken away."""
    name, pids = _worker(scene, planned)
    return f"{len(pids)} processes of {name} {_frozen_until_taken_over(scene, planned, pids)}"


def _frozen_until_taken_over(scene: Scene, planned: Strike, pids: Sequence[int]) -> str:
    """They wake up at the worst moment: when another attempt trains their run. Were no run hit, after their lease."""
    began, watcher = time.monotonic(), scene.watcher
    hit, said = [one for one in watcher.open if one.pid in pids], _hit(scene, planned, pids)

    def taken_over() -> bool:
        held = {one.run_id: one.number for one in watcher.open}
        ended = all(watcher.state_of.get(one.run_id) == "completed" for one in hit)
        return ended or scene.breath.over.is_set() or any(held.get(one.run_id, 0) > one.number for one in hit)

    with frozen(*pids):
        if hit:
            with suppress(AssertionError):  # nobody is free: it comes back all the same
                eventually(taken_over, 3 * scene.lease + 10)
            scene.breath(2 * planned.length)
        else:
            scene.breath(_beyond_the_lease(scene, planned))
    return f"for {time.monotonic() - began:.1f} s: {said}"


def _beyond_the_lease(scene: Scene, planned: Strike) -> float:
    return scene.lease * (1.3 + planned.length) + 1


@fault("worker stopped")
def worker_stopped(scene: Scene, planned: Strike) -> str:
    """Told to stop in the middle of an epoch; it saves and hands over, and is started again."""
    name, pids = _worker(scene, planned)
    os.kill(pids[0], signal.SIGTERM)
    return f"process {pids[0]} of {name}"


@fault("yard killed")
def yard_killed(scene: Scene, planned: Strike) -> str:
    """`trainyard up`; its children are told to end, and its broker with them."""
    pid = _pick(lambda: [pid] if (pid := scene.there.kept["yard"].pid) else [], 0, "yard that runs")
    began = time.time()
    said = _hit(scene, planned, descendants(pid))
    kill(pid)
    if scene.there.settings.embedded_broker:
        _until_the_broker_answers(scene, began)
    return f"process {pid}: {said}"


@fault("yard stopped")
def yard_stopped(scene: Scene, planned: Strike) -> str:
    pid = _pick(lambda: [pid] if (pid := scene.there.kept["yard"].pid) else [], 0, "yard that runs")
    began = time.time()
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: scene.there.kept["yard"].pid != pid, PATIENCE)
    if scene.there.settings.embedded_broker:
        _until_the_broker_answers(scene, began)
    return f"process {pid}"


@fault("supervisors race")
def supervisors_race(scene: Scene, planned: Strike) -> str:
    """Two workers at the same instant: with the same name only one may stay, without one both have to."""
    named = planned.pick < 0.5
    racers = [scene.there.start("workers", *(["--name", "eve"] if named else [])) for _ in range(2)]
    try:
        said = (_one_stays if named else _both_stay)(scene, racers)
        scene.breath(5 * planned.length)
    finally:
        for racer in racers:
            racer.terminate()
        codes = [end(racer) for racer in racers]
        scene.there.programs = [one for one in scene.there.programs if one not in racers]
    if set(codes) - {0, 2, 3}:
        scene.findings.add(f"workers that raced ended with {codes}")
    return f"{'of the name eve' if named else 'without a name'}: {said}, they ended with {codes}"


def _one_stays(scene: Scene, racers: list[Program]) -> str:
    with suppress(AssertionError):
        eventually(lambda: any(racer.poll() is not None for racer in racers), RACE_SECONDS)
    if all(racer.poll() is None for racer in racers):
        scene.findings.add(f"two workers of the name eve run for {RACE_SECONDS:g} s: {[one.pid for one in racers]}")
    return f"{sum(racer.poll() is None for racer in racers)} stayed"


def _both_stay(scene: Scene, racers: list[Program]) -> str:
    pids = {racer.pid for racer in racers}

    def both_registered() -> bool:
        return len({worker.name for worker in scene.there.client.workers() if worker.pid in pids}) == 2

    eventually(lambda: any(racer.poll() is not None for racer in racers) or _asked(both_registered), PATIENCE)
    scene.breath(RACE_SECONDS / 4)  # one whose name was taken from it learns that at its next heartbeat
    codes = [racer.poll() for racer in racers]
    if set(codes) & {0, 2}:  # 3: a service could not be reached when it began
        scene.findings.add(f"of two workers without names one had to go: they ended with {codes}")
    return f"{codes.count(None)} stayed"


def _asked(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except Unreachable:
        return False


@fault("pool scaled")
def pool_scaled(scene: Scene, planned: Strike) -> str:
    slots = 1 + int(3 * planned.length)
    with_slots = _pick(
        lambda: [worker.name for worker in _patiently(scene.there.client.workers) if worker.state == "ready"],
        planned.pick, "worker that is ready",
    )  # fmt: skip
    try:
        _patiently(lambda: scene.there.client.scale(with_slots, slots))
    except InputError as error:  # it has gone meanwhile
        raise NotStruck(str(error)) from None
    return f"{with_slots} to {slots} slots"


@fault("run cancelled")
def run_cancelled(scene: Scene, planned: Strike) -> str:
    """By a person who thinks better of it: the run goes on from where it was."""
    client = scene.there.client
    return _given_up(scene, planned, client.cancel, "cancelled", client.retry)


@fault("run paused")
def run_paused(scene: Scene, planned: Strike) -> str:
    client = scene.there.client
    return _given_up(scene, planned, client.pause, "paused", client.resume)


def _given_up(
    scene: Scene, planned: Strike, ask: Callable[[int], object], state: str, again: Callable[[int], object]
) -> str:
    """Ask a run to stop; once it has, let it go on. It may be quicker, or its worker die of something else."""
    run_id = _pick(lambda: scene.watcher.open, planned.pick, "run that trains").run_id
    client = scene.there.client
    with suppress(InputError):  # it has just ended by itself
        _patiently(lambda: ask(run_id))
    eventually(lambda: _patiently(lambda: client.run(run_id)).state in ("completed", state), PATIENCE, every=0.1)
    record = _patiently(lambda: client.run(run_id))
    scene.breath(5 * planned.length)
    if record.state == state:
        _patiently(lambda: again(run_id) if client.run(run_id).state == state else None)
    return f"run {run_id}, {record.state} after {record.epoch} epochs"


def _patiently(act: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@fault("clock off")
def clock_off(scene: Scene, planned: Strike) -> str:
    """The worker bob starts again with a wall clock an hour behind or ahead."""
    seconds = "-3600" if planned.pick < 0.5 else "3600"
    scene.there.given["bob"]["CLOCK_OFF"] = seconds
    pid = _pick(lambda: [pid] if (pid := scene.there.kept["bob"].pid) else [], 0, "worker bob that runs")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: (again := scene.there.kept["bob"].pid) is not None and again != pid, PATIENCE)
    return f"bob by {seconds} s"


# What the workers need


def _broker(scene: Scene) -> int:
    return _pick(lambda: [pid] if (pid := scene.there.broker_pid()) else [], 0, "broker that runs")


def _until_the_broker_answers(scene: Scene, began: float) -> None:
    def answers() -> bool:
        with suppress(Exception):  # whatever it is: there is no answer
            client = scene.there.redis()
            try:
                return bool(client.ping())
            finally:
                client.close()
        return False

    try:
        eventually(answers, PATIENCE)
    except AssertionError:
        scene.findings.add(f"the broker does not answer for {PATIENCE:g} s after it was started again")
    scene.blows.away(began)


@fault("broker flushed")
def broker_flushed(scene: Scene, planned: Strike) -> str:
    _until_the_broker_answers(scene, time.time())
    client = scene.there.redis()
    keys = client.dbsize()
    client.flushall()
    client.close()
    return f"{keys} keys"


@fault("broker killed")
def broker_killed(scene: Scene, planned: Strike) -> str:
    pid, began = _broker(scene), time.time()
    kill(pid)
    _until_the_broker_answers(scene, began)
    return f"process {pid}"


@fault("broker frozen")
def broker_frozen(scene: Scene, planned: Strike) -> str:
    pid, began, seconds = _broker(scene), time.time(), 5 + 10 * planned.length
    with frozen(pid):
        scene.breath(seconds)
    _until_the_broker_answers(scene, began)
    return f"process {pid} for {seconds:.1f} s"


@fault("broker restarted empty")
def broker_restarted_empty(scene: Scene, planned: Strike) -> str:
    """It is away for some seconds; the embedded one is started again by its yard at once."""
    kept = scene.there.kept.get("broker")
    pid, began, seconds = _broker(scene), time.time(), 8 * planned.length
    _away(scene, kept, pid, signal.SIGTERM, seconds)
    _until_the_broker_answers(scene, began)
    return f"process {pid}" + (f", away for {seconds:.1f} s" if kept else "")


def _away(scene: Scene, kept: Kept | None, pid: int, how: signal.Signals, seconds: float) -> None:
    if kept is not None:
        kept.wanted = False
    try:
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        scene.breath(seconds)
    finally:
        if kept is not None:
            kept.wanted = True


@fault("database killed")
def database_killed(scene: Scene, planned: Strike) -> str:
    return _database_away(scene, planned, signal.SIGKILL)


@fault("database stopped")
def database_stopped(scene: Scene, planned: Strike) -> str:
    """SIGQUIT: PostgreSQL ends at once without a checkpoint and recovers at its next start."""
    return _database_away(scene, planned, signal.SIGQUIT)


def _database_away(scene: Scene, planned: Strike, how: signal.Signals) -> str:
    kept, began, seconds = scene.there.kept["database"], time.time(), 12 * planned.length
    pid = _pick(lambda: [kept.pid] if kept.pid else [], 0, "database that runs")
    _away(scene, kept, pid, how, seconds)
    _until_the_database_answers(scene, began)
    return f"process {pid} by {how.name}, away for {seconds:.1f} s"


@fault("database frozen")
def database_frozen(scene: Scene, planned: Strike) -> str:
    """Whoever asks waits for its answer, for longer than the lease; nobody is told that anything is wrong."""
    kept, began, seconds = scene.there.kept["database"], time.time(), _beyond_the_lease(scene, planned)
    pid = _pick(lambda: [kept.pid] if kept.pid else [], 0, "database that runs")
    with frozen(*descendants(pid)):
        scene.breath(seconds)
    _until_the_database_answers(scene, began)
    return f"process {pid} and its children for {seconds:.1f} s"


def _until_the_database_answers(scene: Scene, began: float) -> None:
    def answers() -> bool:
        return _asked(lambda: scene.there.client.counts() is not None)

    try:
        eventually(answers, PATIENCE)
    except AssertionError:
        scene.findings.add(f"the database does not answer for {PATIENCE:g} s after it was mended")
    scene.blows.away(began)


@fault("disk full")
def disk_full(scene: Scene, planned: Strike) -> str:
    disk, began, seconds = scene.there.disk, time.time(), 3 + 7 * planned.length
    assert disk is not None  # or it would have been impossible
    try:
        disk.fill()
        scene.breath(seconds)
    finally:
        disk.empty()
        scene.blows.full.append((began, time.time()))
    _until_the_database_answers(scene, began)
    return f"the disk of {'the home' if scene.there.settings.embedded_database else 'PostgreSQL'} for {seconds:.1f} s"


@fault("silent link")
def silent_link(scene: Scene, planned: Strike) -> str:
    """The connections of one worker carry nothing any more, to the database, the broker or both; then they go on or
    are dropped."""
    which = scene.there.proxies[slice(*[(0, 1), (1, 2), (0, 2)][int(3 * planned.pick)])]
    seconds, dropped = scene.lease * 2.5 * planned.length, planned.pick * 3 % 1 < 0.5
    said = _hit(scene, planned, _family(scene, "ada"))
    for proxy in which:
        proxy.silence()
    try:
        scene.breath(seconds)
    finally:
        for proxy in which:
            if dropped:
                proxy.drop()
            proxy.go_on()
    names = ("database", "broker", "database and broker")[int(3 * planned.pick)]
    return f"ada to {names} for {seconds:.1f} s, then {'dropped' if dropped else 'going on'}: {said}"


@fault("cut link")
def cut_link(scene: Scene, planned: Strike) -> str:
    """The worker's network is gone: every packet is lost."""
    cable, seconds = scene.there.cable, scene.lease * 2.5 * planned.length
    assert cable is not None
    said = _hit(scene, planned, _family(scene, "ada"))
    cable.cut()
    try:
        scene.breath(seconds)
    finally:
        cable.mend()
    return f"ada for {seconds:.1f} s: {said}"


def _family(scene: Scene, name: str) -> list[int]:
    pid = scene.there.kept[name].pid
    return descendants(pid) if pid is not None else []


@fault("submit killed")
def submit_killed(scene: Scene, planned: Strike) -> str:
    """Between the commit of the row and the ticket, which cannot be sent while the broker is frozen."""
    there, tag = scene.there, f"killed-{planned.number}"
    case = scene.cases[int(planned.pick * len(scene.cases))]
    program = Path(sys.executable).with_name("trainyard")
    began = time.time()
    with frozen(_broker(scene)), there.output.open("ab") as output:
        submit = subprocess.Popen(
            [program, "submit", case.file(there.home / "specs"), "--tag", tag],
            env=there.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        with submit:
            eventually(
                lambda: submit.poll() is not None or _asked(lambda: bool(there.client.runs(f"tag = '{tag}'"))), PATIENCE
            )
            ended = submit.poll()
            submit.kill()
    scene.blows.away(began)
    runs = _patiently(lambda: there.client.runs(f"tag = '{tag}'"))
    if ended is not None or len(runs) != 1:
        raise NotStruck(f"submit had ended with {ended} before it could be killed; {len(runs)} runs are there")
    return f"run {runs[0].id}, {case.name}"
