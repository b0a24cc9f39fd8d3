"""The exceptions of emovox, as one tree.

::

    EmovoxError                     everything emovox raises on purpose
    ├── AudioError                  the sound cannot be used
    │   ├── AudioNotFoundError      there is no such file (also a FileNotFoundError)
    │   ├── AudioDecodeError        the file exists, but is not sound that can be read
    │   └── AudioValueError         it was read, but is not usable (also a ValueError)
    │       └── AudioTooLongError   it lasts longer than it may
    ├── LabelError                  an unknown emotion or label set (also a ValueError)
    ├── BundleError                 a model bundle cannot be used
    │   ├── BundleNotFoundError     no bundle under that name or path (also a FileNotFoundError)
    │   ├── BundleCorruptError      files missing, changed or contradictory
    │   └── BundleVersionError      written by a newer emovox, or on features since changed
    ├── ProfileError                a profile cannot be read, or not be used (also a ValueError)
    ├── PlaceError                  a file or folder, here or in a store, cannot be read or written
    │   └── PlaceNotFoundError      there is none (also a FileNotFoundError)
    ├── BatchError                  a run over many recordings cannot start, or not continue
    ├── TranscriptError             a transcript or label file cannot be read (also a ValueError)
    ├── ManifestError               a corpus or a manifest is not as expected (also a ValueError)
    ├── ProtocolError               a split cannot be used as requested (also a ValueError)
    ├── MicrophoneError             no microphone can be found or opened
    ├── BotError                    the messenger refuses, or cannot be reached
    ├── ServerError                 an emovox server refuses, or cannot be reached
    ├── DownloadError               a file could not be downloaded completely
    ├── UploadError                 a bundle could not be put on the Hub
    ├── ConfigError                 a setting is unknown or out of range (also a ValueError)
    └── MissingExtraError           an optional dependency is not installed (also an ImportError)

Each message says what was given, what was expected, and what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

__all__ = [
    "AudioDecodeError",
    "AudioError",
    "AudioNotFoundError",
    "AudioTooLongError",
    "AudioValueError",
    "BatchError",
    "BotError",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleVersionError",
    "ConfigError",
    "DownloadError",
    "EmovoxError",
    "LabelError",
    "ManifestError",
    "MicrophoneError",
    "MissingExtraError",
    "PlaceError",
    "PlaceNotFoundError",
    "ProfileError",
    "ProtocolError",
    "ServerError",
    "TranscriptError",
    "UploadError",
    "did_you_mean",
    "install_command",
    "nearest",
]


class EmovoxError(Exception):
    """Base class of all errors that emovox raises on purpose."""


class AudioError(EmovoxError):
    """The sound cannot be used."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """There is no such file."""


class AudioDecodeError(AudioError):
    """The bytes are not sound that can be read."""


class AudioValueError(AudioError, ValueError):
    """The samples were read but are not usable: empty, wrong shape, not finite, absurd rate."""


class AudioTooLongError(AudioValueError):
    """The recording is longer than allowed; it was decoded up to the limit, and no further."""


class LabelError(EmovoxError, ValueError):
    """An emotion or a label set is unknown."""


class BundleError(EmovoxError):
    """A model bundle cannot be used."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle has that name or path."""


class BundleCorruptError(BundleError):
    """A bundle's files are missing, changed or contradict each other."""


class BundleVersionError(BundleError):
    """The bundle was written by a newer emovox, or the definition of its features has changed."""


class ProfileError(EmovoxError, ValueError):
    """A profile cannot be read, or the model cannot use it."""


class PlaceError(EmovoxError):
    """A file or folder, on this machine or in a store, cannot be read or written."""

    @property
    def is_full(self) -> bool:
        """Whether the disk or the quota is full."""
        code = getattr(self.__cause__, "errno", None)
        return errno.errorcode.get(code or 0) in ("ENOSPC", "EDQUOT")


class PlaceNotFoundError(PlaceError, FileNotFoundError):
    """There is no such file or folder."""


class BatchError(EmovoxError):
    """A run over many recordings cannot start in that folder, or not continue."""


class TranscriptError(EmovoxError, ValueError):
    """A transcript or a label file cannot be read, or not be used as requested."""


class ManifestError(EmovoxError, ValueError):
    """A corpus or a manifest is not as expected."""


class ProtocolError(EmovoxError, ValueError):
    """A split cannot be used as requested."""


class MicrophoneError(EmovoxError):
    """There is no such microphone, or it cannot be opened."""


class BotError(EmovoxError):
    """The messenger refuses, or cannot be reached."""


class ServerError(EmovoxError):
    """An emovox server refuses a request, or cannot be reached.

    Args:
        code: the server's error code.
        message: a sentence for users.
        retry_after_s: when to try again, if the server names a time.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s


class DownloadError(EmovoxError):
    """A file could not be downloaded completely; no partial file is left under its name."""


class UploadError(EmovoxError):
    """A bundle could not be uploaded to the Hugging Face Hub."""


class ConfigError(EmovoxError, ValueError):
    """A setting is unknown or out of range."""


class MissingExtraError(EmovoxError, ImportError):
    """An optional dependency is not installed; the message is the sentence that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: run  {install_command(extra)}")
        self.extra = extra


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the name in ``known`` that ``name`` is probably a misspelling of, or ``None``.

    Args:
        name: the unknown name.
        known: the names that there are.
        cutoff: similarity below which nothing is near, 0 to 1, as of `difflib.get_close_matches`.
    """
    from difflib import get_close_matches  # only needed once something is wrong

    return next(iter(get_close_matches(str(name), list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str], *, listed: Iterable[str] = ()) -> str:
    """Return the last part of a message about an unknown name: the nearest known one, or all of them.

    Args:
        name: the unknown name.
        known: the names that it may be a misspelling of.
        listed: what to list instead of ``known`` when none is near.

    >>> did_you_mean("optna", ["random", "optuna"]), did_you_mean("x", ["random", "optuna"])
    ("did you mean 'optuna'?", 'there are random, optuna')
    """
    names = dict.fromkeys(map(str, known))
    near = nearest(name, names)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(listed or names) or 'none'}"


def install_command(extra: str) -> str:
    """Return the command that installs an extra for the running interpreter, from where emovox came from."""
    import shlex
    import shutil
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    is_checkout = (root / "pyproject.toml").is_file()
    target = f"-e '{root}[{extra}]'" if is_checkout else f"'{_find_origin() or 'emovox'}[{extra}]'"
    on_path = shutil.which("python")
    is_python = on_path is not None and Path(on_path).parent == Path(sys.executable).parent
    command = f"{'python' if is_python else shlex.quote(sys.executable)} -m pip install {target}"
    # PyPI's build of PyTorch brings several GB of CUDA libraries.
    return f"{command}  (install PyTorch's CPU build first)" if extra in ("all", "ssl", "train") else command


def _find_origin() -> str | None:
    """Return the folder or wheel that emovox was installed from, if it is still there (PEP 610)."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        record = json.loads(distribution("emovox").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    url = urlsplit(str(record.get("url", "")))
    path = url2pathname(url.path) if url.scheme == "file" else ""
    return path if path and Path(path).exists() else None
