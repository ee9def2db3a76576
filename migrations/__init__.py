"""Alembic migrations: how a database of any earlier schema becomes one of today's."""
