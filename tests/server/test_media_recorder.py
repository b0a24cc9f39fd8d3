"""What a real browser records, as it comes out of its MediaRecorder: the answers of the whole recording."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("av")

import emovox
from emovox import audio
from emovox.server.session import Session, SessionModel, advance
from pages import chromium

EXAMPLE = Path(__file__).parents[2] / "tests" / "synthetic" / "angry.flac"

RECORD = """async (bytes) => {
  const context = new AudioContext();
  const sound = await context.decodeAudioData(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer);
  const source = new AudioBufferSourceNode(context, { buffer: sound });
  const out = context.createMediaStreamDestination();
  source.connect(out);
  const recorder = new MediaRecorder(out.stream, { mimeType: "audio/webm;codecs=opus" });
  const pieces = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  const stopped = new Promise((done) => (recorder.onstop = done));
  recorder.start(100);
  source.start();
  await new Promise((done) => (source.onended = done));
  recorder.stop();
  await stopped;
  const told = [];
  for (const piece of pieces) {
    const data = new Uint8Array(await piece.arrayBuffer());
    told.push(btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join("")));
  }
  return told;
}"""


def recorded() -> list[bytes]:
    """The pieces that Chromium's MediaRecorder gives of the example, one about every 0.1 s."""
    found = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        page = browser.new_page()
        pieces = page.evaluate(RECORD, base64.b64encode(EXAMPLE.read_bytes()).decode())
        browser.close()
    return [base64.b64decode(piece) for piece in pieces]


@pytest.mark.browser
def test_a_recorder_of_a_browser() -> None:
    model = emovox.load()
    labels = [each.label for each in model.timeline(EXAMPLE)]
    for _ in range(4):  # on a busy machine the browser drops sound while it plays it
        pieces = [piece for piece in recorded() if piece]
        whole = b"".join(pieces)
        if len(pieces) > 10 and [each.label for each in model.timeline(whole)] == labels:
            break
    session = Session(lambda start: SessionModel("default", model))
    advance(session.receive('{"type": "start", "encoding": "webm"}'))
    answers, late_s, at = [], [], 0
    for piece in pieces:
        work, is_last = session.receive(piece), False
        while not is_last:
            found, is_last = advance(work)
            answers += found
        at += len(piece)
        late_s.append(len(audio.read(whole[:at])) / audio.SAMPLE_RATE - session.audio_s)
    answers += advance(session.receive('{"type": "flush"}'))[0]

    assert len(pieces) > 10
    assert max(late_s) < 0.5, "FFmpeg looks at a little before it begins"
    assert max(late_s[5:]) < 0.1, "what came is heard at once"
    wanted = [each.to_dict() for each in model.timeline(whole)]
    segments = [
        {k: v for k, v in each.items() if k != "type"} for each in answers if each["type"] == "segment"
    ]
    assert json.dumps(segments) == json.dumps(wanted)
    assert [each["label"] for each in segments] == labels
