"""Runs as one portable file: a zip that anyone can open, and that nobody has to be believed.

    manifest.json                   version, host, and of every other member its size and SHA-256
    12/run.json                     the run, its attempts with their environments, tags, edits, parents
    12/log.json                     the lines of its log, where there are some; since version 2
    12/spec.json                    its spec as it was resolved: `trainyard submit` takes it
    12/metrics.csv, 12/steps.csv    name, epoch or step, value; an empty value is none (NaN)
    12/weights.safetensors          the best weights, where there are some; 12/last.safetensors the last
    datasets/<sha256>.safetensors   the rows that the runs were trained on, each dataset once

What can be large is not compressed, so that a file cannot grow much beyond its size. The same runs make the same bytes.
"""

from service.portable.members import unpacked
from service.portable.reading import Imported, bring
from service.portable.writing import write

__all__ = ["Imported", "bring", "unpacked", "write"]
