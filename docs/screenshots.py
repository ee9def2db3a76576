"""The pictures of the pages in docs/images, taken of a real yard by a real Chromium: `make screenshots`.

`--all FOLDER` takes every page at three widths, light and dark, into a folder instead.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from tests.yard import Yard, yard  # noqa: E402

IMAGES = PROJECT / "docs" / "images"
EXAMPLES = PROJECT / "examples"
WIDTHS, SCHEMES = (1280, 768, 390), ("light", "dark")
COLOURS = 256  # of a picture, which makes it a third as large
TALLEST = 1500
KEPT = {  # file: page, width, height, scheme
    "overview": ("overview", 1280, 760, "light"),
    "run": ("run", 1280, 1240, "dark"),
    "compare": ("compare", 1280, 900, "light"),
    "phone": ("live", 390, 800, "dark"),
}


@contextmanager
def history() -> Iterator[tuple[str, dict[str, str]]]:
    """A yard that has trained and still trains; its address, and the pages worth a picture."""
    with yard() as there:
        there.up(slots=2)
        pages = {"overview": "/", "runs": "/runs", "workers": "/workers", "datasets": "/datasets"} | _train(there)
        pages["wrong"] = "/runs?where=val_acuracy+%3E+0.9"
        state = there.state
        assert state is not None
        yield state.web_url, pages


def _train(there: Yard) -> dict[str, str]:
    client, digits = there.client, EXAMPLES / "digits.yaml"
    widths = client.submit_many(
        digits,
        grid={"network[0].dense.units": [32, 128], "optimizer.adam.learning_rate": [0.0003, 0.001, 0.01]},
        tags=["width"],
    )
    images = client.submit(EXAMPLES / "convolution.yaml", tags=["images"]).id
    small = client.submit(digits, overrides=["name=digits-small", "network[0].dense.units=8", "train.epochs=12"]).id
    client.submit(EXAMPLES / "table.yaml", overrides=["optimizer.adam.learning_rate=1e30"])
    for name in ("iris", "wine", "tumours"):
        client.submit(EXAMPLES / f"{name}.yaml")
    there.completed(*widths, images, small)
    live = [
        client.submit(
            digits, overrides=["name=digits-long", "train.epochs=20000", "train.early_stopping=null", f"seed={seed}"]
        ).id
        for seed in (1, 2)
    ]
    client.submit(digits, queue="night")
    for run_id in live:
        there.trains(run_id)
    compared = "&".join(f"run={number}" for number in widths)
    return {
        "run": f"/runs/{small}",
        "live": f"/runs/{live[0]}",
        "images": f"/runs/{images}",
        "compare": f"/compare?{compared}",
    }


def show(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#live[data-state=live], main:not(:has([data-live]))")
    if page.locator("[data-ready=yes]").count():
        page.locator("#inside").scroll_into_view_if_needed()
        page.wait_for_selector("#later")
        page.evaluate("scrollTo(0, 0)")


def picture(page: Page, file: Path, height: int) -> None:
    """A PNG of few colours."""
    width = (page.viewport_size or {"width": 1280})["width"]
    tall = min(height, page.evaluate("document.documentElement.scrollHeight"))
    data = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": tall})
    shot = Image.open(io.BytesIO(data)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file.parent.mkdir(parents=True, exist_ok=True)
    shot.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page at three widths, light and dark")
    folder = parser.parse_args().all
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium is on PATH (on Debian: apt install chromium)")
    with history() as (url, pages), sync_playwright() as playwright:
        wanted = KEPT if folder is None else {
            f"{name}-{width}-{scheme}": (name, width, TALLEST, scheme)
            for name in pages for width in WIDTHS for scheme in SCHEMES
        }  # fmt: skip
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for file, (name, width, height, scheme) in wanted.items():
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
            page = context.new_page()
            show(page, url + pages[name])
            picture(page, (folder or IMAGES) / f"{file}.png", height)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
