"""The truth about runs: tables, transitions, history and blobs, on SQLite or PostgreSQL.

The contract:

- A run's state changes only in `transitions`, each change one guarded statement: its WHERE clause is the lock, and no
  row returned means that another one won.
- The attempt number fences every write of an attempt: a worker whose run was taken over can write nothing.
- The clock is the database's (`clock.now`); nobody compares it with a machine's own.
- Functions take a `Session` and never commit; the edge (`Database.write`) does, once. Rows stay inside the session,
  frozen records leave it.
"""
