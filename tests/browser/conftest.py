"""A real Chromium before a real yard. Without one these tests are skipped at home and fail in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.yard import Yard
from tests.yard import yard as a_yard

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30_000.0  # milliseconds for anything on a page; it takes one second, but machines can be busy


def chromium() -> str:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        missing = "no Chromium is on PATH (on Debian: apt install chromium)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def yard() -> Iterator[Yard]:
    with a_yard() as there:
        there.up(slots=2)
        yield there


@pytest.fixture(scope="session")
def url(yard: Yard) -> str:
    state = yard.state
    assert state is not None
    return state.web_url


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, url: str) -> Iterator[Page]:
    """A page that fails the test for whatever the policy forbids, a script that fails, or a request to anyone else."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert wrong == []
    hosts = {urlsplit(address).hostname for address in asked if not address.startswith(("data:", "about:"))}
    assert hosts <= {urlsplit(url).hostname}
