"""The pages as the server writes them: whole without a script, and right about what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

import httpx
import pytest

from service.client import Client
from service.settings import Settings
from service.store.tables import Run
from tests.web import served
from tests.yard import Yard, settled


@pytest.fixture(scope="module")
def home() -> Iterator[Yard]:
    """A home with runs in every state, see `settled`."""
    with settled() as there:
        yield there


@pytest.fixture(scope="module")
def browser(home: Yard) -> Iterator[httpx.Client]:
    with served(Client(home.settings)) as browser:
        browser.headers["Accept"] = "text/html"
        yield browser


def text(page: str) -> str:
    """What a person reads, spaces made one."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.replace("<wbr>", "")).split())


class Outline(HTMLParser):
    """What a page must not have: styles and scripts within, handlers, addresses of others, an id twice."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.ids: set[str] = set()
        self.landmarks: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.wrong += [f"{tag} {name}" for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.wrong.append(tag)
        for name in ("src", "href", "action"):
            if (values.get(name) or "").partition("/")[0] in ("http:", "https:"):
                self.wrong.append(f"{tag} {values[name]}")
        if (found := values.get("id")) is not None:
            self.wrong += [f"id {found} twice"] if found in self.ids else []
            self.ids.add(found)
        self.landmarks += [tag] if tag in ("header", "nav", "main") else []
        self.headings += tag == "h1"


PATHS = ["/", "/runs", "/runs?where=x", "/runs?columns=id,seed", *(f"/runs/{number}" for number in range(1, 6)),
         "/runs/1/inside", "/compare", "/compare?run=1&run=2", "/workers", "/datasets",
         "/runs/99", "/login"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_page_keeps_the_policy_and_has_landmarks(browser: httpx.Client, path: str):
    page = browser.get(path)
    assert page.status_code == (404 if path == "/runs/99" else 200)
    outline = Outline()
    outline.feed(page.text)
    assert outline.wrong == []
    assert {"header", "main"} <= set(outline.landmarks)
    assert outline.headings == 1
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def test_the_overview_says_what_trains_what_waits_and_what_failed_why(browser: httpx.Client):
    page = text(browser.get("/").text)
    assert "slots busy 0 / 0 running 1 waiting 1" in page
    assert "night 1" in page
    assert "by no worker" in page
    assert "completed today 1 failed today 1 cancelled today 1" in page
    assert "Run 2 flowers" in page
    assert "diverged in epoch 1" in page


def test_what_ended_today_is_counted_as_the_list_behind_it_shows(home: Yard, browser: httpx.Client):
    with home.client.database.write() as session:
        run = session.get_one(Run, 3)
        ended, run.finished = run.finished, run.finished - timedelta(days=2)
    try:
        page = browser.get("/").text
        tiles = re.findall(r'href="([^"]*)">(completed|failed|cancelled) today</a></dt><dd>(\d+)<', page)
        assert [number for _, _, number in tiles] == ["1", "1", "0"]
        for address, _, number in tiles:
            listed = browser.get(unescape(address)).text
            assert "there is no" not in listed
            assert len(re.findall(r'<tr data-key="\d+"', listed)) == int(number)
    finally:
        with home.client.database.write() as session:
            session.get_one(Run, 3).finished = ended


def test_a_tile_says_that_it_is_a_rate(browser: httpx.Client):
    assert "samples a second" in text(browser.get("/").text)
    assert "samples a second" in text(browser.get("/runs/1").text)


def test_the_table_takes_the_expressions_of_the_command_line(browser: httpx.Client):
    page = browser.get("/runs", params={"where": "state = failed or tag = 'try'", "sort": "id asc"}).text
    assert re.findall(r'<tr data-key="(\d+)"', page) == ["1", "2"]
    assert 'aria-sort="ascending"><a class="sort"' in page
    wrong = browser.get("/runs", params={"where": "val_acuracy > 0.9"}).text
    assert "column 1: there is no field &#39;val_acuracy&#39;; did you mean &#39;val_accuracy&#39;?" in wrong
    assert ">  val_acuracy &gt; 0.9\n  ^^^^^^^^^^^" in wrong
    assert 'aria-invalid="true"' in wrong


def test_chosen_columns_are_the_fields_that_were_asked_for(browser: httpx.Client):
    page = text(browser.get("/runs", params={"columns": "id, tags, seed", "where": "id = 1"}).text)
    assert "Run id tags seed 1 1 try" in page
    assert "there is no field" in text(browser.get("/runs", params={"columns": "optimiser"}).text)


@pytest.mark.parametrize("sort", ["id asc", "finished", "finished&where=id > 0"])  # two have not finished
def test_pages_of_the_table_follow_each_other_without_a_gap_and_lead_back(
    browser: httpx.Client, monkeypatch: pytest.MonkeyPatch, sort: str
):
    monkeypatch.setattr("service.web.pages.runs.PAGE", 2)

    def walk(link: str, name: str) -> list[list[str]]:
        seen = []
        while link and len(seen) < 5:
            page = browser.get(link).text
            seen.append(re.findall(r'<tr data-key="(\d+)"', page))
            found = re.search(f'id="{name}" href="([^"]*)"', page)
            link = found[1].replace("&amp;", "&") if found else ""
            assert not found or "select=3" in link
        return seen

    there = walk(f"/runs?sort={sort}&select=3", "next")
    assert [len(page) for page in there] == [2, 2, 1]
    assert sorted(run for page in there for run in page) == ["1", "2", "3", "4", "5"]
    assert walk(f"/runs?sort={sort}&select=3&after={there[1][-1]}", "previous") == there[::-1]
    assert walk(f"/runs?sort={sort}&before={there[0][1]}", "previous") == there[:1]  # the first page, made whole


def test_a_click_on_a_head_turns_its_order_round_and_then_leaves_it(browser: httpx.Client):
    orders, link = [], "/runs"
    for _ in range(3):
        page = browser.get(link).text
        found = re.search(r'href="(/runs\?[^"]*)">Time<', page)
        assert found is not None
        link = found[1].replace("&amp;", "&")
        orders.append(re.search(r'aria-sort="(\w+)"><a class="sort" href="[^"]*">Time', page))
    assert [order[1] if order else None for order in orders] == [None, "ascending", "descending"]
    assert "sort" not in link


def test_a_run_shows_its_curves_network_spec_and_attempts(browser: httpx.Client):
    page = browser.get("/runs/1").text
    words = text(page)
    assert "run 1 completed on ada after 3 epochs" in words
    assert page.count("<figure") >= 3
    assert re.search(r'<path class="c1" d="M[\d.]+ [\d.]+L', page)
    assert re.search(r"input 4 dense .*?units=", words)
    assert "source: flowers.csv" in words or "source:" in words
    assert "loss by step" in words
    assert "1 to 3" in words
    assert "diverged in epoch 1" in text(browser.get("/runs/2").text)
    assert "no worker serves queue &#39;night&#39;" in browser.get("/runs/5").text


def test_a_run_shows_its_log_with_what_matters_marked_in_words(browser: httpx.Client):
    page = browser.get("/runs/2").text
    log = text(page[page.index('id="log"') : page.index('id="spec-head"')])
    assert re.search(r"attempt 1 [0-9:]{8} attempt 1 begins: worker ada on .* error failed: diverged in epoch 1", log)
    whole = browser.get("/runs/2/log")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert re.search(r"^[0-9: -]{19}  error: failed: diverged in epoch 1", whole.text, re.MULTILINE)
    assert "No line yet." in browser.get("/runs/5").text
    assert browser.get("/runs/99/log").status_code == 404


def test_what_can_be_done_with_a_run_depends_on_its_state(browser: httpx.Client):
    def actions(run: int) -> list[str]:
        return re.findall(r'data-action="(\w+)"', browser.get(f"/runs/{run}").text)

    assert [actions(run) for run in (1, 2, 3)] == [[], ["retry"], ["retry"]]
    assert [actions(run) for run in (4, 5)] == [["cancel", "pause"]] * 2


def test_inside_shows_what_a_network_confuses_and_how_its_weights_are_spread(browser: httpx.Client):
    page = browser.get("/runs/1/inside").text
    assert "Confusion" in page
    assert "1.dense.weight" in page
    assert page.count("<svg") > 3
    assert 'aria-label="gradient of 1.dense.weight: mean' in page
    assert "training rows, by the weights as they were kept" in page
    refused = browser.get("/runs/5/inside")
    assert refused.status_code == 409
    assert "run 5 is queued and has no weights" in refused.text


def test_a_comparison_shows_differences_and_best_values(browser: httpx.Client):
    words = text(browser.get("/compare?run=1&run=2").text)
    assert "optimizer.adam.learning_rate" in words
    assert "1e+30" in words
    for path in ("/compare?run=1", "/compare?run=1&run=1"):
        assert "You named one run, and there is nothing to compare it with. Select two runs or more" in text(
            browser.get(path).text
        )
    assert "there is no run 99" in text(browser.get("/compare?run=1&run=99").text)


def test_a_comparison_says_when_more_runs_fit(browser: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    said = "More runs fit; these are the newest"
    assert f"hidden>{said}" in browser.get("/compare?where=id<4").text
    monkeypatch.setattr("service.web.pages.compare.MOST_SELECTED", 2)
    page = browser.get("/compare?where=id<4").text
    assert f"data-live>{said} 2." in page
    assert re.findall(r'<th scope="col" class="n"><a href="/runs/(\d+)"', page) == ["2", "3"]
    assert f"hidden>{said}" in browser.get("/compare?where=id<3").text


@pytest.mark.parametrize("number", ["abc", "-1", "1e9", "99999999999", "²"])
def test_what_is_no_number_of_a_run_is_told_as_a_run_that_is_not_there(browser: httpx.Client, number: str):
    for path in ("/runs/{}", "/runs/{}/inside", "/runs/{}/log", "/compare?run=1&run={}", "/runs?after={}"):
        answer = browser.get(path.format(number))
        assert answer.status_code == 404
        assert f"there is no run {number};" in answer.text


def test_texts_of_people_are_shown_and_never_run(home: Yard, browser: httpx.Client):
    evil = "<script>alert(1)</script>"
    home.client.edit(3, name=evil, note=evil)
    for path in ("/", "/runs", "/runs/3", "/compare?run=1&run=3"):
        page = browser.get(path).text
        assert evil not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_database_that_is_away_is_told_as_a_page(tmp_path):
    client = Client(Settings(home=tmp_path, database_url="postgresql://ada:hunter2@127.0.0.1:1/yard"))
    with served(client) as browser:
        answer = browser.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert "That cannot be shown" in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/static/style.css", "/static/page.js", "/static/icon.svg"])
def test_files_are_served_with_their_types(browser: httpx.Client, path: str):
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert browser.get(path).headers["Content-Type"].startswith(kinds[path.rpartition(".")[2]])
    assert browser.get("/static/../app.py").status_code == 404
    assert browser.get("/static/%2e%2e%2fapp.py").status_code == 404
