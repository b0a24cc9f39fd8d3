"""Help of every command, which imports no extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from emovox.cli import main
from emovox.cli.app import app


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    group = get_command(app)
    for name in group.list_commands(None):
        assert f"\n  {name} " in printed
        assert group.get_command(None, name) is not None


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from emovox.cli import main; main(['--help']); "
        "names = [m for m in sys.modules if m.startswith('emovox.cli.') or m in ('numpy', 'onnxruntime')]; "
        "print(*names, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) <= {"emovox.cli.app", "emovox.cli.groups", "emovox.cli.terminal"}


def test_decoder_reports_faults_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    from emovox import audio

    def open_(*args: object, **options: object) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr(av, "open", open_)
    with pytest.raises(TypeError):
        audio.read(b"#!AMR\n" + bytes(100))


def test_an_option_that_is_a_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    assert main(["train", "--epochs", "3"]) == 2
    assert "train.epochs=3" in capsys.readouterr().err
    assert main(["predict", "--epochs", "3"]) == 2
    assert "=VALUE" not in capsys.readouterr().err


def test_a_missing_file_names_a_near_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.wav").touch()
    for name, hint in (("clip.wav", ""), ("othr.wav", "did you mean 'other.wav'")):
        assert main(["predict", name]) == 1
        said = capsys.readouterr().err
        assert hint in said
        assert bool(hint) == ("did you mean" in said)
