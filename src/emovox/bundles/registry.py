"""From a name to a model: the bundles inside the package, a folder of yours, that of a run, the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from emovox.bundles import SPEC_FILE, Spec, load_bundle, read_spec
from emovox.errors import BundleNotFoundError

if TYPE_CHECKING:
    from emovox.inference.recognizer import Recognizer

__all__ = ["DEFAULT", "EMBEDDED", "Known", "find", "load", "models"]

DEFAULT = "default"
"""The model that is loaded when none is named."""

_BUNDLE_OF_RUN = "bundle"
_HUB = "hf://"

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the bundles that come with the package, one folder a bundle."""


@dataclass(frozen=True, slots=True)
class Known:
    """A bundle that can be loaded by its name."""

    name: str
    """What to give to `load`."""
    path: Path
    spec: Spec


def models() -> list[Known]:
    """The bundles that `load` knows by name, the default first. Opens no model.

    Raises:
        BundleError: an embedded bundle is damaged (the message names the file).
    """
    return [Known(name, EMBEDDED / name, read_spec(EMBEDDED / name)) for name in _names()]


def load(
    name: str | os.PathLike[str] = DEFAULT,
    *,
    threads: int = 1,
    vad: Literal["on", "off"] = "on",
    max_s: float | None = None,
) -> Recognizer:
    """Open a model: by its name, by the path of a bundle folder, or by that of a run that holds one.

    ``hf://owner/name`` or ``hf://owner/name@revision`` is one on the Hugging Face Hub (see
    `emovox.bundles.hub`).
    A name wins over a folder of the same name in the working directory; write ``./default`` for the folder.

    Args:
        name: one of `models`, a path, or ``hf://owner/name``.
        threads: threads that one judgement may use; 1 is best for small nets and for many files.
        vad: whether a voice activity detector looks for speech, unless a call says otherwise.
        max_s: seconds that a recording may last; ``None``: no limit.

    Raises:
        BundleNotFoundError: neither a known name nor a folder; the message names what exists.
        BundleError: the bundle is damaged, or newer than this emovox.
        DownloadError, MissingExtraError: a model on the Hub cannot be fetched; the extra ``hub`` is missing.
        ConfigError: ``threads`` is not a positive whole number, ``vad`` neither "on" nor "off",
            or ``max_s`` not above 0.
    """
    from emovox.inference.recognizer import Recognizer

    return Recognizer(load_bundle(find(name), threads=threads), vad=vad, max_s=max_s)


def find(name: str | os.PathLike[str] = DEFAULT) -> Path:
    """The folder of the bundle ``name`` (a name, a path, or the path of a run, whose ``bundle/`` it is).

    What ``hf://owner/name`` names is downloaded where it is not in the cache.

    Raises:
        BundleNotFoundError: there is none; the message names what exists.
        EmovoxError: as `emovox.bundles.hub.fetch`.
    """
    if isinstance(name, str) and name.startswith(_HUB):
        from emovox.bundles.hub import fetch  # nobody else needs the Hub

        return fetch(name)
    if isinstance(name, str) and name in _names():
        return EMBEDDED / name
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _inside(path)
        is_file = path.exists()
    except (OSError, RuntimeError, ValueError):  # a loop of links, no such home, a NUL in the name
        is_file = False
    what = "is a file, a bundle is a folder" if is_file else "is neither a known model nor a folder"
    known = ", ".join(_names()) or "none"
    raise BundleNotFoundError(f"{os.fspath(name)!r} {what}; models that come with emovox: {known}")


def _inside(folder: Path) -> Path:
    """The bundle of a run's folder; any other folder is held for a bundle itself."""
    inner = folder / _BUNDLE_OF_RUN
    return inner if not (folder / SPEC_FILE).exists() and (inner / SPEC_FILE).is_file() else folder


def _names() -> list[str]:
    found = sorted(file.parent.name for file in EMBEDDED.glob(f"*/{SPEC_FILE}"))
    return sorted(found, key=lambda name: name != DEFAULT)
