"""Tools for agents: the official client lists and calls them; files outside of the folders are refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters

import emovox
from emovox.cli import main
from emovox.disclaimer import NOTICE
from emovox.errors import ConfigError
from emovox.mcp_server import create_server

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder with two recordings, beside one that is not allowed."""
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for each in (allowed / "calls", outside):
        each.mkdir(parents=True)
    shutil.copy(ROOT / "examples/angry.opus", allowed / "angry.opus")
    shutil.copy(ROOT / "examples/happy.opus", allowed / "calls" / "happy.opus")
    shutil.copy(ROOT / "examples/sad.opus", outside / "secret.opus")
    return allowed


def call(server: Any, tool: str, **arguments: Any) -> Any:
    """The result of a tool, over the protocol without a process."""

    async def run() -> Any:
        async with Client(server) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(run())


def error_of(server: Any, path: str) -> str:
    """The error of the row of a path."""
    (row,) = call(server, "predict", files=[path]).structured_content["predictions"]
    assert set(row) == {"file", "error"}
    return str(row["error"])


@pytest.mark.slow
def test_client_over_stdio(folder: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-W", "error", "-m", "emovox", "mcp", "--allow", str(folder)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    async def run() -> tuple[Any, ...]:
        async with Client(server) as client:
            return (
                await client.list_tools(),
                await client.call_tool("predict", {"files": ["angry.opus", str(folder / "none.wav")]}),
                await client.call_tool("timeline", {"file": str(folder / "calls/happy.opus")}),
                await client.call_tool("models", {}),
                client.instructions,
            )

    listed, predicted, timeline, models, instructions = asyncio.run(run())
    assert [tool.name for tool in listed.tools] == ["predict", "timeline", "models"]
    for tool in listed.tools:
        assert NOTICE in tool.description
        assert tool.annotations.read_only_hint is True
    assert NOTICE in instructions
    model = emovox.load()
    row, failed = predicted.structured_content["predictions"]
    assert row == {**model.predict(folder / "angry.opus").to_dict(), "file": "angry.opus"}
    assert "not a file below an allowed folder" in failed["error"]
    expected = [segment.to_dict() for segment in model.timeline(folder / "calls/happy.opus")]
    assert timeline.structured_content["segments"] == expected
    assert [one["name"] for one in models.structured_content["models"]] == [m.name for m in emovox.models()]


def test_labels_and_model(folder: Path, make_bundle: Callable[..., Path]) -> None:
    tiny = str(make_bundle())
    server = create_server([folder], models=[tiny, "fast"])
    answer = call(server, "predict", files=["angry.opus"], labels="happy,angry").structured_content
    assert answer["model"] == "tiny 1"
    assert set(answer["predictions"][0]["scores"]) == {"happy", "angry"}
    assert call(server, "timeline", file="angry.opus", model="fast").structured_content["model"] == "fast 2.1"
    wrong = call(server, "predict", files=["angry.opus"], model="fsat")
    assert wrong.is_error
    assert "did you mean 'fast'" in wrong.content[0].text
    assert call(server, "predict", files=["angry.opus"], model="default").is_error, "not allowed by the user"
    assert call(server, "timeline", file="angry.opus", labels="hungry").is_error


def test_paths_outside_are_refused(folder: Path) -> None:
    server = create_server([folder], models=["fast"])
    outside = folder.parent / "outside" / "secret.opus"
    absent = error_of(server, "none.opus").replace("none.opus", "*")
    for path in (str(outside), "../outside/secret.opus", "calls/../../outside/secret.opus", "/etc/passwd"):
        assert error_of(server, path).replace(path, "*") == absent, (
            "what is outside is as if it did not exist"
        )
    for path in ("\0", "a" * 4000, "~/secret.opus", "file:///etc/passwd"):
        assert "not a file below an allowed folder" in error_of(server, path)
    assert call(server, "timeline", file=str(outside)).is_error


def test_links_out_are_refused(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "file.opus").symlink_to(outside / "secret.opus")
    (folder / "linked").symlink_to(outside)
    (folder / "loop.opus").symlink_to(folder / "loop.opus")
    (folder / "inside.opus").symlink_to(folder / "calls" / "happy.opus")
    server = create_server([folder], models=["fast"])
    for path in ("file.opus", "linked/secret.opus", "loop.opus"):
        assert "not a file below an allowed folder" in error_of(server, path)
    (row,) = call(server, "predict", files=["inside.opus"]).structured_content["predictions"]
    assert row["scores"]


def test_link_put_in_the_way_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emovox import mcp_server

    real = mcp_server._find_allowed

    def find_and_swap(path: str, folders: Any) -> Any:
        found = real(path, folders)
        (folder / "calls").rename(folder / "away")
        (folder / "calls").symlink_to(folder.parent / "outside")
        return found

    shutil.copy(folder / "angry.opus", folder / "calls" / "secret.opus")
    monkeypatch.setattr(mcp_server, "_find_allowed", find_and_swap)
    assert "cannot be opened" in error_of(create_server([folder], models=["fast"]), "calls/secret.opus")


def test_devices_pipes_and_large_files_are_refused(folder: Path) -> None:
    server = create_server([folder, Path("/dev")], models=["fast"])
    os.mkfifo(folder / "pipe.wav")
    with (folder / "large.wav").open("wb") as stream:
        stream.truncate(10_000_000_000)
    assert "is not a regular file" in error_of(server, "pipe.wav")
    assert "is not a regular file" in error_of(server, "/dev/zero")
    assert "is not a regular file" in error_of(server, "calls")
    assert "10,000,000,000 bytes, at most 500,000,000" in error_of(server, "large.wav")
    short = create_server([folder], models=["fast"], max_s=1.0)
    assert "longer than 1 s" in error_of(short, "angry.opus")


def test_playlists_open_nothing(folder: Path) -> None:
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:3,\n../outside/secret.opus\n#EXT-X-ENDLIST\n")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile ../outside/secret.opus\n")
    server = create_server([folder], models=["fast"])
    for path in ("list.m3u8", "list.ffconcat"):
        assert error_of(server, path)


def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        create_server([])
    assert main(["mcp", "--allow", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["mcp", "--allow", str(tmp_path), "--max-mb", "0"]) == 2
    assert main(["mcp", "--allow", str(tmp_path), "--model", "nope"]) == 2
    assert main(["mcp"]) == 2
