"""The page of ``newroot view`` in a real browser: wide and narrow, light and dark, by keyboard."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox", "util-linux", "chromium")

DRAWINGS = ("namespaces", "layers", "mounts", "volumes", "snapshots", "timeline")


@contextmanager
def opened(browser: Any, address: str, width: int, **options: Any) -> Iterator[Any]:
    """A page in a window of *width*; at the end it must not have complained of anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("requestfailed", lambda request: said.append(f"not loaded: {request.url}"))
    try:
        page.goto(address)
        yield page
    finally:
        context.close()

    assert said == []


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_readable_and_says_nothing_on_the_console(
    scene: Any, browser: Any, picture: Any, width: int
) -> None:
    with opened(browser, f"file://{scene.output}/host.html", width) as page:
        drawings = page.locator("svg:visible")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        # What a label is on the screen, after the drawing has been scaled to its place.
        sizes = page.evaluate(
            """[...document.querySelectorAll('svg text')].filter(t => t.getClientRects().length)
               .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
        )
        names = {"shop", "orders-db"}
        words = page.inner_text("body")
        picture(page, f"page-{width}.png", full_page=True, clip=clip(page, width))

        assert drawings.count() == 6
        assert overflow <= 0
        assert min(sizes) > 10
        assert all(name in words for name in names)
        assert "harbour" in page.inner_text("h1")


def clip(page: Any, width: int) -> dict[str, float]:
    """From the top to the end of the containers, but no more than a screen and a half."""
    bottom = page.evaluate("document.querySelector('#volumes').getBoundingClientRect().top")
    return {"x": 0, "y": 0, "width": width, "height": min(bottom, 1500 if width > 600 else 1100)}


def test_it_is_dark_where_the_system_is(scene: Any, browser: Any, picture: Any) -> None:
    paper = {}
    for scheme in ("light", "dark"):
        address = f"file://{scene.output}/host.html"
        with opened(browser, address, 1280, color_scheme=scheme) as page:
            paper[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            ink = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
            if scheme == "dark":
                page.locator("#volumes").scroll_into_view_if_needed()
                picture(page, "page-dark.png")

            assert ink != paper[scheme]
    assert paper["light"] == "rgb(255, 255, 255)"
    assert paper["dark"] == "rgb(18, 22, 27)"


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_drawing_is_a_picture_of_its_own(
    scene: Any, browser: Any, picture: Any, name: str
) -> None:
    path = scene.output / f"{name}.svg"
    tree = ElementTree.parse(path)
    with opened(browser, f"file://{path}", 1140) as page:
        shape = page.evaluate("(r => [r.width, r.height])(document.documentElement.getBBox())")
        picture(
            page, f"{name}.png", clip={"x": 0, "y": 0, "width": 1100, "height": min(shape[1], 900)}
        )

    assert tree.getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert shape[0] > 1000
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", path.read_text())


def test_all_that_opens_is_reached_by_the_keyboard(scene: Any, browser: Any) -> None:
    with opened(browser, f"file://{scene.output}/host.html", 1280) as page:
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
            if seen[-1].startswith("<body"):
                break
        summaries = page.locator("summary:visible").count()
        links = page.locator("nav a").count()
        page.evaluate("document.activeElement.blur()")
        last = page.locator("#containers > details.fold").last
        last.locator("> summary").focus()
        was = last.evaluate("d => d.open")
        page.keyboard.press("Enter")

        assert len([tag for tag in seen if tag.startswith("<summary")]) == summaries
        assert len([tag for tag in seen if tag.startswith("<a")]) == links == 5
        assert last.evaluate("d => d.open") != was


def test_the_drawings_show_what_the_host_is(scene: Any, browser: Any) -> None:
    with opened(browser, f"file://{scene.output}/host.html", 1280) as page:
        layers = page.locator("#containers-fold-0 svg.wide").first.inner_html()
        namespaces = page.locator("#namespaces svg.wide").inner_html()
        volumes = page.locator("#volumes svg.wide").inner_html()
        mounts = page.locator("#containers-fold-0 svg.wide").last.inner_html()
        snapshots = page.locator("#snapshots svg.wide").inner_html()

    # The upper: vi and what it was are gone, motd and the cache are new, the version is another.
    assert "/bin/vi" in layers
    assert "/app/version" in layers
    assert "deletes 2 names" in layers  # of the second layer: telnet, wget
    # nsenter's process shares the shop's network and host name: one letter each.
    assert len(re.findall(r'class="shared"', namespaces)) >= 4
    assert "snapshot report:done" in snapshots
    assert "container report-2" in snapshots
    assert len(re.findall(r"<circle", snapshots)) == 1
    assert "sees orders at" in volumes
    assert "/srv/photos" in volumes
    assert "report" in volumes
    assert "/var/orders shows /srv/newroot/volumes/orders/data" in mounts


def test_the_page_is_one_file_that_asks_for_nothing(scene: Any) -> None:
    text = (scene.output / "host.html").read_text()

    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_live_page_wants_its_token_and_shows_what_is_new(scene: Any, browser: Any) -> None:
    bare = scene.url.partition("?")[0]
    for address, headers, expected in (
        (bare, {}, 403),
        (f"{bare}?token=wrong", {}, 403),
        (scene.url, {"Host": "elsewhere.example"}, 421),
        (f"{bare}etc/passwd", {}, 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(address, headers=headers))
        refused.value.close()
        assert refused.value.code == expected

    with opened(browser, scene.url, 1280) as page:
        assert "token" not in page.url
        assert page.locator("h1").inner_text() == "harbour"
        page.evaluate("window.kept = 1")
        page.locator("#containers summary").first.press("Enter")  # closed, and stays so
        scene.start("newcomer")
        page.wait_for_selector("#containers summary >> text=newcomer", timeout=20_000)
        assert page.evaluate("window.kept") == 1
        assert page.locator("#containers details.fold").first.evaluate("d => d.open") is False


def test_a_timeline_of_a_start_is_read_from_the_file_that_run_writes(scene: Any) -> None:
    document = json.loads((scene.output / "start.json").read_text())
    picture = (scene.output / "timeline.svg").read_text()

    assert f"{len(document['steps'])} steps" in picture
