"""What must not be: every check leaves it here, and the first one ends the trial."""

from __future__ import annotations

import threading


class Findings:
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.runs: set[int] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def add(self, sentence: str, run_id: int | None = None) -> None:
        """Leave a finding, each only once."""
        with self._lock:
            if run_id is not None:
                self.runs.add(run_id)
            if sentence not in self.sentences:
                self.sentences.append(sentence)
                print(f"FINDING: {sentence}", flush=True)
