"""``emovox augment`` writes what the library gives, and destroys nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox import audio
from emovox.augment import TRANSFORMS, make_rng, make_transform
from emovox.cli import main
from signals import RATE, speech

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """``run(*argv)`` -> exit code, stdout, stderr."""

    def call(*argv: object) -> tuple[int, str, str]:
        code = main(["augment", *map(str, argv)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.wav"
    soundfile.write(file, speech(), RATE, subtype="FLOAT")
    return file


@pytest.mark.parametrize(
    ("typed", "kind", "settings"),
    [
        (("--snr-db", "10", "--colour=white"), "noise", {"snr_db": 10, "colour": "white"}),
        (("--semitones", "-2..2"), "pitch", {"semitones": (-2, 2)}),
        (("--wrap", "--shift-s", "-0.1"), "shift", {"wrap": True, "shift_s": -0.1}),
        (("--wrap=false",), "shift", {}),
        ((), "g711", {}),
    ],
)
def test_output_equals_library(
    run: Run, clip: Path, tmp_path: Path, typed: tuple[str, ...], kind: str, settings: dict[str, object]
) -> None:
    for place, name in enumerate(("out.wav", "out.flac")):
        out = tmp_path / name
        words = [*typed, clip] if place else [clip, *typed]  # the recording may stand anywhere
        code, said, err = run(*words, "--kind", kind, "--seed", "3", "-o", out)
        assert (code, err) == (0, "")
        assert said.startswith(f"{out}: ")
        x = audio.read(clip)
        expected = make_transform(kind, **settings)(x, make_rng(3, ""))
        np.testing.assert_allclose(audio.read(out), expected, atol=2e-7)  # 24 bits
        assert not list(tmp_path.glob("*.part"))


def test_existing_output_is_kept(run: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    out.write_text("mine")
    code, _, err = run(clip, "-k", "gain", "-o", out)
    assert code == 2
    assert "exists; name another file, or add --force" in err
    assert out.read_text() == "mine"
    assert run(clip, "-k", "gain", "-o", out, "--force")[0] == 0
    assert len(audio.read(out)) == len(speech())
    code, _, err = run(clip, "-k", "gain", "-o", clip, "--force")
    assert code == 2
    assert "is read by this command" in err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("-k", "nois"), "no transform 'nois'; did you mean 'noise'?"),
        (("-k", "noise", "--snr-bd", "3"), "noise has no setting 'snr_bd'; did you mean 'snr_db'?"),
        (("-k", "noise", "--snr-db", "lots"), "expected -40 to 100, or two such numbers"),
        (("-k", "noise", "--snr-db"), "--snr-db needs a value"),
        (("-k", "gain", "second.wav"), "got 2 recordings"),
        (("-k", "babble"), "expected the path of a folder of recordings"),
        ((), "expected FILE, --kind K and -o FILE"),
    ],
)
def test_mistakes(run: Run, clip: Path, tmp_path: Path, typed: tuple[str, ...], said: str) -> None:
    code, _, err = run(clip, *typed, "-o", tmp_path / "out.wav")
    assert code == 2
    assert said in " ".join(err.split())
    assert not (tmp_path / "out.wav").exists()


def test_unwritable_output(run: Run, clip: Path, tmp_path: Path) -> None:
    for out, said in (("out.mp3", "ends in .wav or .flac"), ("gone/out.wav", "a folder that exists")):
        code, _, err = run(clip, "-k", "gain", "-o", tmp_path / out)
        assert code == 2
        assert said in err
    code, _, err = run(tmp_path / "none.wav", "-k", "gain", "-o", tmp_path / "out.wav")
    assert code == 2
    assert "no such file" in err


def test_list_transforms(run: Run) -> None:
    code, out, _ = run("--list")
    assert code == 0
    for name in TRANSFORMS:
        assert f"\n{name} " in f"\n{out}"
    assert "--snr-db 5..40" in out
    rows = json.loads(run("--list", "--format", "json")[1])
    assert [row["kind"] for row in rows] == list(TRANSFORMS)
    assert rows[0]["settings"] == {"snr_db": [5.0, 40.0], "colour": "any"}
