"""Datasets: from a spec's words or a file to arrays with a meaning, known by their content."""

from service.datasets.dataset import Dataset, Schema, Task
from service.datasets.labels import Wanted
from service.datasets.sources import BUILT_IN, Asked, built_in, load, read

__all__ = ["BUILT_IN", "Asked", "Dataset", "Schema", "Task", "Wanted", "built_in", "load", "read"]
