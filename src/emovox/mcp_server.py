"""A server of the Model Context Protocol: agents predict recordings in folders that the user allows.

Made with the official SDK (https://github.com/modelcontextprotocol/python-sdk, extra ``mcp``).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

import emovox
from emovox.bundles import registry
from emovox.disclaimer import LIMITS, NOTICE
from emovox.errors import ConfigError, EmovoxError, did_you_mean
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.inference.recognizer import load as load_model
from emovox.results import Result, Segment

__all__ = ["MAX_FILES", "create_server", "open_allowed"]

MAX_FILES = 32
"""Recordings of one call, as of a request to the HTTP server."""

_Labels = Annotated[str | None, Field(max_length=500, description="Decide among these only: angry,happy,sad")]
_Model = Annotated[str | None, Field(max_length=300, description="A name from the tool models")]
_File = Annotated[str, Field(min_length=1, max_length=4096, description="A path below an allowed folder")]
_Channels = Annotated[
    str,
    Field(pattern=r"^(mix|each|[0-9]{1,2})$", description="The mean of all, each separately, or one, from 0"),
]


def create_server(
    folders: Sequence[Path],
    *,
    models: Sequence[str] | None = None,
    max_mb: float = 500.0,
    max_s: float = 3600.0,
) -> MCPServer[Any]:
    """Create a server with the tools ``predict``, ``timeline`` and ``models``; ``run()`` serves stdio.

    Args:
        folders: recordings below these may be read, and nothing else.
        models: names as of `emovox.load`, the first is the default; ``None``: those that come with emovox.
        max_mb: megabytes of the largest file that is read.
        max_s: seconds of the longest recording that is read.

    Raises:
        ConfigError: there is no folder, one is not a folder, or a limit is not above 0.
        BundleNotFoundError: there is no such model.
    """
    if not folders:
        raise ConfigError("no folder is allowed; name one or more whose recordings may be read")
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{str(folder)!r} is not a folder; expected one whose recordings may be read")
    if not max_mb > 0 or not max_s > 0:
        raise ConfigError(f"the limits are {max_mb:g} MB and {max_s:g} s; expected more than 0")
    tools = _Tools(
        tuple(folder.resolve() for folder in folders),
        {entry.name: str(entry.path) for entry in registry.models()}
        if models is None
        else {name: str(registry.find(name)) for name in models},
        max_bytes=round(max_mb * 1e6),
        max_s=max_s,
    )
    server: MCPServer[Any] = MCPServer(
        "emovox",
        version=emovox.__version__,
        instructions=f"{NOTICE} {LIMITS} Recordings are read below: {', '.join(map(str, tools.folders))}",
        log_level="WARNING",  # its lines at INFO quote the paths of requests
    )
    for tool, text in (
        (tools.predict, "Predict the emotion expressed in recordings of speech, one row per recording."),
        (tools.timeline, "Predict the emotion expressed over time in one recording: segments of speech."),
        (tools.models, "List the models with their labels, scores and terms of use."),
    ):
        server.add_tool(
            tool,
            description=f"{text} {NOTICE}",
            annotations=ToolAnnotations(
                read_only_hint=True, idempotent_hint=True, destructive_hint=False, open_world_hint=False
            ),
        )
    return server


class _Tools:
    """The functions that agents call. They run in threads of the SDK."""

    def __init__(
        self, folders: tuple[Path, ...], models: dict[str, str], *, max_bytes: int, max_s: float
    ) -> None:
        self.folders = folders
        self._models = models
        self._max_bytes, self._max_s = max_bytes, max_s
        self._opened: dict[str, Recognizer] = {}
        self._lock = threading.Lock()
        """One recording at a time: an agent's calls must not take all cores."""

    def predict(
        self,
        files: Annotated[list[_File], Field(min_length=1, max_length=MAX_FILES)],
        labels: _Labels = None,
        model: _Model = None,
        channels: _Channels = "mix",
    ) -> dict[str, Any]:
        """Predict recordings; one that fails is a row with its error."""
        recognizer, options = self._prepare(model, PredictOptions(labels=labels, channels=channels))
        rows: list[dict[str, Any]] = []
        for file in files:
            try:
                rows += [row.to_dict() for row in self._read(recognizer, file, options)]
            except (EmovoxError, ToolError) as error:
                rows.append({"file": file, "error": str(error).removeprefix("file object: ")})
        return {"model": _identify(recognizer), "predictions": rows, "notice": NOTICE}

    def timeline(
        self,
        file: _File,
        labels: _Labels = None,
        model: _Model = None,
        channels: _Channels = "mix",
    ) -> dict[str, Any]:
        """Predict the segments of one recording."""
        recognizer, options = self._prepare(
            model, PredictOptions(labels=labels, channels=channels, timeline=True)
        )
        try:
            found = self._read(recognizer, file, options)
        except EmovoxError as error:
            raise ToolError(f"{file}: {str(error).removeprefix('file object: ')}") from None
        segments = [row.to_dict() for row in found if isinstance(row, Segment)]
        return {"model": _identify(recognizer), "segments": segments, "notice": NOTICE}

    def models(self) -> dict[str, Any]:
        """List the models, the default first."""
        rows = []
        for name in self._models:
            spec = self._open(name).spec
            whole = spec.to_dict()
            keys = ("version", "description", "labels", "corpora", "protocol", "licence", "scores")
            targets = {"targets": list(spec.target_names)} if spec.targets else {}
            rows.append({"name": name, **{key: whole[key] for key in keys}, **targets})
        return {"models": rows, "notice": NOTICE}

    def _prepare(self, model: str | None, options: PredictOptions) -> tuple[Recognizer, PredictOptions]:
        name = next(iter(self._models)) if model is None else model
        if name not in self._models:
            raise ToolError(f"no model {name!r}; {did_you_mean(name, self._models)}")
        try:
            recognizer = self._open(name)
            return recognizer, recognizer.check(options)
        except EmovoxError as error:
            raise ToolError(str(error)) from None

    def _open(self, name: str) -> Recognizer:
        with self._lock:
            if name not in self._opened:
                self._opened[name] = load_model(self._models[name], max_s=self._max_s)
            return self._opened[name]

    def _read(self, recognizer: Recognizer, file: str, options: PredictOptions) -> list[Result]:
        with self._lock, open_allowed(file, self.folders, max_bytes=self._max_bytes) as stream:
            return [row.with_file(file) for row, _ in recognizer.results(stream, options)]


