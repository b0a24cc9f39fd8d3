"""From a name to a bundle: those inside the package, a folder, a training run, the Hugging Face Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from emovox.bundles import SPEC_FILE, Spec, read_spec
from emovox.errors import BundleNotFoundError

__all__ = ["DEFAULT", "EMBEDDED", "BundleEntry", "find", "models"]

DEFAULT = "default"
"""The model that is used when none is named. A package built without it has another (`hatch_build.py`)."""

_BUNDLE_OF_RUN = "bundle"
_HUB = "hf://"

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the bundles that come with the package, one folder a bundle."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A bundle that can be loaded by its name."""

    name: str
    """The argument of `emovox.load`."""
    path: Path
    spec: Spec


def models() -> list[BundleEntry]:
    """List the bundles that `emovox.load` knows by name, the default first. Opens no model.

    Raises:
        BundleError: an embedded bundle is damaged (the message names the file).
    """
    return [BundleEntry(name, EMBEDDED / name, read_spec(EMBEDDED / name)) for name in _names()]


def find(name: str | os.PathLike[str] = DEFAULT) -> Path:
    """Find the folder of a bundle by a name, a path, or the path of a training run that holds one.

    ``hf://owner/name`` is downloaded unless it is in the cache.

    Raises:
        BundleNotFoundError: there is none; the message names what exists.
        EmovoxError: as `emovox.bundles.hub.fetch`.
    """
    if isinstance(name, str) and name.startswith(_HUB):
        from emovox.bundles.hub import fetch  # only these names need the Hub

        return fetch(name)
    known = _names()
    if name == DEFAULT and known:
        return EMBEDDED / known[0]
    if isinstance(name, str) and name in known:
        return EMBEDDED / name
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            inner = path / _BUNDLE_OF_RUN  # of a training run; any other folder is taken for a bundle
            is_run = not (path / SPEC_FILE).exists() and (inner / SPEC_FILE).is_file()
            return inner if is_run else path
        is_file = path.exists()
    except (OSError, RuntimeError, ValueError):  # a loop of links, no such home, a NUL in the name
        is_file = False
    what = "is a file, a bundle is a folder" if is_file else "is neither a known model nor a folder"
    raise BundleNotFoundError(
        f"{os.fspath(name)!r} {what}; models that come with emovox: {', '.join(known) or 'none'}"
    )


def _names() -> list[str]:
    found = sorted(file.parent.name for file in EMBEDDED.glob(f"*/{SPEC_FILE}"))
    return sorted(found, key=lambda name: name != DEFAULT)
