"""Specs beside their runs, their keys as rows; notes, parents, edits; metrics of steps; indexes for every order."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

AT_ONCE = 1000  # runs
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Sorted = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
PARENT = """
    UPDATE runs SET fine_tuned_from = (
        SELECT number FROM spec_keys JOIN paths ON paths.id = path_id WHERE path = 'begin.run' AND run_id = runs.id
    )
"""


def upgrade() -> None:
    specs = _create_specs()
    paths, spec_keys = _create_spec_keys()
    _move_specs(specs, paths, spec_keys)
    _index_spec_keys()
    _rework_runs()
    _free_metrics()
    op.create_index("ix_summaries_last", "summaries", ["name", "last", "run_id"])
    op.create_index("ix_summaries_best", "summaries", ["name", "best", "run_id"])
    op.create_table(
        "edits",
        sa.Column("id", Big, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("after", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_edits_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
    )
    op.create_index(op.f("ix_edits_run_id"), "edits", ["run_id"])
    op.create_table(
        "step_metrics",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "name", "step", name=op.f("pk_step_metrics")),
        sqlite_with_rowid=False,
    )


def _create_specs() -> sa.Table:
    return op.create_table(
        "specs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.Column("origin", Json, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_specs_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_specs")),
        sa.UniqueConstraint("uid", name=op.f("uq_specs_uid")),
    )


def _create_spec_keys() -> tuple[sa.Table, sa.Table]:
    paths = op.create_table(
        "paths",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paths")),
        sa.UniqueConstraint("path", name=op.f("uq_paths_path")),
    )
    spec_keys = op.create_table(
        "spec_keys",
        sa.Column("path_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("text", Sorted, nullable=True),
        sa.Column("truth", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("path_id", "run_id", name=op.f("pk_spec_keys")),
        sqlite_with_rowid=False,
    )
    return paths, spec_keys


def _move_specs(specs: sa.Table, paths: sa.Table, spec_keys: sa.Table) -> None:
    bind = op.get_bind()
    runs = sa.table("runs", sa.column("id"), sa.column("spec", Json))
    numbers: dict[str, int] = {}
    last = 0
    while rows := bind.execute(sa.select(runs).where(runs.c.id > last).order_by(runs.c.id).limit(AT_ONCE)).all():
        last = rows[-1].id
        uids = [{"run_id": row.id, "uid": uuid4().hex, "document": row.spec, "origin": {}} for row in rows]
        bind.execute(specs.insert(), uids)
        keys = [(row.id, key) for row in rows for key in _keys(row.spec)]
        for path in sorted({path for _, (path, *_) in keys} - numbers.keys()):
            numbers[path] = len(numbers) + 1
            bind.execute(paths.insert(), {"id": numbers[path], "path": path})
        bind.execute(
            spec_keys.insert(),
            [
                {"path_id": numbers[path], "run_id": run_id, "number": number, "text": text, "truth": truth}
                for run_id, (path, number, text, truth) in keys
            ],
        )
    if numbers and bind.dialect.name == "postgresql":
        bind.execute(sa.text("SELECT setval('paths_id_seq', :last)"), {"last": len(numbers)})


def _free_metrics() -> None:
    """Take the foreign key away, which SQLite does not do with a table that is there."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("fk_metrics_run_id"), "metrics", type_="foreignkey")
        return
    op.create_table(
        "new_metrics",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "name", "epoch", name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO new_metrics SELECT run_id, name, epoch, value FROM metrics ORDER BY run_id, name, epoch")
    op.drop_table("metrics")
    op.rename_table("new_metrics", "metrics")


def _index_spec_keys() -> None:
    for kind in ("number", "text"):
        there = sa.text(f"{kind} IS NOT NULL")
        columns = ["path_id", kind, "run_id"]
        op.create_index(f"ix_spec_keys_{kind}", "spec_keys", columns, sqlite_where=there, postgresql_where=there)


def _keys(document: dict[str, Any], path: str = "") -> Iterator[tuple[str, float | None, str | None, bool | None]]:
    """As `service.store.spec_keys` made them for this schema."""
    for key, value in document.items():
        yield from _key(f"{path}.{key}" if path else key, value)


def _key(path: str, value: Any) -> Iterator[tuple[str, float | None, str | None, bool | None]]:
    if isinstance(value, bool):
        yield path, None, None, value
    elif isinstance(value, int | float):
        yield path, float(value), None, None
    elif isinstance(value, str):
        yield path, None, value, None
    elif isinstance(value, dict):
        yield path, None, None, None
        if len(value) == 1:
            yield f"{path} (name)", None, next(iter(value)), None
        yield from _keys(value, path)
    elif isinstance(value, list):
        yield path, None, None, None
        yield f"{path} (length)", float(len(value)), None, None
        for number, inner in enumerate(value):
            yield from _key(f"{path}[{number}]", inner)


def _rework_runs() -> None:
    op.drop_column("runs", "spec")
    op.add_column("runs", sa.Column("note", sa.String(), nullable=True))
    # A parent may be removed while its number stays: a column without a foreign key, so it has to be made anew.
    op.add_column("runs", sa.Column("parent", sa.Integer(), nullable=True))
    op.execute("UPDATE runs SET parent = cloned_from WHERE cloned_from IS NOT NULL")
    op.drop_column("runs", "cloned_from")
    op.alter_column("runs", "parent", new_column_name="cloned_from")
    op.add_column("runs", sa.Column("fine_tuned_from", sa.Integer(), nullable=True))
    op.execute(PARENT)
    op.add_column("runs", sa.Column("replay_of", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("imported_from", sa.String(), nullable=True))
    if op.get_context().dialect.name == "postgresql":
        for name in ("name", "queue", "worker"):
            op.alter_column("runs", name, type_=Sorted)
    for name in ("created", "finished", "name", "queue", "worker"):
        op.create_index(f"ix_runs_{name}", "runs", [name, "id"])
