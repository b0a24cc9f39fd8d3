"""The page of a call: complete, escaped, bounded, and playable."""

from __future__ import annotations

import base64
import html.parser
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox.audio import SAMPLE_RATE
from emovox.disclaimer import NOTICE
from emovox.reports import sound
from emovox.reports.call import call_html
from emovox.reports.html import escape
from emovox.reports.sound import summarize_sound
from speech import voice, wav

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def row(start_s: float, end_s: float, label: str | None = "happy", **changes: Any) -> dict[str, Any]:
    scores = {"happy": 0.6, "sad": 0.4}
    return {
        "start_s": start_s,
        "end_s": end_s,
        "label": label,
        "reason": None if label else "uncertain",
        "confidence": 0.6,
        "scores": scores,
        **changes,
    }


def page(rows: list[dict[str, Any]], duration_s: float = 60.0, **changes: Any) -> str:
    document = {
        "title": "call.wav",
        "facts": ["1:00", "3 segments"],
        "duration_s": duration_s,
        "segments": rows,
        "peaks": [0.1, 0.5, 0.2],
        "audio": "call.wav",
    }
    return call_html({**document, **changes})


class Elements(html.parser.HTMLParser):
    """All start tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_complete() -> None:
    rows = [
        row(12.34, 15.0, speaker="Anna", text="Hello."),
        row(20, 24, None, speaker="Ben", text="Well."),
        {"start_s": 30, "end_s": 31, "speaker": "Ben", "text": "Bye.", "error": "outside"},
    ]
    text = page(rows)
    found = Elements(text)
    assert escape(NOTICE) in text
    for words in (
        "12.34\N{NO-BREAK SPACE}s",
        "Hello.",
        "Anna",
        "Ben",
        "happy",
        "60 %",
        "uncertain",
        "happy 60 %?",
        "not predicted",
    ):
        assert words in found.text
    starts = [tag["data-start"] for _, tag in found.tags if "data-start" in tag]
    assert starts == ["12.340", "20.000", "30.000"]
    assert sum(name == "script" for name, _ in found.tags) == 1
    assert "http" not in text.replace("http-equiv", "")
    assert any("unsure" in (tag.get("class") or "") for name, tag in found.tags if name == "i")


def test_foreign_text_is_escaped() -> None:
    rows = [row(0, 1, HOSTILE, speaker=HOSTILE, text=HOSTILE, scores={HOSTILE: 1.0})]
    found = Elements(page(rows, title=HOSTILE, facts=[HOSTILE], audio=HOSTILE))
    assert not any(name == "img" for name, _ in found.tags)
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert sum(name == "script" for name, _ in found.tags) == 1
    assert found.text.count("alert(1)") >= 4
    assert next(tag["src"] for name, tag in found.tags if name == "audio") == HOSTILE


def test_many_segments_are_bounded() -> None:
    rows = [row(0.7 * i, 0.7 * i + 0.7, "sad" if i % 3 else "happy") for i in range(10_000)]
    found = Elements(page(rows, 7000.0, peaks=[0.2] * 2000))
    lanes = [tag for name, tag in found.tags if name == "i" and "left:" in (tag.get("style") or "")]
    assert len(lanes) <= 1500
    assert sum("data-start" in tag for _, tag in found.tags) == len(rows)
    many = [row(i, i + 1, speaker=f"s{i}") for i in range(500)]
    assert "488 more speakers" in page(many, 500.0)


@pytest.mark.parametrize("rows", [[], [row(0, 0)], [row(-1, 90)]])
def test_odd_calls_have_a_page(rows: list[dict[str, Any]]) -> None:
    text = page(rows, 0.0, peaks=[], audio=None)
    assert "<audio" not in text
    assert ("No speech was found." in text) == (not rows)


def test_sound_is_embedded() -> None:
    x = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), voice(2)])
    found = summarize_sound(wav(x))
    assert found.data_url is not None
    assert found.duration_s == 3
    data = base64.b64decode(found.data_url.removeprefix("data:audio/mpeg;base64,"))
    y, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == SAMPLE_RATE
    assert len(y) == pytest.approx(len(x), abs=2000)
    assert len(found.peaks) == 60
    assert max(found.peaks[:19]) < 0.01 < max(found.peaks[21:])


def test_times_are_those_of_the_recording() -> None:
    """A tone that begins at 12.34 s begins there in the player; Chromium's decoder gave the same."""
    x = np.zeros(15 * SAMPLE_RATE, np.float32)
    start = round(12.34 * SAMPLE_RATE)
    x[start : start + 1600] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(1600) / SAMPLE_RATE)
    url = str(summarize_sound(wav(x)).data_url)
    data = base64.b64decode(url.partition(",")[2])
    y, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    onset = int(np.flatnonzero(np.abs(y) > 0.1)[0])
    assert onset / SAMPLE_RATE == pytest.approx(12.34, abs=0.01)


def test_long_sound_is_not_embedded() -> None:
    found = summarize_sound(wav(voice(20)), max_bytes=20_000)
    assert found.data_url is None
    assert "0.02 MB" in str(found.problem)
    assert len(found.peaks) <= 2000
    assert summarize_sound(wav(voice(1)), encode=False).data_url is None


def test_missing_encoder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(sound, "_make_encoder", fail)
    assert "no MP3" in str(summarize_sound(wav(voice(1))).problem)


def wait_until(view: Any, condition: str) -> None:
    """Playwright's own way to wait is a script that the page's policy forbids."""
    for _ in range(600):
        if view.evaluate(condition):
            return
        view.wait_for_timeout(100)
    raise AssertionError(condition)


@pytest.mark.browser
def test_click_plays_the_sentence(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    from pages import chromium

    file = tmp_path / "call.html"
    rows = [row(1.5, 2.5, text="One."), row(3.25, 3.6, text="Two.")]
    file.write_text(page(rows, 5.0, audio=summarize_sound(wav(voice(5))).data_url), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        view.on("console", lambda message: problems.append(message.text))
        view.on("pageerror", lambda error: problems.append(str(error)))
        view.goto(file.as_uri())
        wait_until(view, "document.querySelector('audio').readyState > 0")
        assert view.evaluate("document.documentElement.scrollWidth") <= 390
        view.locator(".time").nth(1).click()
        wait_until(view, "document.querySelector('audio').currentTime > 3.25")
        wait_until(view, "document.querySelector('audio').paused")
        at_s = view.evaluate("document.querySelector('audio').currentTime")
        assert 3.6 <= at_s < 5
        assert problems == []
