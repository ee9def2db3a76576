"""A small disk of its own for what is stored, so that it can be filled: a tmpfs, which only root may mount."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

SIZE = "2g"  # of memory, of which only what is used is taken
PAGE = 4096


class NoMount(Exception):
    """This machine lets us mount nothing."""


class Disk:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "chaos", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or error
            raise NoMount(f"no small disk can be mounted: {str(said).strip()}") from None
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take every byte that is left, in ever smaller pieces: others write meanwhile, and the room is an estimate."""
        piece = self._room()
        with self._ballast.open("wb") as file:
            while piece >= PAGE:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def _room(self) -> int:
        found = os.statvfs(self.folder)
        return int(found.f_bavail * found.f_bsize)

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True, capture_output=True)
