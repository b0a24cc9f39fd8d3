"""A real Chromium, for tests of the page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCREENS = Path(__file__).parents[1] / "build" / "screenshots"
"""What the page looked like in the last run; git does not keep it."""


def chromium() -> str:
    """Where Chromium is; the test is skipped where it is not."""
    pytest.importorskip("playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium in PATH; on Debian: apt-get install chromium")
    return found


@contextmanager
def browsing(playwright: Any, microphone: Path) -> Iterator[Any]:
    """A browser; its microphone plays the file once each time it is opened."""
    flags = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",  # ignored silently when misspelt
    ]
    browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
    yield browser
    browser.close()


class Visit:
    """Somebody on the page. What the browser complained of, and whom it asked, is kept."""

    def __init__(
        self,
        browser: Any,
        url: str,
        *,
        scheme: str = "light",
        width: int = 1100,
        csp: bool = True,
        **more: Any,
    ) -> None:
        view = {"width": width, "height": 900}
        self._context = browser.new_context(color_scheme=scheme, viewport=view, bypass_csp=not csp, **more)
        self.page = self._context.new_page()
        self.page.set_default_timeout(60_000)  # the machine may be busy
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.ready()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def ready(self) -> None:
        """Wait until the page knows the models."""
        self.page.locator("#model:not(:empty)").wait_for(state="attached")

    def text(self, name: str) -> str:
        """What an element says, in one line."""
        return " ".join(self.page.locator(name).inner_text().split())

    def answered(self) -> dict[str, Any]:
        """Wait for the answer, and return what is downloaded as JSON."""
        self.page.locator("#save:not([disabled])").wait_for()
        return dict(json.loads(self.saved("json")))

    def saved(self, form: str) -> bytes:
        """Download the answer in a format."""
        self.page.select_option("#format", form)
        with self.page.expect_download() as download:
            self.page.click("#save")
        return Path(download.value.path()).read_bytes()

    def upload(self, *, name: str, sound: bytes, kind: str = "audio/wav") -> None:
        """Choose a file."""
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": sound})

    def screenshot(self, name: str, *, whole: bool = True) -> None:
        """Keep what it looks like, where EMOVOX_SCREENSHOTS or the build folder says."""
        folder = Path(os.environ.get("EMOVOX_SCREENSHOTS", SCREENS))
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=whole)
