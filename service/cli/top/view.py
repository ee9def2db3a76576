"""The lines of `trainyard top`: a pure function of what there is to see, the size, and what is selected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from service.cli.output import COLOURS
from service.display import duration, headline, judged_by, lasted, number, sparkline, thousands
from service.store.glance import Glance, Pace
from service.store.records import RunRecord, WorkerRecord

NARROW = 120  # columns, below which bars are short
KEYS = "q quit · ↑↓ select · enter details · c cancel · p pause · ? help"
HELP = (
    ("↑ ↓  k j", "select the run above, below"),
    ("g G", "the first, the last"),
    ("enter", "its details: why, metrics, curves; again or esc: back"),
    ("c", "cancel it, after a question"),
    ("p", "pause it, or let a paused one go on"),
    ("?", "this help"),
    ("q", "quit; whatever trains goes on"),
)


@dataclass(frozen=True)
class Yard:
    """Where the yard is and whether it answers."""

    state: str
    web_url: str | None
    database: str
    broker: str
    broker_answers: bool | None = None  # None: nobody has asked yet


@dataclass(frozen=True)
class Details:
    """More of one run."""

    run: RunRecord
    why: str
    history: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Scene:
    """All that there is to see."""

    yard: Yard
    glance: Glance | None = None  # None: the store has not answered yet
    problem: str | None = None  # why it does not answer now
    details: Details | None = None
    selected: int | None = None  # a run
    mode: str = "list"  # or details, help
    question: str | None = None  # to be answered with y or n
    message: str | None = None


@dataclass(frozen=True)
class Column:
    """`width` in cells; 0: it shares what is left. `>`: it stands right."""

    title: str
    width: int = 0
    right: bool = False


@dataclass
class Section:
    columns: Sequence[Column]
    rows: list[tuple[int | None, Sequence[Text | str]]] = field(default_factory=list)  # with the run of each

    def add(self, run: RunRecord, *cells: Text | str) -> None:
        self.rows.append((run.id, [str(run.id), *cells]))

    def lines(self, width: int, room: int, selected: int | None) -> list[Text]:
        """The title and as many rows as there is room for, the selected one among them; the last says what is left."""
        titles = [Text(column.title, style="bold") for column in self.columns]
        found = [_row(self.columns, titles, width)]
        shown, start = self.rows, 0
        if len(shown) > room - 1:
            number = max(1, room - 2)
            at = next((place for place, (run, _) in enumerate(shown) if run == selected is not None), 0)
            start = min(max(0, at - number + 1), len(shown) - number)
            shown = shown[start : start + number]
        for run, cells in shown:
            line = _row(self.columns, cells, width)
            if run is not None and run == selected:
                line.stylize("reverse")
            found.append(line)
        if (left := len(self.rows) - len(shown)) and room > 2:
            found.append(Text(f"… {left} more", style="dim"))
        return found


def lines(scene: Scene, width: int, height: int | None = None) -> list[Text]:
    """At most `height` lines of at most `width` cells. Without a height: all there are, and nothing about keys."""
    head = _head(scene, width)
    foot = [] if height is None else [_foot(scene, width)]
    room = None if height is None else max(0, height - len(head) - len(foot))
    body = _body(scene, width, room)
    if room is not None:
        body = body[:room] + [Text()] * (room - len(body))
    made = head + body + foot
    for line in made:
        line.truncate(width, overflow="ellipsis")
    return made if height is None else made[-height:]


def _body(scene: Scene, width: int, room: int | None) -> list[Text]:
    if scene.mode == "help":
        return [Text(), *(Text.assemble((f"  {keys:<10}", "bold"), words) for keys, words in HELP)]
    if scene.mode == "details":
        return _details(scene.details, width) if scene.details else [Text(), Text("…", style="dim")]
    if scene.glance is None:
        return []
    return _fitted(_sections(scene.glance, width), width, room, scene.selected)


def _fitted(sections: Sequence[Section], width: int, room: int | None, selected: int | None) -> list[Text]:
    """Each section as high as there is room for; the first ones are the more important."""
    wanted = [len(section.rows) + 1 for section in sections]
    heights = shares([want + 1 for want in wanted], room)  # with a blank line before each, if there is room for that
    if room is not None and sum(want + 1 for want in wanted) > room:
        heights = shares(wanted, room)
        blank: list[Text] = []
    else:
        blank = [Text()]
        heights = wanted
    return [
        line
        for section, height in zip(sections, heights, strict=True)
        if height
        for line in blank + section.lines(width, height, selected)
    ]


def shares(wanted: Sequence[int], room: int | None) -> list[int]:
    """How many lines each gets: two at first, as far as that goes, then one after the other in turns."""
    if room is None:
        return list(wanted)
    got = [0] * len(wanted)
    for place, want in enumerate(wanted):
        if want and room >= 2:
            got[place] = min(2, want)
            room -= got[place]
    while room:
        hungry = [place for place, want in enumerate(wanted) if 0 < got[place] < want][:room]
        if not hungry:
            break
        for place in hungry:
            got[place] += 1
        room -= len(hungry)
    return got


def selectable(glance: Glance) -> list[int]:
    """The runs that can be selected, from the top of the screen to its end."""
    shown = [*_runs(glance), *glance.failed, *_ended(glance)]
    return list(dict.fromkeys(run.id for run in shown))


# The head and the foot


def _head(scene: Scene, width: int) -> list[Text]:
    yard = scene.yard
    clock = f"{scene.glance.moment.astimezone():%H:%M:%S}" if scene.glance else ""
    first = Text.assemble(("trainyard ", "bold"), (yard.state, COLOURS.get(yard.state, "")), f"  {yard.web_url or ''}")
    first.truncate(max(0, width - len(clock) - 1), overflow="ellipsis", pad=True)
    first.append(f" {clock}", style="dim")
    if scene.problem:
        second = Text(f"! {_one_line(scene.problem)}", style="red")
    else:
        broker = {None: "", True: ", answers", False: ", does not answer"}[yard.broker_answers]
        second = Text(f"database {yard.database} · broker {yard.broker}{broker}", style="dim")
    return [first, second] if scene.glance is None else [first, second, *_totals(scene.glance, width)]


def _totals(glance: Glance, width: int) -> list[Text]:
    live = [worker for worker in glance.workers if worker.live]
    slots, busy = sum(worker.slots for worker in live), sum(worker.busy for worker in live)
    waiting = sum(number for number, _ in glance.queues.values())
    rate = sum(pace.samples_per_second or 0.0 for pace in glance.paces.values())
    told = [
        f"{busy} of {slots} slots busy", f"{glance.running_number} running", f"{waiting} waiting",
        *([f"{glance.paused_number} paused"] if glance.paused_number else []),
        *([f"{thousands(rate)}/s"] if rate else []),
    ]  # fmt: skip
    pool = bar(busy / slots if slots else 0.0, 10 if width < NARROW else 20)
    served = {queue for worker in live for queue in worker.queues}
    queues = {**dict.fromkeys(sorted({"default", *served}), (0, 0.0)), **glance.queues}
    lines = [f"{name} {number}" + (f" for {duration(age)}" if number else "") for name, (number, age) in queues.items()]
    return [Text.assemble(pool, f" {' · '.join(told)}"), Text.assemble(("queues ", "bold"), " · ".join(lines))]


def _foot(scene: Scene, width: int) -> Text:
    if scene.question:
        return Text(f"{_one_line(scene.question)} y or n", style="bold yellow")
    if scene.message:
        return Text(_one_line(scene.message), style="yellow")
    return Text(KEYS, style="dim")


# The sections


def _sections(glance: Glance, width: int) -> list[Section]:
    wide = width >= NARROW
    made = [
        _section_of_runs(glance, wide),
        _section_of_workers(glance, wide),
        _section_of_failures(glance),
        _section_of_ends(glance),
    ]
    return [section for section in made if section.rows]


def _runs(glance: Glance) -> list[RunRecord]:
    return [*glance.running, *glance.paused, *glance.waiting]


def _ended(glance: Glance) -> list[RunRecord]:
    failed = {run.id for run in glance.failed}
    return [run for run in glance.ended if run.id not in failed and run.state.ended]


def _section_of_runs(glance: Glance, wide: bool) -> Section:
    columns = [
        Column("RUN", 7, right=True), Column("NAME"), Column("PROGRESS", 34 if wide else 20),
        Column("METRIC", 34 if wide else 19), Column("RATE", 6, right=True), Column("LEFT", 7, right=True),
    ]  # fmt: skip
    section = Section(columns)
    for run in _runs(glance):
        pace = glance.paces.get(run.id, Pace())
        section.add(run, run.name, _progress(run, 34 if wide else 20), _metric(run, wide), _rate(pace), _left(pace))
    return section


def _progress(run: RunRecord, width: int) -> Text:
    if run.state == "queued":
        return Text(f"waits in {run.queue}" + (f", {run.priority:+d}" if run.priority else ""), style=COLOURS["queued"])
    if run.state == "paused":
        return Text(f"paused at {run.epoch}/{run.epochs}", style=COLOURS["paused"])
    wish = {"cancel": " stops", "pause": " pauses"}.get(run.wish or "", "")
    told = f" {run.epoch}/{run.epochs}"
    done = bar(run.epoch / run.epochs, min(20, max(3, width - len(told) - len(wish))))
    return Text.assemble(done, told, (wish, "yellow"))


def _metric(run: RunRecord, wide: bool) -> str:
    """The loss if there is room, and the metric that counts, on validation if there is one."""
    judge = judged_by(run)
    counts = [f"val_{judge}" if f"val_{judge}" in run.metrics else judge]
    names = [name for name in dict.fromkeys((["loss"] if wide else []) + counts) if name in run.metrics]
    return " ".join(f"{name} {number(run.metrics[name].last)}" for name in names) or "-"


def _rate(pace: Pace) -> str:
    return f"{thousands(pace.samples_per_second)}/s" if pace.samples_per_second else "-"


def _left(pace: Pace) -> str:
    return duration(pace.seconds_left) if pace.seconds_left is not None else "-"


def _section_of_workers(glance: Glance, wide: bool) -> Section:
    columns = [
        Column("WORKER", 20 if wide else 12), Column("STATE", 9), Column("SLOTS", 5, right=True), Column("TRAINS"),
        Column("RATE", 6, right=True), Column("LEFT", 7, right=True), Column("SEEN", 6, right=True),
    ]  # fmt: skip
    section = Section(columns)
    for worker in glance.workers:
        if worker.state != "stopped":
            section.rows.append((None, _worker(glance, worker)))
    return section


def _worker(glance: Glance, worker: WorkerRecord) -> list[Text | str]:
    held = [run for run in glance.running if run.worker == worker.name]
    paces = [glance.paces[run.id] for run in held if run.id in glance.paces]
    rates = [pace.samples_per_second for pace in paces if pace.samples_per_second]
    lefts = [pace.seconds_left for pace in paces if pace.seconds_left is not None]
    state = "set aside" if worker.set_aside and worker.live else worker.state
    trains = Text("  ").join(Text.assemble(f"{run.id} ", bar(run.epoch / run.epochs, 4)) for run in held)
    pool = Pace(sum(rates) or None, max(lefts, default=None))
    return [
        worker.name, Text(state, style=COLOURS.get(state, "")), f"{worker.busy}/{worker.slots}", trains,
        _rate(pool), _left(pool), duration(worker.silent_seconds),
    ]  # fmt: skip


def _section_of_failures(glance: Glance) -> Section:
    columns = [Column("FAILED", 7, right=True), Column("NAME", 16), Column("REASON"), Column("AGO", 7, right=True)]
    section = Section(columns)
    for run in glance.failed:
        reason = Text(_one_line(run.error or "-"), style="red")
        section.add(run, run.name, reason, _ago(run, glance))
    return section


def _section_of_ends(glance: Glance) -> Section:
    columns = [
        Column("ENDED", 7, right=True), Column("NAME"), Column("STATE", 9), Column("BEST", 24),
        Column("TOOK", 7, right=True), Column("AGO", 7, right=True),
    ]  # fmt: skip
    section = Section(columns)
    for run in _ended(glance):
        state = Text(run.state, style=COLOURS.get(run.state, ""))
        section.add(run, run.name, state, headline(run), lasted(run), _ago(run, glance))
    return section


def _ago(run: RunRecord, glance: Glance) -> str:
    return "-" if run.finished is None else duration(max(1.0, (glance.moment - run.finished).total_seconds()))


# The details of a run


def _details(details: Details, width: int) -> list[Text]:
    run = details.run
    title = Text.assemble((f"run {run.id}  ", "bold"), run.name, "  ", (run.state, COLOURS.get(run.state, "")))
    made = [Text(), title, Text(), *_wrapped(details.why, width), Text()]
    if run.started:
        made.append(Text.assemble(bar(run.epoch / run.epochs, 20), f" {run.epoch}/{run.epochs} epochs, {lasted(run)}"))
    if run.metrics:
        columns = [
            Column("METRIC", 20), Column("LAST", 10, right=True), Column("BEST", 10, right=True),
            Column("AT", 6, right=True), Column("CURVE"),
        ]  # fmt: skip
        section = Section(columns)
        for name, summary in run.metrics.items():
            points = [row[name] for row in details.history if name in row]
            curve = sparkline(points, max(4, width - 54))
            section.rows.append(
                (None, [name, number(summary.last), number(summary.best), str(summary.best_epoch), curve])
            )
        made += [Text(), *section.lines(width, len(section.rows) + 1, None)]
    return made


def _wrapped(text: str, width: int) -> list[Text]:
    from rich.console import Console

    return list(Text(_one_line(text)).wrap(Console(width=width), width))


# Parts of lines


def bar(share: float, width: int) -> Text:
    """A bar in eighths of a cell."""
    eighths = round(min(1.0, max(0.0, share if math.isfinite(share) else 0.0)) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return Text(filled.ljust(width), style="cyan on grey23")


def _row(columns: Sequence[Column], cells: Sequence[Text | str], width: int) -> Text:
    fixed = sum(column.width for column in columns) + 2 * (len(columns) - 1)
    shared = [column for column in columns if not column.width]
    left = max(0, width - fixed)
    line = Text()
    for place, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        text = cell.copy() if isinstance(cell, Text) else Text(_one_line(cell))
        wide = column.width or max(4, left // max(1, len(shared)))
        text.truncate(wide, overflow="ellipsis")
        text.align("right" if column.right else "left", wide)
        line.append_text(Text("  ") if place else Text())
        line.append_text(text)
    return line


def _one_line(text: str) -> str:
    """What others have written, without what would move the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