def _identify(recognizer: Recognizer) -> str:
    return f"{recognizer.name} {recognizer.spec.version}"


# --- files ----------------------------------------------------------------------------------------


@contextmanager
def open_allowed(path: str, folders: Sequence[Path], *, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file below one of the folders.

    A path outside of them, a link that leads out, a device, a pipe and a large file are refused.

    Args:
        path: absolute, or relative to one of the folders.
        folders: resolved, as by `pathlib.Path.resolve`.
        max_bytes: of the largest file.

    Raises:
        ToolError: the file is refused, or there is none. What is outside looks the same as what is absent.
    """
    real, folder = _find_allowed(path, folders)
    try:
        descriptor = _open_without_links(real, folder)
        with os.fdopen(descriptor, "rb") as stream:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise ToolError(f"{path!r} is not a regular file; expected a recording")
            if about.st_size > max_bytes:
                raise ToolError(
                    f"{path!r} has {about.st_size:,} bytes, at most {max_bytes:,} are read; cut it up, or "
                    "have the user raise --max-mb"
                )
            yield stream
    except OSError as error:
        raise ToolError(f"{path!r} cannot be opened: {error.strerror or error}") from None


def _find_allowed(path: str, folders: Sequence[Path]) -> tuple[Path, Path]:
    """Return where the file really is, and the folder that allows it."""
    try:
        for folder in folders:
            real = Path(os.path.realpath(folder / path))  # an absolute path replaces the folder
            if real.is_relative_to(folder) and real.exists():
                if not real.is_file():  # also before it is opened: opening a device can have effects
                    raise ToolError(f"{path!r} is not a regular file; expected a recording")
                return real, folder
    except (OSError, ValueError):  # a name too long, a NUL in it, a loop of links
        pass
    raise ToolError(
        f"{path!r} is not a file below an allowed folder; expected one below {', '.join(map(str, folders))}"
    )


def _open_without_links(real: Path, folder: Path) -> int:
    """Open a file part by part: a link that is put into its way meanwhile is an error, not followed."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    if os.open not in os.supports_dir_fd:  # Windows, where making links needs a privilege
        return os.open(real, flags)
    no_link = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe would wait for its writer
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    *parents, name = real.relative_to(folder).parts
    try:
        for part in parents:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | no_link, dir_fd=at)
            os.close(at)
            at = deeper
        return os.open(name, flags | no_link, dir_fd=at)
    finally:
        os.close(at)
