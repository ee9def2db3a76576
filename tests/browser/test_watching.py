"""What a person sees of a yard in a browser, and does there."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect

from service.client import Client
from service.store import transitions
from service.store.logs import Line
from service.store.tables import Level
from service.store.transitions import Progress
from service.yard import _listen, _web
from tests.yard import TIMEOUT, Yard, long_epochs
from tests.yard import yard as a_yard

expect.set_options(timeout=30_000)
LOOKED = """new Promise(done => {
    document.addEventListener("looked", () => done(), { once: true });
    document.dispatchEvent(new Event("changed"));
})"""
UNTOUCHED = "window.untouched === true"
SEEN = """seen => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => !seen });
    document.dispatchEvent(new Event("visibilitychange"));
}"""  # a tab behind another, which a browser without a window does not have


def visit(page: Page, address: str) -> None:
    """Open a page and mark it, so that a test can tell whether it was loaded again; returns once it is live."""
    page.goto(address)
    page.evaluate("window.untouched = true")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_a_run_that_is_submitted_appears_and_is_watched_to_its_end(yard: Yard, url: str, page: Page):
    visit(page, url)
    run = yard.client.submit(yard.spec(name="seen", epochs=long_epochs(4.0)))
    row = page.locator(f"#training tr[data-key='{run.id}']")
    expect(row).to_contain_text("seen")
    assert page.evaluate(UNTOUCHED)
    row.get_by_role("link").click()
    page.evaluate("window.untouched = true")
    curve = page.locator("#curves path.c1").first
    expect(curve).to_have_attribute("d", re.compile("M.*L"))
    log = page.get_by_role("region", name="Log, the newest line last")
    expect(log).to_contain_text("epoch 1/")
    before = curve.get_attribute("d")
    expect(curve).not_to_have_attribute("d", before or "")
    expect(page.locator("#head .state")).to_have_text("completed")
    expect(page.locator("#spoken")).to_have_text(f"Run {run.id} is completed")
    expect(log.locator("li").last).to_contain_text("completed")
    assert log.evaluate("log => Math.abs(log.scrollTop) < 2")  # still at its end
    expect(page.locator("#why")).to_contain_text(f"run {run.id} completed")
    page.locator("#inside").scroll_into_view_if_needed()
    expect(page.get_by_role("region", name="Confusion matrix")).to_be_visible()
    expect(page.locator(".pictures.small img")).to_have_count(32)
    assert page.evaluate(UNTOUCHED)


def test_nothing_moves_while_a_page_is_live(yard: Yard, url: str, page: Page):
    run = yard.client.submit(yard.spec(name="still", epochs=100_000))
    yard.trains(run.id)
    page.add_init_script(
        "window.shifts = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())"
        " shifts.push(entry.value); }).observe({ type: 'layout-shift', buffered: true });"
    )
    places = {"/": "#training .of", "/runs": f"tr[data-key='{run.id}'] .of", "/workers": ".slot .of"}
    for path, place in (places | {f"/runs/{run.id}": "#glance dd"}).items():
        visit(page, url + path)
        page.evaluate("shifts.length = 0")
        shown = page.locator(place).first
        before = shown.text_content() or ""
        expect(shown).not_to_have_text(before)
        assert page.evaluate("shifts.reduce((one, other) => one + other, 0)") < 0.01, path
    yard.client.cancel(run.id)


def ask(page: Page, button: Locator, words: str) -> str:
    """Press a button, see what is asked, agree, and return what is told then."""
    button.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(words)
    dialog.get_by_role("button", name=words.split()[0], exact=True).click()
    told = page.locator("#ask-told")
    expect(told).not_to_have_text(re.compile("^$|Asking"))
    answer = told.text_content() or ""
    expect(dialog.get_by_role("button")).to_have_text(["Close"])  # a second click would ask again
    dialog.get_by_role("button", name="Close").click()
    return answer


def test_a_run_is_cancelled_after_one_question_and_the_page_says_what_became_of_it(yard: Yard, url: str, page: Page):
    run = yard.client.submit(yard.spec(name="doomed", epochs=100_000))
    yard.trains(run.id)
    visit(page, f"{url}/runs/{run.id}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Not now").click()
    assert yard.client.run(run.id).wish is None
    told = ask(page, page.get_by_role("button", name="Cancel"), f"Cancel run {run.id}?")
    assert told == f"Run {run.id} is cancelled now."
    assert yard.client.run(run.id).state == "cancelled"
    expect(page.locator("#head .state")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert page.evaluate(UNTOUCHED)


def test_what_several_runs_refuse_is_told_beside_what_was_done(yard: Yard, url: str, page: Page):
    [ended] = yard.completed(yard.client.submit(yard.spec(name="mixed", epochs=2)).id)
    waits = yard.client.submit(yard.spec(name="mixed", epochs=2), queue="nobody").id
    visit(page, f"{url}/runs?where=name+%3D+mixed&select={ended.id},{waits}")
    told = ask(page, page.get_by_role("button", name="Cancel"), "Cancel 2 runs?")
    assert "1 is cancelled now" in told
    assert f"run {ended.id} is completed" in told


def test_a_worker_is_scaled_and_drained(yard: Yard, url: str, page: Page):
    program = yard.worker("spare", queues="spare")
    visit(page, f"{url}/workers")
    spare = page.locator("li[data-key='spare']")
    spare.get_by_role("button", name="Scale").click()
    slots = page.get_by_role("spinbutton", name="Slots")
    slots.fill("2")
    slots.press("Enter")
    expect(page.locator("#ask-told")).to_have_text("Worker spare was asked for 2 slots.")
    slots.fill("3")
    slots.press("Enter")  # which asks no second time
    expect(page.locator("#ask-told")).to_have_text("Worker spare was asked for 2 slots.")
    page.get_by_role("button", name="Close").click()
    expect(spare.locator(".slot")).to_have_count(2)
    told = ask(page, spare.get_by_role("button", name="Drain"), "Drain worker spare?")
    assert told == "Worker spare finishes what it trains and ends."
    assert program.wait(TIMEOUT) == 0
    expect(spare).to_have_count(0)
    expect(page.locator("#away")).to_contain_text("spare")
    assert page.evaluate(UNTOUCHED)


def test_runs_are_selected_over_pages_and_compared(yard: Yard, url: str, page: Page):
    runs = yard.completed(*(yard.client.submit(yard.spec(name="pair", epochs=3, seed=seed)).id for seed in (1, 2)))
    visit(page, f"{url}/runs?where=name+%3D+pair")
    for run in runs:
        page.get_by_role("checkbox", name=f"Select run {run.id}", exact=True).check()
    expect(page.locator("#count")).to_have_text("2 selected")
    page.get_by_role("link", name="Time").click()
    expect(page.locator("th[aria-sort='ascending']")).to_have_text("Time")
    expect(page.locator("#count")).to_have_text("2 selected")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#differences th[scope='col'] a")).to_have_text([str(run.id) for run in runs])
    expect(page.get_by_role("row", name=re.compile("^seed"))).to_contain_text("1")


def test_a_wrong_expression_is_shown_with_the_mark_at_its_place(url: str, page: Page):
    visit(page, f"{url}/runs")
    page.get_by_label("Only runs that fit").fill("state = done")
    page.keyboard.press("Enter")
    wrong = page.get_by_role("alert")
    expect(wrong).to_contain_text("column 9")
    assert "  state = done\n          ^^^^" in (wrong.text_content() or "")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_page_is_wider_than_its_window(yard: Yard, url: str, page: Page, width: int):
    [run] = yard.completed(yard.client.submit(yard.spec(name="a-name-" * 10, epochs=3)).id)
    page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/",
        "/runs",
        f"/runs/{run.id}",
        f"/runs/{run.id}/inside",
        "/compare?run=1&run=2",
        "/workers",
        "/datasets",
    ):
        page.goto(url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_on_a_phone_nothing_is_cut_or_squeezed(yard: Yard, page: Page):
    settings = yard.settings.model_copy(update={"require_tokens": True})
    secret, _ = yard.client.create_token("a-person-of-a-long-name", "viewer")
    run = yard.client.submit(yard.spec(name="wide", epochs=2), overrides=["optimizer.adam.learning_rate=1e30"])
    assert yard.ended(run.id).state == "failed"
    yard.client.edit(run.id, name="x" * 200)
    yard.client.edit(run.id, name="narrow")
    page.set_viewport_size({"width": 390, "height": 800})
    with served(Client(settings), 0) as address:
        page.goto(f"{address}/login")
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Overview")).to_be_attached()
        page.goto(f"{address}/runs/{run.id}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert box(page, ".side")["bottom"] <= box(page, "header nav")["top"]
        assert box(page, "header nav")["bottom"] <= box(page, "header")["bottom"]
        assert box(page, "#attempts .reason")["width"] >= 200
        for path in ("/runs/999999", "/runs?where=state+%3D+done"):
            page.goto(address + path)
            wrong = page.get_by_role("alert")
            assert wrong.evaluate("box => box.scrollWidth <= box.clientWidth"), path
        field = page.get_by_label("Columns")
        pictures = [shown(field, words) for words in ("a_b", "a b")]
        assert pictures[0] != pictures[1]


def shown(field: Locator, placeholder: str) -> bytes:
    field.evaluate("(field, words) => { field.placeholder = words; }", placeholder)
    return field.screenshot()


def test_what_says_which_is_not_cut_and_boxes_are_as_large_as_what_is_in_them(yard: Yard, url: str, page: Page):
    asked = [(0.001, "a-name-that-is-long"), (0.002, "short")]
    one, two = yard.completed(
        *(
            yard.client.submit(yard.spec(name=name, epochs=3), overrides=[f"optimizer.adam.learning_rate={rate}"]).id
            for rate, name in asked
        )
    )
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{url}/runs/{one.id}")
    assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('#attempts .scroll'))")
    assert box(page, ".log")["height"] < box(page, ".log ol")["height"] + 20
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{url}/runs")
    assert box(page, f"tr[data-key='{one.id}'] .state")["right"] <= box(page, ".scroll")["right"]
    page.goto(f"{url}/compare?run={one.id}&run={two.id}")
    heads = page.locator(".beside th[scope=row]")
    assert heads.count() > 4
    assert all(heads.evaluate_all("heads => heads.map(head => head.scrollWidth <= head.clientWidth)"))


def box(page: Page, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.locator(selector).first.evaluate("box => box.getBoundingClientRect().toJSON()")
    return found


def test_values_are_read_off_a_curve_with_the_pointer(yard: Yard, url: str, page: Page):
    [run] = yard.completed(yard.client.submit(yard.spec(name="read", epochs=5)).id)
    visit(page, f"{url}/runs/{run.id}")
    chart = page.locator("figure[data-key='loss']")
    box = chart.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 2)
    loss = yard.client.history(run.id)[-1]["loss"]
    expect(chart.locator(".readout")).to_contain_text(f"epoch 5: train {loss:.4g}")
    page.mouse.move(0, 0)
    expect(chart.locator(".readout")).to_have_text("\u00a0")


def test_the_theme_is_kept(url: str, page: Page):
    page.goto(url)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.goto(f"{url}/runs")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()


def test_a_wrong_token_is_refused_and_a_right_one_lets_in_as_far_as_its_role_goes(yard: Yard, page: Page):
    settings = yard.settings.model_copy(update={"require_tokens": True})
    secret, _ = yard.client.create_token("vera", "viewer")
    run = yard.client.submit(yard.spec(name="seen only", epochs=2))
    with served(Client(settings), 0) as address:
        page.goto(f"{address}/workers")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("this token is not valid")
        page.get_by_label("Token").fill(secret)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{address}/workers")
        expect(page.get_by_role("heading", name="Workers")).to_be_visible()
        expect(page.locator("#live")).to_have_text("live")
        expect(page.get_by_role("button", name="Drain")).to_have_count(0)
        page.goto(f"{address}/runs/{run.id}")
        expect(page.get_by_role("heading", name="Curves")).to_be_visible()
        expect(page.get_by_text("Edit name, note and tags")).to_have_count(0)
        page.get_by_role("button", name="Log out vera").click()
        expect(page.get_by_label("Token")).to_be_visible()


def test_back_after_logging_out_leads_to_the_login(yard: Yard, page: Page):
    settings = yard.settings.model_copy(update={"require_tokens": True})
    secret, _ = yard.client.create_token("wim", "viewer")
    run = yard.client.submit(yard.spec(name="not for all", epochs=2))
    with served(Client(settings), 0) as address:

        def log_in(path: str) -> None:
            page.goto(f"{address}/login")
            page.get_by_label("Token").fill(secret)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Overview")).to_be_attached()
            page.goto(address + path)

        for path in (f"/runs/{run.id}", "/datasets"):
            login = re.compile(rf"/login(\?next={path})?$")  # the page may hear of it before the form's answer is there
            log_in(path)
            page.get_by_role("button", name="Log out wim").click()
            expect(page).to_have_url(login)
            page.go_back()
            expect(page).to_have_url(login)
            log_in(path)  # and a page that was kept as it was, which this browser does not do
            page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
            page.context.clear_cookies()
            page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
            expect(page).to_have_url(login)


def test_a_page_of_a_run_that_is_removed_says_that_it_is_gone(yard: Yard, url: str, page: Page):
    one, gone = yard.completed(*(yard.client.submit(yard.spec(name="gone", epochs=2)).id for _ in range(2)))
    visit(page, f"{url}/runs/{gone.id}")
    beside = page.context.new_page()
    visit(beside, f"{url}/compare?run={one.id}&run={gone.id}")
    yard.client.remove([gone.id])
    for tab in (page, beside):
        expect(tab.get_by_role("alert")).to_contain_text(f"there is no run {gone.id};")
        expect(tab.locator("#live")).to_have_text("")


@contextmanager
def served(client: Client, port: int) -> Iterator[str]:
    with _listen("127.0.0.1", port) as listener, _web(client, listener) as address:
        yield address


def test_a_look_that_failed_is_repeated_though_nothing_happens(page: Page):
    with a_yard() as quiet, served(quiet.client, 0) as address:
        visit(page, f"{address}/runs")
        expect(page.locator("#live")).to_have_text("live")
        page.route(f"{address}/runs", lambda route: route.abort(), times=1)
        with page.expect_event("requestfailed"):
            page.evaluate("document.dispatchEvent(new Event('changed'))")
        expect(page.locator("#live")).to_have_text("live")


def test_a_page_asks_for_itself_anew_once_it_follows_the_events(url: str, page: Page):
    """What changed between the page, which may have been kept, and the stream is told by no event."""
    with page.expect_request(
        lambda request: request.url == f"{url}/runs" and not request.is_navigation_request()
    ) as look:
        visit(page, f"{url}/runs")
    assert look.value.all_headers()["cache-control"] in ("no-cache", "max-age=0")


def test_a_line_of_a_log_is_seen_though_nothing_else_happens(page: Page):
    with a_yard() as quiet, served(quiet.client, 0) as address:
        run_id, database = quiet.client.submit(quiet.spec(epochs=9)).id, quiet.client.database
        with database.write() as session:
            claim = transitions.claim(session, "default", "ada", 7, 60.0, {})
        assert claim is not None
        visit(page, f"{address}/runs/{run_id}")
        page.evaluate(LOOKED)
        line = Line(1, time.monotonic(), Level.INFO, "a line alone")
        with database.write() as session:
            transitions.record(session, run_id, claim.attempt, Progress(lines=[line]), 60.0)
        expect(page.get_by_role("region", name="Log, the newest line last")).to_contain_text("a line alone")


def test_a_stream_that_fell_silent_is_opened_anew(url: str, page: Page):
    page.clock.install()
    visit(page, f"{url}/runs")
    expect(page.locator("#live")).to_have_text("live")
    with page.expect_request("**/api/v1/events"):
        page.clock.fast_forward(41_000)
        page.clock.fast_forward(1_000)
    page.clock.resume()
    expect(page.locator("#live")).to_have_text("live")


def test_tabs_that_nobody_sees_leave_the_connections_to_those_that_are_seen(yard: Yard, url: str, page: Page):
    """A browser opens six to one host."""
    tabs = [page, *(page.context.new_page() for _ in range(6))]
    for tab in tabs:
        visit(tab, f"{url}/runs")
        with tab.expect_event("requestfailed", lambda request: request.url.endswith("/events")):
            tab.evaluate(SEEN, False)
        expect(tab.locator("#live")).to_have_text("paused")
    run = yard.client.submit(yard.spec(name="unseen", epochs=2))
    yard.completed(run.id)
    row = page.locator(f"tr[data-key='{run.id}']")
    expect(row).to_have_count(0)
    page.evaluate(SEEN, True)
    expect(row).to_contain_text("unseen")
    expect(page.locator("#live")).to_have_text("live")
    assert page.evaluate(UNTOUCHED)


def test_a_connection_that_was_lost_is_found_again(yard: Yard, page: Page):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served(Client(yard.settings), port) as address:
        visit(page, f"{address}/runs")
    sign = page.get_by_role("status").filter(has_text="reconnecting…")
    expect(sign).to_be_visible()
    [run] = yard.completed(yard.client.submit(yard.spec(name="meanwhile", epochs=2)).id)
    with served(Client(yard.settings), port):
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator(f"tr[data-key='{run.id}']")).to_contain_text("meanwhile")
        assert page.evaluate(UNTOUCHED)


def test_name_note_and_tags_are_edited_by_keyboard_while_the_run_trains(yard: Yard, url: str, page: Page):
    run = yard.client.submit(yard.spec(name="rough", epochs=100_000), tags=["old", "both"])
    yard.trains(run.id)
    visit(page, f"{url}/runs/{run.id}")
    form = page.locator("#editing form")
    page.get_by_text("Edit name, note and tags").focus()
    page.keyboard.press("Enter")
    name = form.get_by_label("Name")
    expect(name).to_be_focused()
    name.fill("")
    page.keyboard.press("Enter")
    expect(form.get_by_text("a name has 1 to 200 characters, all on one line")).to_be_visible()
    expect(name).to_be_focused()
    page.keyboard.type("fine <b>")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    before = page.locator("#glance .tile").first.text_content() or ""
    yard.client.edit(run.id, name="another's", tag=["theirs"])
    expect(page.locator("#glance .tile").first).not_to_have_text(before)
    expect(page.locator("#head h1")).to_contain_text("another's")
    expect(page).to_have_title(f"Run {run.id} another's · Trainyard")
    expect(name).to_have_value("fine <b>")
    form.get_by_label("Note").fill("labels were\nshuffled")
    form.get_by_label("Tags").fill("both new no/good")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert").filter(has_text="tag 'no/good': use 1 to 64 letters")).to_be_visible()
    form.get_by_label("Tags").fill("both, new")
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Saved.")
    expect(page.locator("#head h1")).to_contain_text("fine <b>")
    page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(page.locator("#facts .edits li")).to_have_count(6)  # the other's two, and four of this form
    found = yard.client.run(run.id)
    assert (found.name, found.note, sorted(found.tags)) == (
        "fine <b>",
        "labels were\nshuffled",
        ["both", "new", "theirs"],
    )
    assert page.evaluate(UNTOUCHED)
    yard.client.cancel(run.id)
