"""Messages of the command line for frequent mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from emovox.cli import main


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--epochs", "3"], "train.epochs=3"),
        (["--epochs=3"], "train.epochs=3"),
        (["--epochs"], "train.epochs=VALUE"),
    ],
)
def test_setting_typed_as_option(typed: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "config.yaml", *typed]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "listen", "serve", "batch", "train", "bot"])
def test_help_names_the_ai_act_at_most_once(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.count("AI Act") <= 1


def test_guesses_are_near(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.wav").touch()
    assert main(["predict", "recording.wav"]) != 0
    assert "did you mean" not in capsys.readouterr().err
    assert main(["predict", "othr.wav"]) != 0
    assert "did you mean 'other.wav'" in capsys.readouterr().err


def test_choices_without_words_of_a_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.wav", "--vad", "maybe"]) == 2
    printed = capsys.readouterr().err
    assert "'maybe' is not one of 'on', 'off'" in printed
    assert "Value error" not in printed
