"""``emovox explain``: a line, JSON and a figure; what cannot be explained is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emovox.audio import SAMPLE_RATE
from emovox.cli import main
from emovox.errors import ConfigError
from emovox.inference.recognizer import load
from emovox.results import Explanation
from speech import voice, wav


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.wav"
    file.write_bytes(wav(voice(1.0)))
    return file


def test_line_and_json_of_a_clip(clip: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(tiny_bundle)]
    assert main(["explain", str(clip), *model]) == 0
    line = capsys.readouterr().out
    assert main(["explain", str(clip), *model, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    found = load(tiny_bundle).explain(clip)
    assert line == f"{found}\n"
    assert row == found.to_dict()
    assert str(Explanation.from_dict(row)) == str(found)
    assert main(["explain", str(clip), *model, "--json", "--label", "anger", "--end-s", "0.6"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["label"], row["times_s"][-1]) == ("angry", 0.6)


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_figure_of_a_clip(
    suffix: str, clip: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"figure{suffix}"
    argv = ["explain", str(clip), "--model", str(tiny_bundle), "-o", str(file)]
    assert main(argv) == 0
    assert "clip.wav: " in capsys.readouterr().out
    text = file.read_text(encoding="utf-8")
    for words in ("drop, nats", "frequency, Hz (mel scale)", "speaks for the label"):
        assert words in text
    assert main(argv) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*argv, "--force"]) == 0


def test_figure_needs_the_sound_of_the_explanation(tiny_bundle: Path) -> None:
    pytest.importorskip("matplotlib")
    from emovox.reports.figures import draw_explanation

    found = load(tiny_bundle).explain(voice(1.0), sample_rate=SAMPLE_RATE)
    with pytest.raises(ConfigError, match=r"of 1\.00 s"):
        draw_explanation(found, np.zeros(8000, np.float32))
    axes = draw_explanation(found, voice(1.0)).axes
    heights = [bar.get_height() for bar in axes[2].patches]
    np.testing.assert_allclose(heights, found.time_drops)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["clipp.wav"], "did you mean"),
        (["."], "expected one recording"),
        (["clip.wav", "--label", "angy"], "angry"),
        (["clip.wav", "--start-s", "3"], "lasts 1.00 s"),
        (["clip.wav", "--channels", "each"], "one explanation"),
        (["clip.wav", "-o", "x.gif"], "ends with .png"),
        (["-"], "in a file"),
    ],
)
def test_mistakes_are_named(
    argv: list[str],
    says: str,
    clip: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(clip.parent)
    (clip.parent / "other.wav").write_bytes(clip.read_bytes())
    assert main(["explain", *argv, "--model", str(tiny_bundle)]) == 2
    assert says in capsys.readouterr().err
