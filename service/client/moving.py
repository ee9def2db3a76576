"""Move runs: into a file, out of one, over to MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from service.client.connection import Connection
from service.client.expressions import condition_of
from service.errors import InputError
from service.store import history, transitions

if TYPE_CHECKING:
    from service.portable import Imported


class NothingToExport(InputError):
    def __init__(self) -> None:
        super().__init__("there is no run to export")


def called(file: str | Path | BinaryIO) -> str:
    """What errors call the file."""
    return Path(file).name if isinstance(file, str | Path) else "the file"


def opened(file: str | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    """The file, for reading; one that is open stays so. Raises InputError."""
    if not isinstance(file, str | Path):
        return nullcontext(file)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None


class Moving(Connection):
    """The part of a client that exports and imports runs."""

    def ended(self, where: str | None = None) -> list[int]:
        """The numbers of all runs that fit the expression, if there is one, and have ended, the oldest first."""
        with self.database.read() as session:
            found = history.fitting(session, condition_of(where))
        return [run_id for run_id, state in found.items() if state.ended]

    def export_runs(self, file: str | Path | BinaryIO, run_ids: Sequence[int], *, with_data: bool = True) -> None:
        """Write ended runs into one file that `import_runs` of another yard reads: all the store has of them.

        `file` is its path, or one that is open for writing. `with_data`: with the datasets they were trained on, which
        a yard that has them does not need.
        """
        from service import portable
        from service.files import write_file

        self._check_ended(run_ids)
        order = list(dict.fromkeys(run_ids))
        if isinstance(file, str | Path):
            write_file(Path(file), lambda out: portable.write(self.database, out, order, with_data=with_data))
        else:
            portable.write(self.database, file, order, with_data=with_data)

    def import_runs(self, file: str | Path | BinaryIO, *, name: str | None = None) -> list[Imported]:
        """Store the runs of an exported file under new numbers; one that is here already stays as it is.

        `file` is its path, or one that is open; `name` is what errors call it. Raises InputError, having stored
        nothing, if anything in the file is wrong.
        """
        from service import portable

        with opened(file) as archive:
            return portable.bring(self.database, archive, name or called(file))

    def export_mlflow(self, folder: str | Path, run_ids: Sequence[int], *, experiment: str = "trainyard") -> None:
        """Write ended runs into a folder that MLflow reads as its file store, beside what is in there."""
        from service import mlruns

        self._check_ended(run_ids)
        mlruns.write(mlruns.stored(self.database, list(dict.fromkeys(run_ids))), Path(folder), experiment)

    def _check_ended(self, run_ids: Sequence[int]) -> None:
        if not run_ids:
            raise NothingToExport
        with self.database.read() as session:
            states = history.states(session, run_ids)
        for run_id in run_ids:
            if run_id not in states:
                raise transitions.NoSuchRun(run_id)
            if not states[run_id].ended:
                raise transitions.WrongState(run_id, states[run_id], "exported", "completed, failed or cancelled")
