"""The page: nothing of it comes from elsewhere, and in a real browser it says what the recogniser says."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from emovox._arrays import Floats
from pages import Visit, browsing, chromium
from sights import SIGHTS, TO_XYZ, lab, linear

pytest.importorskip("fastapi")

import emovox
from emovox import audio, disclaimer
from emovox.labels import EMOTIONS, EXTRAS
from emovox.reports.colours import COLOURS, NONE, colour
from emovox.server import page as page_module
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings
from emovox.transcripts import LABEL_FORMATS
from emovox.transcripts.reading import read_transcript
from serving import serving

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "emovox" / "server" / "page"
EXAMPLE = ROOT / "tests" / "synthetic" / "angry.flac"
RATE = 48_000

# ---------------------------------------------------------------------------------------------- its files


TEXTS = tuple(name for name in page_module.FILES if not name.endswith(".opus"))


def text_of(name: str) -> str:
    return page_module.read_file(name).decode()


class Markup(HTMLParser):
    """Elements of the page, with their attributes and words."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text_of("index.html"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.elements if attribute in attrs]


def test_every_file_is_served_as_what_it_is() -> None:
    lying = {path.name for path in FOLDER.iterdir() if path.suffix not in {".py", ""}}
    assert lying == set(page_module.FILES)
    assert sum(len(page_module.read_file(name)) for name in page_module.FILES) < 125_000


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from starlette.testclient import TestClient

    with TestClient(create_app(ServerSettings(api_key="k" * 32))) as client:
        yield client


def test_the_page_wants_no_key_and_allows_nothing_from_elsewhere(client: Any) -> None:
    for path in ("/", *(f"/page/{name}" for name in page_module.FILES)):
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = dict(
            rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:", "https:"} & set(
            " ".join(policy.values()).split()
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "microphone=(self)" in answer.headers["permissions-policy"]
        again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "path",
    ["__init__.py", "nothing.js", "..%2Fapp.py", "%2e%2e/app.py", "..%5Capp.py", "", "app.js/", "APP.JS"],
)
def test_no_other_file_is_served(client: Any, path: str) -> None:
    assert client.get(f"/page/{path}", follow_redirects=False).status_code in {307, 404}
    assert b"import" not in client.get(f"/page/{path}", follow_redirects=False).content


def test_nothing_points_to_another_server() -> None:
    for name in TEXTS:
        urls = set(re.findall(r"(?:https?|wss?):?//[\w.]*", text_of(name)))
        assert urls <= {"http://www.w3.org", "https://"}, name  # a namespace; and a word in a sentence
        assert "innerHTML" not in text_of(name)
        assert not re.search(r"\beval\(|new Function\(", text_of(name))


def test_no_script_and_no_style_is_inline() -> None:
    for tag, attrs in Markup().elements:
        assert not {name for name in attrs if name == "style" or name.startswith("on")}
        assert tag != "style"
        assert tag != "script" or "src" in attrs


def test_what_scripts_reach_for_is_there_once() -> None:
    markup = Markup()
    ids, parts = markup.all("id"), set(markup.all("data-part"))
    assert len(ids) == len(set(ids))
    scripts = "".join(text_of(name) for name in page_module.FILES if name.endswith(".js"))
    assert set(re.findall(r'(?:\$|getElementById)\("([\w-]+)"\)', scripts)) <= set(ids)
    assert set(re.findall(r'#part\("([\w-]+)"\)', scripts)) <= parts
    pointed = itertools.chain(markup.all("for"), markup.all("aria-controls"), markup.all("aria-labelledby"))
    assert set(pointed) <= set(ids)


def test_the_page_says_what_people_must_be_told() -> None:
    words = " ".join(Markup().words.split())
    for text in (disclaimer.NOTICE, disclaimer.LIMITS, disclaimer.TO_TELL):
        assert text in words
    assert "{{" not in text_of("index.html")
    assert "GDPR" in words
    assert "no echo cancellation, noise suppression or automatic gain" in words


# ---------------------------------------------------------------------------------------------- its colours


def tones() -> dict[str, tuple[str, str]]:
    """Class -> its colour in light and in dark."""
    found = re.findall(r"\.is-([\w-]+) \{ --tone: ([^;]+); \}", text_of("style.css"))
    return {name: tuple((re.findall("#[0-9a-f]{6}", value) * 2)[:2]) for name, value in found if "#" in value}


def listed(name: str) -> tuple[str, ...]:
    (inner,) = re.findall(rf"export const {name} = \[(.*?)\]", text_of("emotions.js"), re.S)
    return tuple(re.findall(r'"(\w+)"', inner))


