"""The datasets of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.client import Client
from service.display import age, shortened, size
from service.store.records import DatasetRecord
from service.web.pages.run import shape
from service.web.pages.runs import address

NAMES = 60  # characters of the classes' or targets' names


@dataclass(frozen=True)
class Set:
    record: DatasetRecord
    task: str
    rows: int | None
    features: str
    labels: str
    size: str
    added: str
    link: str


def values(client: Client) -> dict[str, Any]:
    return {"datasets": [_set(record) for record in client.datasets()]}


def _set(record: DatasetRecord) -> Set:
    about = record.about
    image, classes, targets = (tuple(about.get(name, ())) for name in ("image_shape", "classes", "targets"))
    features = f"images, {shape(image)}" if image else f"{about['width']:,}" if "width" in about else "-"
    names = shortened(", ".join(classes or targets), NAMES)
    labels = f"{len(classes)} classes: {names}" if classes else names or "-"
    runs = address({"where": f"dataset = '{record.sha256}'"})
    return Set(
        record, about.get("task", "-"), about.get("rows"), features, labels, size(record.bytes), age(record.created),
        runs,
    )  # fmt: skip
