"""What the operations share: parameters, and the pages that lists come in."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

MOST_RUNS = 2**31 - 1
MOST_AT_ONCE = 1000  # runs of a page, or named in one request
LONGEST = 1_800  # characters of an expression in an address: three of them, each escaped, fit into the 64 KiB of one
LONGEST_SENT = 4_000  # of one in the body of a request

RunPath = Annotated[int, Path(ge=0, le=MOST_RUNS, description="the run's number", examples=[1])]
Where = Annotated[
    str | None,
    Query(max_length=LONGEST, description="only runs that this expression fits", examples=["val_accuracy > 0.9"]),
]
Specs = Annotated[bool, Query(description="each run with its spec, as it was resolved")]
Limit = Annotated[int, Query(ge=1, le=MOST_AT_ONCE, description="at most so many")]
