"""The report in a browser: sliders and swipe move, nothing is fetched, nothing complains."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geoforecast.validate.result import ValidateResult

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
PATIENCE_S = 60
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
DESK = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}


class Page:
    """A browser's page, driven by its DevTools protocol over two pipes."""

    def __init__(self, home: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        os.set_blocking(self._read, False)
        # The browser reads from 3 and writes to 4.
        keep = [os.dup2(fd, 60 + n) for n, fd in enumerate((to_read, to_write))]
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{keep[0]} 4>&{keep[1]}', "bash", CHROMIUM),
                *(*arguments, f"--user-data-dir={home}", "about:blank"),
            ],
            pass_fds=keep,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (to_read, to_write, *keep):
            os.close(fd)
        self._number, self._rest, self.events = 0, b"", []
        self._session = ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda m: m.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def _until(self, wanted: Any) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                self._rest += os.read(self._read, 1 << 20)
            *whole, self._rest = self._rest.split(b"\0")
            found = None
            for text in whole:
                message = json.loads(text)
                self.events.append(message)
                if found is None and wanted(message):
                    found = message
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError("the browser does not answer")

    def open(self, path: Path) -> None:
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        if not any(m.get("method") == "Page.loadEventFired" for m in self.events):
            self._until(lambda m: m.get("method") == "Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element's centre is, after it was brought into view."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({selector!r});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def mouse(self, kind: str, x: float, y: float, buttons: int = 0) -> None:
        pressed = {"button": "left", "buttons": buttons} if kind != "mouseMoved" or buttons else {}
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=1, **pressed)

    def key(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def complaints(self) -> list[Any]:
        """Errors and warnings of any kind since the page was opened."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [m["params"] for m in self.events if m.get("method") in kinds]

    def requests(self) -> set[str]:
        """What was asked for since the page was opened."""
        urls = [
            m["params"]["request"]["url"]
            for m in self.events
            if m.get("method") == "Network.requestWillBeSent"
        ]
        return {url for url in urls if not url.startswith("data:")}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        for fd in (self._read, self._write):
            os.close(fd)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


@pytest.fixture
def page(browser: Page, result: ValidateResult) -> Iterator[Page]:
    browser.ask("Emulation.setDeviceMetricsOverride", **DESK)
    browser.open(result.report_path)
    yield browser
    # Whatever a test did: all came from the file itself, and nothing went wrong.
    assert browser.complaints() == []
    assert browser.requests() == {result.report_path.as_uri()}


VIEWER = ".viewer"
LEFT, RIGHT = f"{VIEWER} img[data-side=left]", f"{VIEWER} img[data-side=right]"
HANDLE, RANGE = f"{VIEWER} .handle", f"{VIEWER} input[type=range]"


def source(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).src"))


def test_the_date_slider_moves_both_maps(page: Page) -> None:
    x, y = page.middle(RANGE)
    page.mouse("mousePressed", x, y, 1)
    page.mouse("mouseReleased", x, y)
    before = source(page, LEFT), source(page, RIGHT)
    date = page.run(f"document.querySelector('{VIEWER} output').textContent")
    page.key("ArrowRight", 39)
    after = source(page, LEFT), source(page, RIGHT)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert all(text.startswith("data:image/png;base64,") for text in (*before, *after))
    told = page.run(f"document.querySelector('{VIEWER} output').textContent")
    assert told != date
    assert page.run(f"document.querySelector({RANGE!r}).getAttribute('aria-valuetext')") == told
    assert page.run(f"document.querySelector({LEFT!r}).alt") == f"observed, {told}"
    assert page.run(f"document.querySelector({LEFT!r}).naturalWidth") == 31


def test_the_handle_follows_mouse_finger_and_keys(page: Page) -> None:
    def clipped() -> str:
        return str(page.run(f"document.querySelector({RIGHT!r}).style.clipPath"))

    box = page.run(
        f"(() => {{ const b = document.querySelector('{VIEWER} .stage').getBoundingClientRect();"
        "return [b.x, b.width]; })()"
    )
    x, y = page.middle(HANDLE)
    assert "50%" in clipped()
    page.mouse("mousePressed", x, y, 1)
    page.mouse("mouseMoved", box[0] + 0.2 * box[1], y, 1)
    page.mouse("mouseReleased", box[0] + 0.2 * box[1], y)
    assert "20%" in clipped()
    page.key("ArrowLeft", 37)
    assert "15%" in clipped()
    page.key("End", 35)
    assert "100%" in clipped()
    assert page.run(f"document.querySelector({HANDLE!r}).getAttribute('aria-valuenow')") == "100"
    x, y = page.middle(HANDLE)
    for kind, points in (
        ("touchStart", [{"x": x - 2, "y": y}]),
        ("touchMove", [{"x": box[0] + 0.6 * box[1], "y": y}]),
        ("touchEnd", []),
    ):
        page.ask("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    assert "60%" in clipped()


def test_layers_and_leads_can_be_chosen_and_values_read(page: Page) -> None:
    forecast = source(page, RIGHT)
    choose = (
        "(() => {{ const s = document.querySelector('{0}'); s.value = '{1}';"
        "s.dispatchEvent(new Event('change')); }})()"
    )
    page.run(choose.format(f"{VIEWER} select[data-lead]", 2))
    later = source(page, RIGHT)
    page.run(choose.format(f"{VIEWER} select[data-side=right]", 2))
    assert len({forecast, later, source(page, RIGHT)}) == 3
    assert page.run(f"document.querySelector('{VIEWER} .tag.right').textContent") == "difference"
    page.run(choose.format(f"{VIEWER} select[data-side=left]", 1))
    page.run(f"document.querySelector({LEFT!r}).decode()")
    x, y = page.middle(f"{VIEWER} .stage")
    words = ""
    # The second band's values lie around 290 kelvin, the first's around 0.4.
    for step in range(20):
        page.mouse("mouseMoved", x + 12 * step - 120, y + step)
        words = page.run(f"document.querySelector('{VIEWER} .value').textContent")
        if words.startswith("forecast 0."):
            break
    assert words.startswith("forecast 0.")
    assert "difference" in words


def test_playing_goes_on_by_itself_and_stops(page: Page) -> None:
    x, y = page.middle(f"{VIEWER} [data-play]")
    page.mouse("mousePressed", x, y, 1)
    page.mouse("mouseReleased", x, y)
    start = source(page, LEFT)
    end = time.monotonic() + PATIENCE_S
    while source(page, LEFT) == start and time.monotonic() < end:
        time.sleep(0.05)
    assert source(page, LEFT) != start
    page.mouse("mousePressed", x, y, 1)
    page.mouse("mouseReleased", x, y)
    assert page.run(f"document.querySelector('{VIEWER} [data-play]').textContent") == "Play"


def test_light_and_dark(page: Page) -> None:
    def background() -> str:
        return str(page.run("getComputedStyle(document.body).backgroundColor"))

    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.ask("Emulation.setEmulatedMedia", features=features)
    dark = background()
    features[0]["value"] = "light"
    page.ask("Emulation.setEmulatedMedia", features=features)
    assert background() == "rgb(255, 255, 255)" != dark
    page.run("document.getElementById('theme').click()")
    assert background() == dark
    page.run("document.getElementById('theme').click()")
    assert background() == "rgb(255, 255, 255)"


def visible(page: Page, selector: str) -> bool:
    return bool(page.run(f"document.querySelector({selector!r}).getClientRects().length"))


def test_on_paper_a_picture_takes_the_viewers_place(page: Page) -> None:
    assert visible(page, VIEWER)
    assert not visible(page, ".static img")
    page.ask("Emulation.setEmulatedMedia", media="print")
    assert not visible(page, VIEWER)
    assert visible(page, ".static img")
    page.ask("Emulation.setEmulatedMedia", media="")


def test_a_phone_need_not_scroll_sideways(page: Page) -> None:
    page.ask("Emulation.setDeviceMetricsOverride", **PHONE)
    assert page.run("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.run(f"document.querySelector('{VIEWER} .stage').clientWidth") > 300


def test_without_scripts_the_picture_is_there(browser: Page, result: ValidateResult) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(result.report_path)
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert not visible(browser, VIEWER)
    assert visible(browser, ".static img")


def test_the_policy_forbids_what_the_page_does_not_hold(
    browser: Page, result: ValidateResult, tmp_path: Path
) -> None:
    """A script or a picture that somebody smuggles in does not run and is not fetched."""
    text = result.report_path.read_text(encoding="utf-8")
    smuggled = (
        "<script>window.smuggled = 1</script><img id='far' src='http://127.0.0.1:9/far.png'></body>"
    )
    page = tmp_path / "smuggled.html"
    page.write_text(text.replace("</body>", smuggled), encoding="utf-8")
    browser.open(page)
    assert browser.run("typeof window.smuggled") == "undefined"
    assert browser.run("document.getElementById('far').naturalWidth") == 0
    blocked = [m["params"] for m in browser.events if m.get("method") == "Network.loadingFailed"]
    assert {one.get("blockedReason") for one in blocked} == {"csp"}