def test_emotions_and_their_colours_are_those_of_the_reports() -> None:
    assert listed("EMOTIONS") == EMOTIONS
    assert listed("EXTRAS") == EXTRAS
    light = {name: pair[0].upper() for name, pair in tones().items()}
    assert {name: light[name] for name in EMOTIONS} == COLOURS
    assert all(light[f"extra-{k % 4}"] == colour(name) for k, name in enumerate(EXTRAS))
    assert f"--none: light-dark({NONE.lower()}," in text_of("style.css")


def test_colours_in_the_dark_are_seen_and_told_apart() -> None:
    dark = {name: linear(tones()[name][1]) for name in EMOTIONS}
    (card,) = re.findall(r"--card: light-dark\(#\w+, (#\w+)\)", text_of("style.css"))
    ground = float(linear(card) @ TO_XYZ[1])
    for tone in dark.values():
        assert (tone @ TO_XYZ[1] + 0.05) / (ground + 0.05) >= 2.99
    for sight in SIGHTS.values():
        seen = [lab(np.clip(sight @ tone, 0, 1)) for tone in dark.values()]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 29


# ---------------------------------------------------------------------------------------------- in a browser


def as_wav(x: Floats, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, x, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture(scope="module")
def model() -> emovox.Recognizer:
    return emovox.load()


@pytest.fixture(scope="module")
def clip() -> Floats:
    """A synthetic voice, mono at `RATE`."""
    x, rate = soundfile.read(EXAMPLE, dtype="float32")
    return np.asarray(soxr.resample(x, rate, RATE), np.float32)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    chromium()
    with serving(create_app(ServerSettings(models=("default", "permissive"), max_upload_mb=2))) as (port, _):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as opened:
        yield opened


@pytest.fixture(scope="module")
def browser(playwright: Any, clip: Floats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    played = tmp_path_factory.mktemp("microphone") / "voice.wav"
    played.write_bytes(as_wav(clip, RATE))
    with browsing(playwright, played) as opened:
        yield opened


def correlation(heard: Floats, played: Floats, rate: int) -> float:
    """Of half seconds of what was played with their likeness in what was heard, wherever that is: the median.

    Of halves, for a busy machine drops some sound now and then, and what follows is elsewhere.
    """
    n = rate // 2
    loud = [played[at : at + n] for at in range(0, len(played) - n, n)]
    loud = [piece for piece in loud if np.abs(piece).max() > 0.05 * np.abs(played).max()]
    return float(np.median([_likeness(heard, piece) for piece in loud]))


def _likeness(heard: Floats, piece: Floats) -> float:
    size = 1 << (len(heard) + len(piece)).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)
    at = int(np.argmax(products[: len(heard) - len(piece)]))
    return float(np.corrcoef(heard[at : at + len(piece)], piece)[0, 1])


def streamed(model: emovox.Recognizer, wav: bytes, **more: Any) -> dict[str, list[Any]]:
    """The windows and segments of a recording."""
    stream = model.stream(sample_rate=audio.SAMPLE_RATE, **more)
    found = [
        each for block in audio.blocks(wav, block_s=10.0) for each in stream.push(block[0])
    ] + stream.flush()
    kinds = {"windows": emovox.Window, "segments": emovox.Segment}
    return {
        name: [each.to_dict() for each in found if isinstance(each, kind)] for name, kind in kinds.items()
    }


def assert_same(told: list[Any], expected: list[Any], *, tolerance: float = 2e-6) -> None:
    """Rows of the page hold what those of the recogniser do; a window names its channel besides."""
    assert len(told) == len(expected)
    for one, other in zip(told, expected, strict=True):
        assert other.keys() <= one.keys() <= other.keys() | {"channel"}
        assert one["scores"] == pytest.approx(other["scores"], abs=tolerance)
        for name in set(other) - {"scores"}:
            assert one[name] == (
                pytest.approx(other[name], abs=2e-3) if isinstance(other[name], float) else other[name]
            )


def drop(page: Any, name: str, sound: bytes) -> None:
    """Drop a file on the page."""
    make = """([name, letters]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(letters), (c) => c.charCodeAt(0))], name));
        return transfer; }"""
    transfer = page.evaluate_handle(make, [name, base64.b64encode(sound).decode()])
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def assert_quiet(visit: Visit, url: str) -> None:
    """The browser had nothing to complain of, and asked nobody else."""
    assert visit.complaints == []
    assert {asked for asked in visit.asked if not asked.startswith((url, "blob:"))} == set()


@pytest.mark.browser
def test_an_upload_is_answered_as_predict_answers(browser: Any, url: str, model: Any, clip: Any) -> None:
    sound = as_wav(np.concatenate([clip, 0 * clip[:RATE], clip[::-1]]), RATE)
    name = '<img src=x onerror=alert(1)> "&, ö.wav'
    with Visit(browser, url) as visit:
        visit.upload(name=name, sound=sound)
        told = visit.answered()
        expected = model.predict(sound).to_dict()
        assert told["prediction"] | {"file": None} == expected
        assert told["file"] == name
        along = streamed(model, sound)
        assert_same(told["windows"], along["windows"])
        assert_same(told["segments"], along["segments"])
        label = expected["label"]
        assert visit.text("#answer") == f"Most likely: {label} ({expected['scores'][label]:.0%})".replace(
            "%", " %"
        )
        for label, score in expected["scores"].items():
            assert visit.text(f'[data-part=bars] [data-label="{label}"] b') == f"{score:.0%}".replace(
                "%", " %"
            )
        assert visit.page.locator(".stretch").count() == visit.page.locator("#segments tbody tr").count() > 0
        rows = list(csv.DictReader(io.StringIO(visit.saved("csv").decode())))
        assert [row["file"] for row in rows] == [name] * len(along["segments"])
        assert list(rows[0]) == emovox.results.csv_header(model.labels).strip().split(",")
        for row, segment in zip(rows, along["segments"], strict=True):
            assert float(row["confidence"]) == segment["confidence"]
            assert {label: float(row[f"{label}_prob"]) for label in model.labels} == segment["scores"]
        times = visit.page.locator("#segments tbody td:nth-child(2)").all_inner_texts()
        assert [each.replace("\xa0", " ") for each in times] == [
            f"{row['start_s']:.2f} to {row['end_s']:.2f} s" for row in along["segments"]
        ]
        spans = sorted((row["start_s"], row["end_s"]) for row in along["segments"])
        for form in LABEL_FORMATS:
            found = read_transcript(visit.saved(form)).segments
            assert sorted((one.start_s, one.end_s) for one in found) == spans, form
        visit.screenshot("result-light")
        assert_quiet(visit, url)


@pytest.mark.browser
@pytest.mark.parametrize("has_labels", [True, False])
def test_page_shows_values(browser: Any, make_value_bundle: Any, clip: Any, has_labels: bool) -> None:
    folder = make_value_bundle() if has_labels else make_value_bundle(())
    recognizer, sound = emovox.load(folder), as_wav(clip, RATE)
    with serving(create_app(ServerSettings(models=(str(folder),)))) as (port, _):
        url = f"http://127.0.0.1:{port}/"
        with Visit(browser, url) as visit:
            visit.upload(name="clip.wav", sound=sound)
            shown = visit.answered()
            expected = recognizer.predict(sound).to_dict()
            assert shown["prediction"] | {"file": None} == expected
            words = ", ".join(f"{name} {value:.2f}" for name, value in expected["values"].items())
            assert words in (visit.text("#facts") if has_labels else visit.text("#answer"))
            assert "arousal, age" in visit.text("#model")
            rows = list(csv.DictReader(io.StringIO(visit.saved("csv").decode())))
            header = emovox.results.csv_header(recognizer.labels, recognizer.targets)
            assert list(rows[0]) == header.strip().split(",")
            along = streamed(recognizer, sound)["segments"]
            assert [float(row["arousal_value"]) for row in rows] == [
                one["values"]["arousal"] for one in along
            ]
            visit.screenshot(f"values-{has_labels}")
            assert_quiet(visit, url)


@pytest.mark.browser
def test_a_file_is_dropped_for_some_emotions_of_another_model(browser: Any, url: str, clip: Any) -> None:
    sound = as_wav(clip, RATE)
    with Visit(browser, url) as visit:
        visit.page.click("summary")
        visit.page.select_option("#which", "permissive")
        labels = [box.get_attribute("value") for box in visit.page.locator("#labels input").all()]
        for label in labels[2:]:
            visit.page.uncheck(f"#labels [value={label}]")
        visit.page.uncheck("[name=vad]")
        drop(visit.page, "clip.wav", sound)
        told = visit.answered()["prediction"]
        asked = emovox.load("permissive").predict(sound, labels=labels[:2], vad="off").to_dict()
        assert told == asked
        assert visit.page.locator("[data-part=bars] dt").all_inner_texts() == labels[:2]


@pytest.mark.browser
def test_a_recording_from_the_microphone_is_that_sound(browser: Any, url: str, model: Any, clip: Any) -> None:
    with Visit(browser, url, scheme="dark", width=390) as visit:
        visit.page.click("#record")
        visit.page.wait_for_timeout(1000 * len(clip) / RATE + 700)
        visit.screenshot("recording-dark-phone", whole=False)
        visit.page.click("#record")
        told = visit.answered()
        sound = visit.saved("wav")
        heard, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
        assert rate in (44_100, RATE)
        played = clip if rate == RATE else soxr.resample(clip, RATE, rate)
        assert correlation(heard, played, rate) > 0.99  # echo cancellation and the like would leave 0.8
        assert told["prediction"] == model.predict(sound).to_dict()
        assert told["segments"] == streamed(model, sound)["segments"]
        visit.screenshot("recorded-dark-phone")
        assert_quiet(visit, url)


@pytest.mark.browser
def test_live_answers_are_those_of_the_stream(browser: Any, url: str, model: Any, clip: Any) -> None:
    with Visit(browser, url, scheme="dark") as visit:
        visit.page.click("#go-live")
        visit.page.locator("#latency").wait_for()
        early = visit.text("#answer")
        assert re.fullmatch(r"Most likely: (\w+) \(\d+ %\)", early)[1] in EMOTIONS  # type: ignore[index]
        visit.page.wait_for_timeout(1000 * len(clip) / RATE)
        visit.screenshot("live-dark", whole=False)
        delay_ms = int(visit.page.locator("#latency").get_attribute("data-ms") or 0)
        assert 0 < delay_ms < 5000  # the machine may be busy
        visit.page.click("#go-live")
        told = visit.answered()
        assert re.fullmatch(r"\d segments? in \d+\.\d s", visit.text("#answer"))
        assert visit.text("#facts") == ""  # the headline has the length
        sound = visit.saved("wav")
        heard, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
        played = clip if rate == RATE else soxr.resample(clip, RATE, rate)
        assert correlation(heard, played, rate) > 0.99
        along = streamed(model, sound, hop_s=0.5)
        assert_same(told["windows"], along["windows"])
        assert_same(told["segments"], along["segments"])
        assert told["model"]["name"] == "default"
        assert_quiet(visit, url)


@pytest.mark.browser
def test_a_voice_on_one_side_is_drawn(browser: Any, url: str) -> None:
    """The mean of all channels is judged, so it is drawn, too; once only the left one was."""
    side = np.zeros((8000, 2), np.float32)
    side[4000:, 1] = 0.5
    file = io.BytesIO()
    soundfile.write(file, side, 8000, format="WAV")
    peaks = """async (bytes) => {
        const { decode } = await import("/page/sound.js");
        const { peaks } = await decode(new Blob([new Uint8Array(bytes)]));
        return [peaks.between(0, 0.4), peaks.between(0.6, 0.9)];
    }"""
    with Visit(browser, url) as visit:
        silent, loud = visit.page.evaluate(peaks, list(file.getvalue()))
    assert silent == 0
    assert loud == pytest.approx(0.25, abs=0.01)


@pytest.mark.browser
def test_segments_are_heard_by_keyboard(browser: Any, url: str, clip: Any) -> None:
    with Visit(browser, url) as visit:
        page = visit.page
        visit.upload(name="clip.wav", sound=as_wav(clip, RATE))
        visit.answered()
        first = page.locator(".stretch").first
        assert re.fullmatch(r".+, \d\.\d to \d\.\d\ss: play it", first.get_attribute("aria-label") or "")
        first.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Pause").wait_for()
        assert page.locator("[data-part=title]").inner_text().startswith("From ")
        page.get_by_role("button", name="Play", exact=True).wait_for()  # it stops where the segment does
        page.focus("[data-part=place]")
        page.keyboard.press("End")
        assert "%" in (page.locator("[data-part=place]").get_attribute("aria-valuetext") or "")
        page.click("#whole")
        assert visit.text("[data-part=title]") == "The whole recording"


@pytest.mark.browser
def test_errors_have_one_text(browser: Any, url: str, clip: Any) -> None:
    with Visit(browser, url) as visit:
        visit.upload(name="<b>notes</b>.txt", sound=b"no sound " * 99, kind="text/plain")
        visit.page.locator("#alert p").first.wait_for()
        assert visit.page.locator("#alert p").count() == 1
        assert visit.text("#alert").startswith("<b>notes</b>.txt: not sound that can be read")
        assert "expected wav" in visit.text("#alert")
        assert visit.text("#status") == ""
        visit.screenshot("error-light")
        visit.upload(name="long.wav", sound=bytes(2_100_000))
        visit.page.get_by_text("long.wav: the body has more than 2 MB").wait_for()
        visit.upload(name="silence.wav", sound=as_wav(np.zeros(RATE, np.float32), RATE))
        visit.answered()
        assert visit.text("#answer") == "No answer: the recording is silent"
        assert visit.text("#alert") == ""
        busy = {"error": {"code": "busy", "message": "32 wait already"}}
        visit.page.route(
            "**/v1/predict*", lambda route: route.fulfill(status=503, headers={"Retry-After": "7"}, json=busy)
        )
        visit.upload(name="clip.wav", sound=as_wav(clip, RATE))
        visit.page.get_by_text("The server is busy. Try again in 7 s.").wait_for()
        assert "32 wait" not in visit.text("#alert")
        assert visit.page.locator(".call").is_visible()  # the upload card is whole again
        visit.page.route("**/v1/predict*", lambda route: route.abort())
        visit.upload(name="clip.wav", sound=as_wav(clip, RATE))
        visit.page.get_by_text("The server cannot be reached").wait_for()


@pytest.mark.browser
def test_without_a_microphone(browser: Any, url: str) -> None:
    refuse = """(name) => navigator.mediaDevices.getUserMedia = async (wanted) => {
        window.wanted = wanted; throw new DOMException("no", name); }"""
    told = {"NotAllowedError": "not allowed", "NotFoundError": "No microphone", "NotReadableError": "in use"}
    with Visit(browser, url) as visit:
        for error, words in told.items():
            visit.page.evaluate(refuse, error)
            for button, name in (("#record", "Record"), ("#go-live", "Live")):
                visit.page.click(button)
                visit.page.locator("#alert p", has_text=words).wait_for()
                assert visit.text(button) == name
                assert visit.page.locator("h1").is_visible()
        off = dict.fromkeys(("echoCancellation", "noiseSuppression", "autoGainControl"), False)
        assert visit.page.evaluate("() => window.wanted") == {"audio": off}


@pytest.mark.browser
def test_a_key_is_asked_for_and_used(browser: Any, clip: Any) -> None:
    key = "k" * 32
    sound = as_wav(clip, RATE)
    with serving(create_app(ServerSettings(api_key=key))) as (port, _):
        context = browser.new_context()
        page = context.new_page()
        held = []  # the wrong key's answer comes after the right one's

        def hold_wrong(route: Any) -> None:
            if "wrong" in route.request.headers.get("authorization", ""):
                held.append(route)
            else:
                route.continue_()

        page.route("**/v1/models", hold_wrong)
        page.goto(f"http://127.0.0.1:{port}/")
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        page.get_by_text("This server requires an API key").wait_for()
        assert page.locator("#alert p").count() == 0  # the form says it
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.locator("#labels input").first.wait_for(state="attached")
        page.locator("#key-form").wait_for(state="hidden")
        with page.expect_response(lambda answer: answer.status == 401):
            held[0].continue_()
        page.wait_for_timeout(100)
        assert not page.locator("#key-form").is_visible()
        assert key not in page.content()
        page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": sound})
        page.locator("#save:not([disabled])").wait_for()
        page.click("#go-live")
        page.locator("#latency").wait_for()
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_the_page_is_for_everybody(browser: Any, url: str, clip: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    device = "phone" if width < 500 else "desktop"

    def faults(visit: Visit) -> list[str]:
        found = axe.run(visit.page).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]

    with Visit(browser, url, scheme=scheme, width=width, csp=False) as visit:
        visit.page.click("summary")
        assert faults(visit) == []
        visit.screenshot(f"start-{scheme}-{device}")
        visit.upload(name="angry.wav", sound=as_wav(clip, RATE))
        visit.answered()
        visit.page.click("#windows-details summary")
        assert faults(visit) == []
        visit.screenshot(f"result-{scheme}-{device}")
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "the page is wider than the screen"


def long_call(clip: Floats) -> bytes:
    """Three minutes of the voice with pauses, at 8 kHz."""
    x = soxr.resample(np.concatenate([clip, np.zeros(RATE, np.float32)]), RATE, 8000)
    file = io.BytesIO()
    soundfile.write(file, np.resize(x, 180 * 8000), 8000, format="FLAC")
    return file.getvalue()


@pytest.mark.browser
def test_upload_card_shrinks_and_phone_page_is_short(browser: Any, url: str, clip: Any) -> None:
    height = "document.documentElement.scrollHeight"
    for name, sound in {"clip": as_wav(clip[:: RATE // 8000], 8000), "call": long_call(clip)}.items():
        with Visit(browser, url, width=390) as visit:
            before = visit.page.locator(".source").bounding_box()["height"]
            tops = (
                visit.page.locator(".actions >> nth=0")
                .locator(".button")
                .evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
            )
            assert len(set(tops)) == 1, "the buttons have more than one line"
            visit.upload(name=f"{name}.wav", sound=sound)
            visit.page.locator("#save:not([disabled])").wait_for()
            after = visit.page.locator(".source").bounding_box()["height"]
            assert before > 300
            assert after < 60, "the card has more than one line"
            assert visit.page.evaluate(height) < 2000
            assert visit.page.evaluate("[scrollX, scrollY]") == [0, 0]
            visit.screenshot(f"{name}-light-phone")
            visit.page.click("summary >> nth=0")
            assert visit.page.locator("#which").is_visible()


@pytest.mark.browser
def test_sample_is_answered_and_credited(browser: Any, url: str) -> None:
    original = (ROOT / "examples/happy.opus").read_bytes()
    assert page_module.read_file("sample.opus") == original
    with Visit(browser, url) as visit:
        visit.page.click("#sample")
        found = visit.answered()
        assert found["prediction"]["label"] == "happy"
        assert "BanglaSER" in visit.text("#name")
        assert "CC BY 4.0" in visit.text("#name")
        assert visit.text("#facts").startswith("3.6 s")
        assert_quiet(visit, url)


@pytest.mark.browser
def test_labels_fit_their_segments(browser: Any, url: str, clip: Any) -> None:
    cut = "(all) => all.filter((b) => b.textContent && b.clientWidth < 48).length"
    beyond = """(all) => all.map((b) => b.getBoundingClientRect()).filter(
        (box, k, boxes) => k > 0 && box.left < boxes[k - 1].right - 3.5).length"""
    with Visit(browser, url, width=390) as visit:
        visit.upload(name="call.flac", sound=long_call(clip), kind="audio/flac")
        found = visit.answered()["segments"]
        segments = visit.page.locator(".stretch")
        assert segments.count() == len(found) > 10
        assert segments.evaluate_all(cut) == 0
        assert segments.evaluate_all(beyond) == 0
        assert {each.inner_text() for each in segments.all()[:10]} == {""}
        titles = [each.get_attribute("title") or "" for each in segments.all()[:10]]
        assert all(
            title.startswith(row["label"] or "no answer") for title, row in zip(titles, found, strict=False)
        )
        assert visit.page.locator("#segments tbody tr").count() == len(found)


@pytest.mark.browser
def test_each_emotion_has_a_strip(browser: Any, url: str, clip: Any) -> None:
    with Visit(browser, url) as visit:
        visit.upload(name="call.flac", sound=long_call(clip), kind="audio/flac")
        found = visit.answered()
        names = visit.page.locator(".of-strip").all_inner_texts()
        highest = {
            label: max(window["scores"].get(label, 0) for window in found["windows"])
            for label in found["prediction"]["scores"]
        }
        assert names == ["speech", *(label for label, p in highest.items() if p >= 0.05)]
        assert visit.page.locator(".strips .strip").count() == len(names)
        small = [label for label, p in highest.items() if p < 0.05]
        assert all(label in visit.text("[data-part=note]") for label in small)
        # The area of a strip is the mean of its windows, which hold the same time each.
        areas = """(all) => all.map((path) => {
            const steps = [...path.getAttribute("d").matchAll(/M(\\d+) \\d+v-([\\d.]+)H(\\d+)/g)];
            return steps.reduce((sum, [, from, high, to]) => sum + high * (to - from), 0) / 21;
        })"""
        drawn = visit.page.locator(".strips .strip").evaluate_all(areas)
        width = visit.page.locator(".strips").evaluate("(root) => root.clientWidth")
        speech = np.mean([window["speech"] for window in found["windows"]])
        assert drawn[0] / width == pytest.approx(speech, abs=0.03)


@pytest.mark.browser
def test_spectrogram_levels(browser: Any, url: str) -> None:
    """The levels are those of numpy's transform of the same frames."""
    rate, size, n_columns = 10_000, 256, 20
    x = np.random.default_rng(5).normal(0, 0.1, 5000).astype(np.float32)
    x += np.sin(2 * np.pi * 1000 * np.arange(5000) / rate).astype(np.float32)
    script = """async ([samples, rate, columns]) => {
        const { levels } = await import("/page/spectrogram.js");
        const sound = { samples: Float32Array.from(samples), rate };
        return [...levels(sound, { start_s: 0, end_s: 0.5 }, columns)];
    }"""
    with Visit(browser, url) as visit:
        found = np.reshape(visit.page.evaluate(script, [x.tolist(), rate, n_columns]), (n_columns, size // 2))
    padded = np.concatenate([np.zeros(size), x, np.zeros(size)])
    flat = padded[1:] - 0.97 * padded[:-1]
    window = np.hanning(size + 1)[:-1]
    step = len(x) / n_columns
    for column in range(n_columns):
        powers = []
        for frame in range(2):
            first = int(np.floor((column + (frame + 0.5) / 2) * step + 0.5)) - size // 2 + size - 1
            powers.append(np.abs(np.fft.rfft(window * flat[first : first + size]))[: size // 2] ** 2)
        expected = 10 * np.log10(np.max(powers, axis=0) + 1e-12)
        np.testing.assert_allclose(found[column], expected, atol=0.01)
    assert set(found.argmax(axis=1)) <= {25, 26}  # 1 kHz


@pytest.mark.browser
def test_spectrogram_is_drawn_and_clicked(browser: Any, url: str, clip: Any) -> None:
    dark = """(canvas) => {
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        const sums = [0, 0];
        for (let at = 0; at < width * height; at += 1) {
            sums[at % width < width / 2 ? 0 : 1] += data[4 * at + 3];
        }
        return sums.map((sum) => sum / (width * height / 2));
    }"""
    sound = as_wav(np.concatenate([np.zeros_like(clip), clip]), RATE)
    with Visit(browser, url, scheme="light", csp=False) as visit:
        visit.upload(name="clip.wav", sound=sound)
        visit.answered()
        canvas = visit.page.locator("[data-part=spectrogram]")
        canvas.wait_for()
        silent, loud = canvas.evaluate(dark)
        assert silent < 10 < 30 < loud  # the sound is in the second half, as on the axis
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] * 0.75, "y": 20})
        seconds = float(visit.page.input_value("[data-part=place]"))
        assert seconds == pytest.approx(0.75 * 2 * len(clip) / RATE, abs=0.1)
        assert "% speech" in visit.text("[data-part=aside]").replace(" %", "%")
        color = (
            "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
            ".reduce((top, value, at) => at % 4 === 3 ? top : Math.max(top, value), 0)"
        )
        light = canvas.evaluate(color)
        visit.page.click("#theme")
        visit.page.click("#theme")
        visit.page.wait_for_timeout(300)
        assert canvas.evaluate(color) > light + 100  # drawn anew in the ink of the dark theme


@pytest.mark.browser
def test_explanation_has_a_lane(browser: Any, url: str, model: Any, clip: Any) -> None:
    sound = as_wav(clip, RATE)
    with Visit(browser, url, scheme="light") as visit:
        visit.upload(name="clip.wav", sound=sound)
        visit.answered()
        lane = visit.page.locator("[data-part=why]")
        assert not lane.is_visible()
        visit.page.click("#why")
        lane.wait_for()
        expected = model.explain(sound)
        above = lane.locator("rect.for").count()
        assert above == pytest.approx(sum(drop > 0 for drop in expected.time_drops), abs=2)  # but tiny ones
        box = lane.bounding_box()
        tallest = max(lane.locator("rect.for").all(), key=lambda one: one.bounding_box()["height"])
        middle = tallest.bounding_box()["x"] + tallest.bounding_box()["width"] / 2 - box["x"]
        k = int(np.argmax(expected.time_drops))
        seconds = middle / box["width"] * len(clip) / RATE
        assert expected.times_s[k] - 0.05 < seconds < expected.times_s[k + 1] + 0.05
        assert f"Why {expected.label}: mostly" in visit.text("[data-part=note]")
        assert not visit.page.locator("#why").is_visible()  # it is shown
        assert json.loads(visit.saved("json"))["explanation"]["label"] == expected.label
        visit.screenshot("explained-light")
        visit.upload(name="call.flac", sound=long_call(clip), kind="audio/flac")
        visit.answered()
        assert not lane.is_visible()
        assert not visit.page.locator("#why").is_visible()  # too long for the server
        assert_quiet(visit, url)


@pytest.mark.browser
def test_adaptation_is_shown(browser: Any, url: str, clip: Any) -> None:
    with Visit(browser, url) as visit:
        visit.page.click("summary >> nth=0")
        visit.page.check("[name=adapt]")
        visit.upload(name="call.flac", sound=long_call(clip), kind="audio/flac")
        found = visit.answered()["segments"]
        last = [each["adaptation"] for each in found if "adaptation" in each][-1]
        facts = visit.text("#facts")
        assert (
            f"timeline adapted to the speaker, weight {last['weight']:.2f} ({last['n_clips']} clip" in facts
        )
        rows = visit.page.locator("#segments tbody tr td:nth-child(6)").all_inner_texts()
        assert rows[-1].replace("\xa0", " ") == f"{last['weight']:.0%}".replace("%", " %")
        assert "of speech (" in facts
        assert visit.page.locator(".source").bounding_box()["height"] < 60  # the options are closed again
        visit.page.click("summary >> nth=0")
        visit.page.uncheck("[name=adapt]")
        visit.upload(name="clip.wav", sound=as_wav(clip, RATE))
        assert all("adaptation" not in each for each in visit.answered()["segments"])
        assert "adapted" not in visit.text("#facts")
        assert not visit.page.locator("#adapted").is_visible()


@pytest.mark.browser
def test_times_and_headlines_in_words(browser: Any, url: str) -> None:
    script = """async () => {
        const { clock, headline, stretch } = await import("/page/emotions.js");
        const scores = { angry: 0.344, sad: 0.656 };
        return [
            [0, 4.08, 59.94, 59.96, 63.25, 3723.04].map((s) => clock(s)), clock(59.6, 0), clock(61.2, 0),
            stretch({ start_s: 3, end_s: 6.5 }), stretch({ start_s: 58, end_s: 61.5 }),
            headline({ label: "sad", scores }), headline({ label: null, reason: "uncertain", scores }),
            headline({ label: null, reason: "too_short", scores: {} }),
        ]; }"""
    with Visit(browser, url) as visit:
        found = visit.page.evaluate(script)
    plain = [each.replace("\xa0", " ") if isinstance(each, str) else each for each in found]
    times = [each.replace("\xa0", " ") for each in plain[0]]
    assert times == ["0.0 s", "4.1 s", "59.9 s", "1:00.0", "1:03.3", "1:02:03.0"]
    assert plain[1:] == [
        "1:00",
        "1:01",
        "3.0 to 6.5 s",
        "58.0 s to 1:01.5",
        "Most likely: sad (66 %)",
        "No answer: too uncertain; most likely sad (66 %)",
        "No answer: too little sound",
    ]


@pytest.mark.browser
def test_the_theme_can_be_chosen_and_is_kept(browser: Any, url: str) -> None:
    with Visit(browser, url, scheme="light", csp=False) as visit:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = visit.page.evaluate(ground)
        visit.page.click("#theme")
        assert visit.text("#theme") == "Theme: light"
        visit.page.click("#theme")
        dark = visit.page.evaluate(ground)
        assert dark != light
        visit.page.reload()
        assert visit.page.evaluate(ground) == dark


@pytest.mark.browser
@pytest.mark.corpora
def test_real_voices(playwright: Any, url: str, model: Any, tmp_path: Path) -> None:
    root = os.environ.get("EMOVOX_CORPORA")
    if not root:
        pytest.skip("EMOVOX_CORPORA does not say where the corpora are")
    file = next(Path(root).glob("ravdess/Actor_03/03-01-05-02-01-01-03.*"))
    x, rate = soundfile.read(file, dtype="float32")
    played = tmp_path / "clip.wav"
    played.write_bytes(as_wav(x, rate))
    expected = model.predict(file).to_dict()
    with browsing(playwright, played) as browser, Visit(browser, url) as visit:
        visit.upload(name=file.name, sound=file.read_bytes(), kind="audio/flac")
        assert visit.answered()["prediction"] == expected | {"file": None}
        visit.page.click("#record")
        visit.page.wait_for_timeout(1000 * len(x) / rate)
        visit.page.click("#record")
        told = visit.answered()["prediction"]
        heard, heard_rate = soundfile.read(io.BytesIO(visit.saved("wav")), dtype="float32")
        likeness = correlation(heard, soxr.resample(x, rate, heard_rate), heard_rate)
        apart = max(abs(told["scores"][label] - p) for label, p in expected["scores"].items())
        print(f"{file.name}: {expected['label']}, correlation {likeness:.4f}, scores within {apart:.4f}")
        assert likeness > 0.98
        assert told["label"] == expected["label"]
        assert apart < 0.1  # it begins and ends a little elsewhere, and was resampled twice
