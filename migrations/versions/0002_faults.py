"""Pausing, a checkpoint in reserve, exit signals, workers that are set aside, clones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("runs", sa.Column("wish", sa.String(), nullable=True))
    op.execute("UPDATE runs SET wish = 'cancel' WHERE cancel_requested AND state = 'running'")
    op.drop_column("runs", "cancel_requested")
    op.add_column("runs", sa.Column("lost_by", sa.String(), nullable=True))
    _add_pointer("cloned_from", sa.Integer(), "runs")
    _add_pointer("previous_checkpoint_id", Big, "blobs")
    op.create_index(op.f("ix_runs_previous_checkpoint_id"), "runs", ["previous_checkpoint_id"], unique=False)
    op.add_column("attempts", sa.Column("exit_signal", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("set_aside", sa.String(), nullable=True))
    op.add_column("workers", sa.Column("trusted", sa.Double(), nullable=True))


def _add_pointer(name: str, kind: sa.types.TypeEngine[int], table: str) -> None:
    """A foreign key of runs: SQLite takes it with its column only, PostgreSQL also by a name."""
    if op.get_context().dialect.name == "sqlite":
        op.add_column("runs", sa.Column(name, kind, sa.ForeignKey(f"{table}.id")), inline_references=True)
    else:
        op.add_column("runs", sa.Column(name, kind, nullable=True))
        op.create_foreign_key(op.f(f"fk_runs_{name}"), "runs", table, [name], ["id"])
