"""The static page: what the export writes, and in a real browser the answers of the recogniser, offline too.

The runtime comes from npm. ``EMOVOX_WEB_RUNTIME`` names a folder ``node_modules`` with it; without one the
tests in a browser are skipped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

import emovox
from emovox import disclaimer
from emovox.audio.vad import Vad
from emovox.cli import main
from emovox.inference import web
from pages import SCREENS, browsing

ROOT = Path(__file__).parents[2]
RATE = 16_000


# ------------------------------------------------------------------ what is written


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``node_modules`` whose files are short texts, with their hashes."""
    folder, pinned = tmp_path / "node_modules", {}
    for name, (package, _) in web.RUNTIME.items():
        content = f"the file {name}".encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        pinned[name] = (package, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(web, "RUNTIME", pinned)
    return folder


def export(*options: object) -> int:
    return main(["export", *map(str, options)])


def test_export_writes_page(tiny_bundle: Path, runtime: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    assert export(tiny_bundle, "--web", folder, "--runtime", runtime) == 0
    assert (folder / "model/model.onnx").read_bytes() == (tiny_bundle / "model.onnx").read_bytes()
    settings = json.loads((folder / "model/settings.json").read_text())
    assert settings["spec"]["labels"] == list(emovox.load(tiny_bundle).labels)
    page = (folder / "index.html").read_text()
    assert disclaimer.NOTICE in page
    assert "{{" not in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert all(
        "*" not in rule and "http" not in rule and "unsafe-inline" not in rule for rule in rules.values()
    )
    worker = (folder / "service-worker.js").read_text()
    kept = json.loads(re.search(r"FILES = (\[.*\]);", worker).group(1))  # type: ignore[union-attr]
    written = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert set(kept) == (written - {"service-worker.js"}) | {"./"}
    licences = (folder / "runtime/LICENSES.txt").read_text()
    assert "Microsoft Corporation" in licences
    assert "@echogarden/fvad-wasm/LICENSE" in licences
    for file in written - {"model/model.onnx"}:
        text = (folder / file).read_text(encoding="utf-8")
        assert not re.search(r"""(src|href|from|import|fetch)\W{0,3}https?://""", text), file


def test_new_export_replaces_what_browsers_keep(tiny_bundle: Path, runtime: Path, tmp_path: Path) -> None:
    def version(folder: Path) -> str:
        return (folder / "service-worker.js").read_text().partition('CACHE = "')[2].partition('"')[0]

    for name in ("a", "b"):
        assert export(tiny_bundle, "--web", tmp_path / name, "--runtime", runtime) == 0
    assert version(tmp_path / "a") == version(tmp_path / "b")
    assert export("fast", "--web", tmp_path / "b", "--runtime", runtime, "--force") == 0
    assert version(tmp_path / "a") != version(tmp_path / "b")


def test_wrong_exports(
    tiny_bundle: Path,
    runtime: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = tmp_path / "page"
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    monkeypatch.setattr("shutil.which", lambda _: None)
    for options, expected in (
        ((tiny_bundle,), "one thing to write"),
        ((tiny_bundle, "-o", page, "--web", page), "one thing to write"),
        ((tiny_bundle, "-o", page, "--runtime", runtime), "--runtime is for --web"),
        ((tiny_bundle, "--web", full, "--runtime", runtime), "not empty"),
        ((tiny_bundle, "--web", page, "--runtime", tmp_path), "node_modules"),
        ((tiny_bundle, "--web", page), "npm is not installed"),
    ):
        assert export(*options) == 2
        assert expected in capsys.readouterr().err
    (runtime / next(iter(web.RUNTIME))).write_text("changed")
    assert export(tiny_bundle, "--web", page, "--runtime", runtime) == 2
    assert "is not the file of onnxruntime-web@" in capsys.readouterr().err
    assert (full / "mine.txt").read_text() == "mine"
    assert not page.exists()


def test_models_with_features_are_refused(
    runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    from conftest import tiny_features_onnx
    from emovox.bundles import write_bundle
    from speaker_model import speaker_spec

    write_bundle(tmp_path / "bundle", tiny_features_onnx(180), speaker_spec())
    assert export(tmp_path / "bundle", "--web", tmp_path / "page", "--runtime", runtime) == 2
    assert "takes features, which a browser cannot compute" in capsys.readouterr().err


# ------------------------------------------------------------------ in a browser


def make_clips() -> dict[str, bytes]:
    """WAV files by name: speech at many rates, of many kinds, and what is no speech."""
    clips: dict[str, bytes] = {}

    def add(name: str, x: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> None:
        stream = io.BytesIO()
        soundfile.write(stream, x, rate, format="WAV", subtype=subtype)
        clips[name] = stream.getvalue()

    sounds = []
    for file in sorted((ROOT / "examples").glob("*.opus")):
        x, rate = soundfile.read(file, dtype="float32")
        sounds.append(x)
        add(file.stem, x, rate)
    x = sounds[0]
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000):
        add(f"{rate} Hz", soxr.resample(x, RATE, rate), rate)
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        add(subtype, x, subtype=subtype)
    add("pauses", np.concatenate([np.zeros(2 * RATE), x, np.zeros(3 * RATE)]))
    add("stereo", np.stack([x, 0.3 * x], 1))
    add("inverted", np.stack([x, -0.8 * x], 1))
    add("quiet", 0.01 * x)
    add("offset", 0.5 * x + 0.1)
    add("noise", 0.1 * np.random.default_rng(0).standard_normal(3 * RATE))
    add("word", x[8_000:19_000])
    add("long", np.concatenate([*sounds, np.zeros(RATE), *sounds]))
    add("silence", np.zeros(2 * RATE))
    add("short", x[8_000:11_000])
    return clips


CLIPS = make_clips()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if "EMOVOX_WEB_RUNTIME" not in os.environ:
        pytest.skip("EMOVOX_WEB_RUNTIME names no folder node_modules")
    microphone = tmp_path_factory.mktemp("microphone") / "angry.wav"
    x, _ = soundfile.read(ROOT / "examples/angry.opus", dtype="float32")
    soundfile.write(microphone, np.tile(soxr.resample(x, RATE, 48_000), 3), 48_000)
    with playwright.sync_playwright() as driver, browsing(driver, microphone) as opened:
        yield opened


@pytest.fixture(scope="module")
def open_page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """``open_page("fast", width=..., scheme=...)`` exports the model once and returns the loaded page."""
    folders: dict[str, Path] = {}
    contexts = []

    def open_model(model: str, *, width: int = 1100, scheme: str = "light") -> Any:
        if model not in folders:
            folders[model] = tmp_path_factory.mktemp("page") / model
            assert export(model, "--web", folders[model], "--runtime", os.environ["EMOVOX_WEB_RUNTIME"]) == 0
        url = contexts_stack.enter_context(serve_folder(folders[model]))
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # the machine may be busy
        page.complaints, page.asked, page.url_root = [], [], url
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        context.on("request", lambda request: page.asked.append((request.method, request.url)))
        page.goto(url)
        page.locator("#file:enabled").wait_for(state="attached")
        return page

    with ExitStack() as contexts_stack:
        yield open_model
        for context in contexts:
            context.close()


BYTES = "const x = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer;"


def predict(page: Any, clip: bytes, options: str = "{}") -> dict[str, Any]:
    code = f"async (data) => {{ {BYTES} return window.emovox.predict(x, {options}) }}"
    return page.evaluate(code, base64.b64encode(clip).decode())  # type: ignore[no-any-return]


def largest_difference(a: dict[str, float], b: dict[str, float]) -> float:
    assert list(a) == list(b)
    return max((abs(a[label] - b[label]) for label in a), default=0.0)


@pytest.mark.browser
@pytest.mark.slow
def test_answers_equal_python(open_page: Callable[..., Any]) -> None:
    page, model = open_page("fast"), emovox.load("fast")
    assert len(CLIPS) >= 20
    for name, clip in CLIPS.items():
        expected, found = model.predict(clip).to_dict(), predict(page, clip)
        assert largest_difference(expected["scores"], found["scores"]) < 1e-4, name
        for key in ("label", "reason", "end_s"):
            assert found[key] == expected[key], name
        quality = {**expected["quality"], "clipped": pytest.approx(expected["quality"]["clipped"], abs=1e-3)}
        if name not in ("8000 Hz", "11025 Hz"):  # resampled peaks differ in the last digit
            assert found["quality"] == quality, name
    clip = CLIPS["happy"]
    expected = model.predict(clip, labels="happy,sad", vad="off").to_dict()
    found = predict(page, clip, '{labels: ["happy", "sad"], vad: false}')
    assert largest_difference(expected["scores"], found["scores"]) < 1e-4
    assert found["quality"] == expected["quality"]
    assert page.complaints == []
    assert {method for method, _ in page.asked} == {"GET"}
    assert all(url.startswith(page.url_root) for _, url in page.asked)


@pytest.mark.browser
@pytest.mark.slow
def test_default_in_8_bits(open_page: Callable[..., Any]) -> None:
    """Its activations are rounded to 8 bits: in Python, too, noise of 1e-7 moves a score by up to 0.02."""
    page, model = open_page("default"), emovox.load()
    for name in ("angry", "happy", "sad", "pauses", "noise", "long"):
        expected, found = model.predict(CLIPS[name]).to_dict(), predict(page, CLIPS[name])
        assert largest_difference(expected["scores"], found["scores"]) < 0.03, name
        assert (found["label"], found["reason"]) == (expected["label"], expected["reason"]), name


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("fast", 1e-4), ("default", 0.03)])
def test_stream_equals_python(open_page: Callable[..., Any], name: str, tolerance: float) -> None:
    page, model = open_page(name), emovox.load(name)
    x = soundfile.read(io.BytesIO(CLIPS["long"]), dtype="float32")[0]
    stream = model.stream(sample_rate=RATE)
    results = [*stream.push(x), *stream.flush()]
    expected = [{"type": type(result).__name__.lower(), **result.to_dict()} for result in results]
    code = f"""async (data) => {{
      {BYTES}
      const sound = new Float32Array(x), stream = window.emovox.stream({{ sampleRate: 16000 }});
      const answers = [];
      for (let i = 0; i < sound.length; i += 1777) {{
        answers.push(...await stream.push(sound.subarray(i, i + 1777)));
      }}
      return [...answers, ...await stream.flush()];
    }}"""
    found = page.evaluate(code, base64.b64encode(x.tobytes()).decode())
    assert len(found) == len(expected)
    assert {row["type"] for row in found} == {"window", "segment"}
    for a, b in zip(expected, found, strict=True):
        assert largest_difference(a["scores"], b["scores"]) < tolerance
        for key in b.keys() - {"scores", "confidence"}:
            assert a[key] == b[key], key


@pytest.mark.browser
@pytest.mark.slow
def test_detector_equals_python(open_page: Callable[..., Any]) -> None:
    page, rng = open_page("fast"), np.random.default_rng(1)
    x = soundfile.read(io.BytesIO(CLIPS["long"]), dtype="float32")[0]
    muted = np.where((np.arange(len(x)) // 30_000) % 2, x, 0)
    for sound in (
        x,
        muted,
        0.02 * x + 0.2,
        x + 0.05 * rng.standard_normal(len(x)),
        rng.standard_normal(len(x)) * np.repeat(rng.uniform(0, 0.5, len(x) // 4_000 + 1), 4_000)[: len(x)],
        np.clip(4 * x, -1, 1),
    ):
        sound = sound.astype(np.float32)
        vad = Vad()
        expected = np.concatenate([vad.push(sound), vad.flush()]).astype(int).tolist()
        code = f"""(data) => {{
          {BYTES}
          const vad = window.emovox.detector(true);
          const flags = [...vad.push(new Float32Array(x)), ...vad.flush()];
          vad.close();
          return flags;
        }}"""
        assert page.evaluate(code, base64.b64encode(sound.tobytes()).decode()) == expected
        assert any(expected)


@pytest.mark.browser
@pytest.mark.slow
def test_page_in_use(open_page: Callable[..., Any], tmp_path: Path) -> None:
    folder = Path(os.environ.get("EMOVOX_SCREENSHOTS", SCREENS))
    folder.mkdir(parents=True, exist_ok=True)
    for width, scheme in ((1100, "light"), (390, "dark")):
        page = open_page("fast", width=width, scheme=scheme)
        page.set_input_files(
            "#file", {"name": "angry.wav", "mimeType": "audio/wav", "buffer": CLIPS["angry"]}
        )
        page.get_by_text("of sound in").wait_for()
        assert re.fullmatch(r"Most likely: angry \(\d+\s%\)", page.inner_text("#answer"))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        page.screenshot(path=folder / f"web-{width}.png", full_page=True)
        page.set_input_files("#file", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
        page.get_by_text("not audio that this browser can read").wait_for()
        # The microphone plays the same speech.
        page.click("#live")
        page.get_by_text(re.compile("^[1-9][0-9]* to ")).wait_for()
        page.screenshot(path=folder / f"web-live-{width}.png", full_page=True)
        page.click("#live")
        page.get_by_text("Stopped after").wait_for()
        # Without a network it loads again and predicts.
        page.wait_for_timeout(500)
        page.evaluate("async () => { await navigator.serviceWorker.ready }")
        page.context.set_offline(True)
        page.reload()
        page.locator("#file:enabled").wait_for(state="attached")
        assert predict(page, CLIPS["happy"])["label"] == "happy"
        page.context.set_offline(False)
        assert page.complaints == []
        assert all(url.startswith(page.url_root) for _, url in page.asked)
