"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import InputError


def write_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place, then put it there. Raises InputError when it cannot be written there."""
    staged = path.with_name(path.name + ".part")
    try:
        with staged.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
