"""What is said of a process that ended, and when the system's want of memory is to blame."""

from __future__ import annotations

import signal

import pytest

from tests.servers import eventually
from workers import exits, killings
from workers.exits import Exit, Exits
from workers.killings import Killings, oom_kills

VMSTAT = "nr_free_pages 81\noom_kill {}\nswap_ra 0\n"
EVENTS = "low 0\nhigh 0\nmax 7\noom 1\noom_kill {}\noom_group_kill 0\n"  # memory.events
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"  # memory.oom_control


def write(file, text, number=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(number))
    return file


@pytest.fixture
def counter(tmp_path):
    return write(tmp_path / "vmstat", VMSTAT, 3)


@pytest.fixture
def told(counter):
    return Exits(Killings(counter))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-signal.SIGKILL, Exit("died by SIGKILL", "SIGKILL")),
        (-signal.SIGSEGV, Exit("died by SIGSEGV", "SIGSEGV")),
        (-(signal.SIGRTMIN + 1), Exit(f"died by signal {signal.SIGRTMIN + 1}", f"signal {signal.SIGRTMIN + 1}")),
        (3, Exit("ended with exit code 3")),
        (0, Exit("ended with exit code 0")),
    ],
)
def test_a_process_ends_by_a_signal_or_with_a_code(told, code, expected):
    assert told.of(4711) is None
    told.tell(4711, code)
    assert told.of(4711) == expected
    assert told.of(4712) is None


def test_a_kill_while_the_system_killed_for_memory_is_said_to_be_that(told, counter):
    write(counter, VMSTAT, 4)
    told.tell(4711, -signal.SIGKILL)
    assert told.of(4711) == Exit(
        "died by SIGKILL: the system was out of memory (it killed 1 process); "
        "a smaller batch or network, or `limits.memory`, helps",
        "SIGKILL",
    )


def test_the_counter_may_have_risen_a_moment_before(told, counter):
    write(counter, VMSTAT, 4)
    told.look()
    write(counter, VMSTAT, 6)
    told.tell(4711, -signal.SIGKILL)
    assert "(it killed 3 processes)" in told.of(4711).sentence


def test_what_it_killed_long_ago_or_before_we_looked_is_not_to_blame(told, counter, monkeypatch):
    told.tell(4711, -signal.SIGKILL)
    assert told.of(4711).sentence == "died by SIGKILL"
    write(counter, VMSTAT, 4)
    told.look()
    monkeypatch.setattr(killings, "LATELY_SECONDS", 0.0)
    eventually(lambda: told._killings.lately() == 0)
    told.tell(4711, -signal.SIGKILL)
    assert told.of(4711).sentence == "died by SIGKILL"


def test_other_signals_are_not_the_memorys(told, counter):
    write(counter, VMSTAT, 4)
    told.tell(4711, -signal.SIGTERM)
    assert told.of(4711).sentence == "died by SIGTERM"


def test_what_ended_long_ago_is_forgotten_for_its_number_may_be_given_again(told, monkeypatch):
    told.tell(4711, -signal.SIGKILL)
    told.look()
    assert told.of(4711) is not None
    monkeypatch.setattr(exits, "REMEMBERED_SECONDS", 0.0)
    eventually(lambda: told.look() or told.of(4711) is None)


def test_a_machine_that_does_not_count_blames_nobody(tmp_path):
    told = Exits(Killings(tmp_path / "missing"))
    told.tell(4711, -signal.SIGKILL)
    assert told.of(4711).sentence == "died by SIGKILL"


def test_the_number_is_read_from_each_of_the_kernels_files(tmp_path):
    for text in (VMSTAT, EVENTS, CONTROL):
        assert oom_kills(write(tmp_path / "file", text, 12)) == 12
    assert oom_kills(write(tmp_path / "file", "oom_kill_disable 0\n\nunder_oom 0\n")) is None
    assert oom_kills(tmp_path / "missing") is None


GROUPS = "9:name=systemd:/\n4:memory:/yard\n2:cpuacct:/yard\n0::/yard\n"


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({"sys/fs/cgroup/yard/memory.events": EVENTS, "proc/vmstat": VMSTAT}, "sys/fs/cgroup/yard/memory.events"),
        ({"sys/fs/cgroup/memory.events": EVENTS, "proc/vmstat": VMSTAT}, "sys/fs/cgroup/memory.events"),
        (
            {"sys/fs/cgroup/memory/yard/memory.oom_control": CONTROL, "proc/vmstat": VMSTAT},
            "sys/fs/cgroup/memory/yard/memory.oom_control",
        ),
        (
            {"sys/fs/cgroup/memory/memory.oom_control": CONTROL, "proc/vmstat": VMSTAT},
            "sys/fs/cgroup/memory/memory.oom_control",
        ),
        ({"proc/vmstat": VMSTAT}, "proc/vmstat"),
        ({}, None),
    ],
    ids=["version 2", "version 2 in a container", "version 1", "version 1 in a container", "the machine", "none"],
)
def test_the_most_precise_counter_that_is_there_is_taken(tmp_path, files, chosen):
    write(tmp_path / "proc/self/cgroup", GROUPS)
    for file, text in files.items():
        write(tmp_path / file, text)
    assert killings._counter(tmp_path) == (None if chosen is None else tmp_path / chosen)


def test_a_machine_without_groups_is_none_to_be_looked_at(tmp_path):
    assert killings._counter(tmp_path) is None
