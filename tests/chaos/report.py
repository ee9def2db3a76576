"""What a trial has found, as text for a person and as a section of benchmarks/RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import paragraph, quantile, table
from tests.chaos.recoveries import Recovery
from tests.chaos.trial import Outcome, by_kind


def told(outcome: Outcome) -> str:
    return "\n\n".join([_figures(outcome), _deaths(outcome), _faults(outcome), _not_struck(outcome)]).strip()


def _figures(outcome: Outcome) -> str:
    twice, whole = sum(outcome.repeated), outcome.trained
    rows = [
        ["minutes from the first fault to the last end of a run", f"{outcome.seconds / 60:.1f}"],
        ["faults struck", f"{sum(outcome.struck.values())}"],
        ["runs, all completed, with the bytes of undisturbed ones", f"{outcome.runs}"],
        *([f"attempts {name}", f"{number}"] for name, number in sorted(outcome.attempts.items())),
        ["attempts lost that no fault had chosen: a disk was full", f"{outcome.others}"],
        ["accepted writes of attempts, all of the run's holder", f"{outcome.writes:,}"],
        ["looks at the database meanwhile", f"{outcome.looks:,}"],
        ["work repeated", f"{twice:.0f} s beside {whole:.0f} s of training ({_share(twice, whole)})"],
        ["work repeated after one death", _spread(outcome.repeated)],
        ["longest submit", f"{outcome.longest_submit:.1f} s"],
        ["programs started again", ", ".join(f"{name} {sum(ends.values())}" for name, ends in outcome.ends.items())],
        ["workers set aside for it, and trusted again", f"{sum(outcome.trusted.values())}"],
        ["findings", f"{len(outcome.findings.sentences)}"],
    ]
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in outcome.plan.settings.items())
    head = f"{NAMES[outcome.plan.database]}; {settings}; seed {outcome.plan.seed}:"
    return f"{paragraph(head)}\n\n{table(['', ''], rows)}"


NAMES = {"sqlite": "SQLite and the embedded broker", "postgresql": "PostgreSQL and Redis"}


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "of nothing"


def _spread(values: Sequence[float]) -> str:
    return f"p50 {quantile(values, 0.5):.1f} s, max {max(values):.1f} s" if values else "nobody died"


def _deaths(outcome: Outcome) -> str:
    """Seconds from the blow: until it is noticed, and until the run trains again."""
    plain = [one for one in outcome.recoveries if not one.outage and not one.pause]
    groups = {
        **dict(sorted(by_kind(plain).items())),
        "all of these": plain,
        "with an outage or a pause of the run": [one for one in outcome.recoveries if one.outage or one.pause],
    }
    rows = [[name, f"{len(found)}", *_quantiles(found)] for name, found in groups.items() if found]
    if not rows:
        return "No attempt was lost."
    text = (
        "Attempts that were lost, seconds from the blow: until the run is in its queue again, and until it trains. "
        "A run that was lost before makes a pause first, and nothing trains again while the database or the broker "
        f"is away; such deaths are in the last line. {_budget(plain)}"
    )
    return f"{paragraph(text)}\n\n{table(['', '>deaths', '>queued p50', '>max', '>trains p50', '>max'], rows)}"


def _budget(plain: Sequence[Recovery]) -> str:
    if not plain:
        return ""
    trains = [one.trains for one in plain]
    met = quantile(trains, 0.5) < 15 and max(trains) < 30
    return f"The budget of the others, p50 < 15 s and max < 30 s, is {'met' if met else 'NOT met'}."


def _quantiles(found: Sequence[Recovery]) -> list[str]:
    noticed, trains = [one.noticed for one in found], [one.trains for one in found]
    return [f"{value:.1f}" for values in (noticed, trains) for value in (quantile(values, 0.5), max(values))]


def _faults(outcome: Outcome) -> str:
    return paragraph(
        "Struck: " + ", ".join(f"{kind} {number}" for kind, number in sorted(outcome.struck.items())) + "."
    )


def _not_struck(outcome: Outcome) -> str:
    return "\n".join(f"- {kind} was not struck: {why}" for kind, why in sorted(outcome.not_struck.items()))
