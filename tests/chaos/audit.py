"""Triggers that note every write of an attempt: only the database itself sees whose write it has accepted.

They are installed in a trial's database alone. A write of an attempt's progress or of its end is noted with the number
of the attempt that held the run at that moment; a metric is noted only when it comes while nobody trains the run.
"""

from __future__ import annotations

from sqlalchemy import text

from service.store.database import Database
from tests.chaos.findings import Findings

NOTE = """INSERT INTO audit (run_id, attempt, holder, what, was)
    VALUES (NEW.run_id, {attempt}, (SELECT attempt FROM runs WHERE id = NEW.run_id), '{what}', {was})"""
PROGRESS = NOTE.format(attempt="NEW.number", what="progress", was="OLD.outcome")
END = NOTE.format(attempt="NEW.number", what="end", was="OLD.outcome")
METRIC = NOTE.format(attempt="-1", what="metric", was="NEW.name")
UNHELD = "NOT EXISTS (SELECT 1 FROM runs WHERE id = NEW.run_id AND state = 'running')"

SQLITE = [
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER, attempt INTEGER, holder INTEGER, what TEXT, was TEXT
    )""",
    f"CREATE TRIGGER audit_progress AFTER UPDATE OF epoch, samples, seconds ON attempts BEGIN {PROGRESS}; END",
    f"CREATE TRIGGER audit_end AFTER UPDATE OF outcome ON attempts BEGIN {END}; END",
    f"CREATE TRIGGER audit_metric AFTER INSERT ON metrics WHEN {UNHELD} BEGIN {METRIC}; END",
]

FUNCTION = """CREATE FUNCTION audit_{name}() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN {condition} {note}; {end} RETURN NULL; END $$"""
POSTGRESQL = [
    """CREATE TABLE audit (
        id BIGSERIAL PRIMARY KEY, run_id BIGINT, attempt INTEGER, holder INTEGER, what TEXT, was TEXT
    )""",
    FUNCTION.format(name="progress", condition="", note=PROGRESS, end=""),
    FUNCTION.format(name="end", condition="", note=END, end=""),
    FUNCTION.format(name="metric", condition=f"IF {UNHELD} THEN", note=METRIC, end="END IF;"),
    """CREATE TRIGGER audit_progress AFTER UPDATE OF epoch, samples, seconds ON attempts
        FOR EACH ROW EXECUTE FUNCTION audit_progress()""",
    "CREATE TRIGGER audit_end AFTER UPDATE OF outcome ON attempts FOR EACH ROW EXECUTE FUNCTION audit_end()",
    "CREATE TRIGGER audit_metric AFTER INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION audit_metric()",
]


def install(database: Database) -> None:
    with database.write() as session:
        for statement in SQLITE if database.file is not None else POSTGRESQL:
            session.execute(text(statement))


def check(database: Database, findings: Findings) -> int:
    """Judge every write that was accepted; returns how many there were."""
    with database.read() as session:
        rows = session.execute(text("SELECT run_id, attempt, holder, what, was FROM audit ORDER BY id")).all()
        trained = session.execute(text("SELECT run_id, number FROM attempts WHERE epoch IS NOT NULL")).all()
    latest: dict[int, int] = {}
    for run_id, attempt, holder, what, was in rows:
        if what == "metric":
            findings.add(f"run {run_id}: a point of {was} was accepted while nobody trained the run", run_id)
            continue
        if attempt != holder:
            findings.add(f"run {run_id}: attempt {attempt} wrote its {what} while attempt {holder} held it", run_id)
        if was is not None:
            findings.add(f"run {run_id}: attempt {attempt} wrote its {what} after its end ({was})", run_id)
        if attempt < latest.get(run_id, 0):
            findings.add(f"run {run_id}: attempt {attempt} wrote after attempt {latest[run_id]}", run_id)
        latest[run_id] = max(attempt, latest.get(run_id, 0))
    noted = {(run_id, attempt) for run_id, attempt, _, what, _ in rows if what == "progress"}
    for run_id, number in trained:
        if (run_id, number) not in noted:
            findings.add(f"run {run_id}: attempt {number} has epochs that no trigger saw: the audit is broken", run_id)
    return len(rows)
