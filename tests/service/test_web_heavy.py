"""What takes a core or room on the disk is done by few at once, and the rest of the yard answers meanwhile."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.client import Client
from service.pictures import NoPicture, data_url, image_of
from service.web import heavy
from service.web.api import moving
from service.web.heavy import WAITING, Busy, Few, Judges
from tests.servers import eventually
from tests.web import served

PICTURE = np.arange(12, dtype=np.uint8).reshape(3, 4)


class Slow:
    """A client that looks inside a network once it may."""

    def __init__(self, picture: np.ndarray = PICTURE) -> None:
        self.may, self.asked, self.picture, self.sha256 = Event(), 0, picture, cast(str | None, "a" * 64)

    def run(self, run_id: int) -> Any:
        return SimpleNamespace(weights_sha256=self.sha256)

    def inside(self, run_id: int) -> Any:
        self.asked += 1
        assert self.may.wait(20)
        return SimpleNamespace(filters=(self.picture,), mistakes=())


def test_few_have_a_turn_and_few_wait_for_one():
    few, over = Few(2, "tests"), Event()

    def work() -> str:
        try:
            with few.turn():
                over.wait(20)
        except Busy as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(2 + WAITING + 3) as pool:
        asked = [pool.submit(work) for _ in range(2 + WAITING + 3)]
        eventually(lambda: sum(future.done() for future in asked) == 3)  # those who are too many, at once
        over.set()
        told = [future.result() for future in asked]
    assert sorted(told) == ["done"] * (2 + WAITING) + ["the yard tests just now; ask again in a moment"] * 3
    with few.turn():
        pass


def test_who_waits_too_long_gives_his_place_back(monkeypatch):
    monkeypatch.setattr(heavy, "PATIENCE_SECONDS", 0.01)
    few = Few(1, "tests")
    with few.turn():
        for _ in range(WAITING + 2):
            with pytest.raises(Busy), few.turn():
                pass
    with few.turn():
        pass


def test_a_network_that_many_look_into_is_read_by_those_who_have_a_turn_alone():
    slow = Slow()
    judges = Judges(cast(Client, slow))
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(judges.inside, 1) for _ in range(6)]
        eventually(lambda: slow.asked == heavy.EVALUATIONS)
        slow.may.set()
        assert all(future.result().filters for future in found)
    judges.inside(1)
    assert slow.asked == heavy.EVALUATIONS


def test_not_all_networks_are_remembered(monkeypatch):
    slow = Slow(np.zeros((2000, 3000), np.uint8))
    slow.may.set()
    judges = Judges(cast(Client, slow))
    judges.inside(1)
    judges.inside(1)
    assert slow.asked == 2
    slow.picture, slow.sha256 = PICTURE, None  # of a checkpoint, which is followed by others
    judges.inside(1)
    judges.inside(1)
    assert slow.asked == 4
    slow.sha256, slow.asked = "a" * 64, 2
    for run in (*range(heavy.REMEMBERED + 1), 0):
        judges.inside(run)
    assert slow.asked == 2 + heavy.REMEMBERED + 2
    judges.inside(heavy.REMEMBERED)
    assert slow.asked == 2 + heavy.REMEMBERED + 2


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_exports_that_nobody_takes_are_few(database, yard, tmp_path, monkeypatch):
    from service.settings import Settings

    yard.finish(yard.claimed())
    monkeypatch.setattr(moving, "UNSENT", 1)
    client = Client(Settings(home=tmp_path, database_url=database.url, broker_url="redis://127.0.0.1:1/0"))
    monkeypatch.setattr(type(client), "export_runs", lambda self, file, *_, **__: file.write(b"x" * 2**26))
    body = {"runs": [1]}
    with served(client) as browser:
        with browser.stream("POST", "/api/v1/runs/export", json=body) as first:
            assert first.status_code == 200
            refused = browser.post("/api/v1/runs/export", json=body)
            assert (refused.status_code, "the yard sends other exports just now" in refused.text) == (503, True)
        eventually(lambda: browser.post("/api/v1/runs/export", json=body).status_code == 200)


def test_a_picture_comes_back_as_it_was():
    for image in (PICTURE, np.arange(36, dtype=np.uint8).reshape(3, 4, 3)):
        back = image_of(data_url(image))
        assert (back.dtype, back.tolist(), back.flags.writeable) == (image.dtype, image.tolist(), True)


@pytest.mark.parametrize(
    "sent", [b"", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", b"GIF89a"]
)
def test_nothing_but_png_is_read(sent):
    with pytest.raises(NoPicture, match="what was sent as a picture is none"):
        image_of("data:image/png;base64," + base64.b64encode(sent).decode())
