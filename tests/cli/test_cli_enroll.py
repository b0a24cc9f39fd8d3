"""``emovox enroll`` and ``emovox predict --profile``: the command says what the library says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import emovox
from conftest import tiny_features_onnx
from emovox.bundles import write_bundle
from emovox.cli import main
from emovox.inference.adaptation import Profile
from speaker_model import SPEECH, speaker_spec
from speech import pause, talk

pytest.importorskip("onnx")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices") / "bundle"
    write_bundle(folder, tiny_features_onnx(180), speaker_spec())
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"me{i}.wav" for i in range(len(SPEECH))]
    for file, x in zip(files, SPEECH, strict=True):
        soundfile.write(file, x, 16_000, subtype="FLOAT")
    return files


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """``run(*argv)`` -> exit code, stdout, stderr."""

    def call(*argv: str | Path) -> tuple[int, str, str]:
        code = main([str(arg) for arg in argv])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_enroll_then_predict(run: Run, bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    code, out, err = run("enroll", *clips[:2], "-o", file, "--model", bundle)
    assert (code, err) == (0, "")
    assert out == f"{file}: 2 clips, 2.4 s; for models on seed-180, such as knows-voices 1\n"
    model = emovox.load(bundle)
    me = Profile.load(file)
    assert me == model.enroll([str(clip) for clip in clips[:1]]).merge(model.enroll([str(clips[1])]))
    code, out, _ = run("predict", clips[2], "--model", bundle, "--profile", file, "--format", "jsonl")
    assert code == 0
    assert json.loads(out) == model.predict(str(clips[2]), profile=me).to_dict()
    assert json.loads(out)["scores"] != model.predict(str(clips[2])).scores


@pytest.mark.parametrize(
    "options", [["--adapt"], ["--profile", "me.json"], ["--profile", "me.json", "--adapt"]]
)
def test_timeline_with_profile_and_adapt(
    run: Run,
    bundle: Path,
    clips: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk.wav", talk(), 16_000, subtype="FLOAT")
    model = emovox.load(bundle)
    me = model.enroll(clips)
    me.save("me.json")
    code, out, _ = run("predict", "talk.wav", "--timeline", "--model", bundle, "--format", "jsonl", *options)
    assert code == 0
    told = {"profile": me if "--profile" in options else None, "adapt": "--adapt" in options}
    expected = [segment.to_dict() for segment in model.timeline("talk.wav", **told)]
    assert [json.loads(line) for line in out.splitlines()] == expected
    assert expected != [segment.to_dict() for segment in model.timeline("talk.wav")]


def test_unusable_files_are_reported(run: Run, bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", pause(2.0), 16_000)
    file = tmp_path / "me.json"
    code, _, err = run(
        *("enroll", clips[0], tmp_path / "silence.wav", tmp_path / "gone.wav", "-o", file, "--model", bundle)
    )
    assert code == 1
    assert f"{tmp_path / 'silence.wav'}: nothing of this recording can be enrolled: silence" in err
    assert f"{tmp_path / 'gone.wav'}: no such file" in err
    assert Profile.load(file).n_clips == 1


def test_no_profile_without_clips(run: Run, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    code, _, err = run("enroll", tmp_path / "gone.wav", "-o", file, "--model", bundle)
    assert code == 2
    assert "nothing was learnt" in err
    assert not file.exists()


def test_existing_output_is_kept(run: Run, bundle: Path, clips: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    file.write_text("mine")
    code, _, err = run("enroll", clips[0], "-o", file, "--model", bundle)
    assert code == 2
    assert "--force" in err
    assert file.read_text() == "mine"
    code, _, err = run("enroll", *clips, "-o", clips[0], "--model", bundle, "--force")
    assert code == 2
    assert "is read by this command" in err
    assert run("enroll", clips[0], "-o", file, "--model", bundle, "--force")[0] == 0
    assert Profile.load(file).n_clips == 1
    code, _, err = run("enroll", clips[0], "-o", tmp_path / "nowhere" / "me.json", "--model", bundle)
    assert code == 2
    assert "folder that exists" in err


def test_wrong_model_or_profile(
    run: Run, bundle: Path, clips: list[Path], tmp_path: Path, tiny_bundle: Path
) -> None:
    file = tmp_path / "me.json"
    code, _, err = run("enroll", *clips, "-o", file, "--model", tiny_bundle)
    assert code == 2
    assert "cannot use a voice profile" in err
    emovox.load(bundle).enroll(clips).save(file)
    code, out, err = run("predict", *clips, "--model", tiny_bundle, "--profile", file)
    assert (code, out) == (2, "")
    assert err.count("cannot use a voice profile") == 1
    file.write_text("{")
    code, out, err = run("predict", *clips, "--model", bundle, "--profile", file)
    assert (code, out) == (2, "")
    assert "it is no voice profile" in err
    code, _, err = run("predict", clips[0], "--model", tiny_bundle, "--adapt")
    assert code == 2
    assert "cannot use a voice profile" in err
