"""Help of every command, which imports no extra."""

from __future__ import annotations

import subprocess
import sys

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
