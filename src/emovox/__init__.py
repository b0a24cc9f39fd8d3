"""emovox recognises the emotion expressed in speech.

>>> import emovox
>>> model = emovox.load()                  # doctest: +SKIP
>>> model.predict("clip.wav").label        # doctest: +SKIP
'happy'

Importing this package loads nothing heavy: each name is fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emovox.errors import EmovoxError
    from emovox.labels import EMOTIONS
    from emovox.listening import Stream
    from emovox.profile import Profile
    from emovox.recognizer import Recognizer
    from emovox.results import Prediction, Quality, Segment, Window
    from emovox.zoo import load, models

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "EmovoxError",
    "Prediction",
    "Profile",
    "Quality",
    "Recognizer",
    "Segment",
    "Stream",
    "Window",
    "__version__",
    "load",
    "models",
]

_HOME = {
    "EMOTIONS": "labels",
    "EmovoxError": "errors",
    "Prediction": "results",
    "Profile": "profile",
    "Quality": "results",
    "Recognizer": "recognizer",
    "Segment": "results",
    "Stream": "listening",
    "Window": "results",
    "load": "zoo",
    "models": "zoo",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"emovox.{_HOME[name]}"), name)
    raise AttributeError(f"module 'emovox' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
