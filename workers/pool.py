"""The pool of slots, changed from inside the Celery worker, which alone knows its true size.

Celery's own `pool_grow` and `pool_shrink` take differences: whoever sends them from outside, by what the worker last
answered, overshoots while slots still start, and ends one slot twice while it still stops. The pool then believes it
has none left and takes no more work.
"""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command


@control_command(args=[("slots", int)], signature="SLOTS")  # type: ignore[untyped-decorator]  # Celery has no types
def trainyard_slots(state: Any, slots: int) -> dict[str, int]:
    """Move the pool towards so many slots and return how many it has. A busy slot is never ended: ask again later."""
    consumer, pool = state.consumer, state.consumer.pool
    before = pool.num_processes
    if slots > before:
        pool.grow(slots - before)
    elif slots < before:
        _shrink(pool._pool, before - slots)
    if change := pool.num_processes - before:
        consumer._update_prefetch_count(change)  # as Celery's own commands do
    return {"slots": pool.num_processes}


def _shrink(pool: Any, number: int) -> None:
    """billiard's `Pool.shrink`, but a slot that is told to end already is not told, and counted, again."""
    idle = [worker for worker in pool._iterinactive() if not worker._controlled_termination]
    for worker in idle[:number]:
        pool._processes -= 1
        if pool._putlock:
            pool._putlock.shrink()
        worker.terminate_controlled()
        pool.on_shrink(1)
