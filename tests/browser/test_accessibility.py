"""Pages as axe judges them, and as they are used without a mouse."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.yard import Yard

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def paths(yard: Yard) -> list[str]:
    client = yard.client
    ids = [client.submit(yard.spec(name="judged", epochs=3, seed=seed)).id for seed in (1, 2)]
    failed = client.submit(yard.spec(name="diverged", epochs=3), overrides=["optimizer.adam.learning_rate=1e30"]).id
    yard.completed(*ids)
    yard.ended(failed)
    client.submit(yard.spec(name="waits", epochs=3), queue="nobody")
    one, two = ids
    return [
        "/", "/runs", f"/runs?where=state+%3D+done&select={one}", "/runs?columns=id,+seed", f"/runs/{one}",
        f"/runs/{failed}", f"/runs/{one}/inside", f"/compare?run={one}&run={two}", "/compare", "/workers", "/datasets",
        "/runs/999999",
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, url: str, paths: list[str], scheme: str):
    # The policy forbids what axe is put in by; this context alone lets it.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page, found = context.new_page(), []
    for path in paths:
        page.goto(url + path)
        if path.startswith("/runs/") and page.locator("[data-ready='yes']").count():
            page.locator("#inside").scroll_into_view_if_needed()
            page.wait_for_selector("#later")
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in SERIOUS:
                found.append((path, violation["id"], [node["html"][:200] for node in violation["nodes"][:3]]))
    context.close()
    assert found == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(url: str, page: Page):
    page.goto(url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto(f"{url}/workers")
    page.get_by_role("button", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Drain")).to_be_focused()
