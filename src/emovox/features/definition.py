"""What is a set of features? One row, or frames, of named columns, and all that their values depend on.

A set is the one definition of its numbers: what trains a model, what a bundle computes when it predicts and
what the command writes to a table are the same call. ``digest`` names everything that its values depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError

__all__ = ["FeatureSet", "Kind"]

Kind = Literal["vector", "frames"]


class _Columns:
    """A field of names, or of a function that knows them and is asked when they are: a foreign library's."""

    def __get__(self, given: FeatureSet | None, owner: type) -> tuple[str, ...]:
        if given is None:
            raise AttributeError("columns")  # so that a dataclass sees a field without a default
        names: tuple[str, ...] | Callable[[], tuple[str, ...]] = given.__dict__["columns"]
        if not isinstance(names, tuple):
            names = given.__dict__["columns"] = names()
        return names

    def __set__(self, given: FeatureSet, names: tuple[str, ...] | Callable[[], tuple[str, ...]]) -> None:
        given.__dict__["columns"] = names


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A readable entry of `SETS`: call it with a sound and it gives the numbers of its ``columns``."""

    name: str
    kind: Kind
    """``vector``: one row ``(d,)`` a recording; ``frames``: ``(t, d)``."""
    description: str
    source: str
    columns: _Columns = _Columns()
    """Names ``(d,)`` of the values. Asking those of a set with an ``extra`` needs it installed."""
    compute: Callable[[Floats, int], Floats]
    """``(x (n,) float32, 16000) -> (d,) or (t, d)``; pure, picklable."""
    definition: Mapping[str, Any] = field(default_factory=dict)
    """What the values depend on, as JSON would have it: families, parameters, frame settings, versions."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What was changed against the set of this name."""
    depends: Callable[[], Mapping[str, Any]] | None = None
    """What else the values depend on that is only known by looking: a library's version, a file's content."""
    size: int | None = None
    """How many columns, where the names are not known beforehand."""
    version: int = 1
    """Goes up whenever the same definition gives other numbers."""
    hop_s: float | None = None
    """Seconds from frame to frame, for ``frames``."""
    extra: str | None = None
    """What has to be installed: ``pip install 'emovox[extra]'``."""
    licence: str = "Apache-2.0"

    def __call__(self, x: ArrayLike, sample_rate: int = SAMPLE_RATE) -> Floats:
        """Compute it.

        Raises:
            AudioValueError: ``x`` is empty, not ``(n,)``, not finite, or not at 16 kHz.
            MissingExtraError: the set needs an extra that is not installed.
        """
        sound = np.asarray(x, dtype=np.float32)
        if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
            raise AudioValueError(
                f"x has the shape {sound.shape}; expected a non-empty (n,) of finite samples"
            )
        if sample_rate != SAMPLE_RATE:
            raise AudioValueError(
                f"the set {self.name!r} got sound at {sample_rate} Hz; expected {SAMPLE_RATE}: "
                "emovox.audio.read resamples"
            )
        values = self.compute(sound, sample_rate)
        if values.shape[-1] != len(self.columns) or values.ndim != (1 if self.kind == "vector" else 2):
            raise RuntimeError(f"{self.name}: {values.shape} values for {len(self.columns)} columns")
        return values

    @property
    def n_columns(self) -> int:
        """How many columns; of openSMILE's sets known without the extra."""
        return len(self.columns) if self.size is None else self.size

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with whatever the values depend on."""
        found = dict(self.depends()) if self.depends else {}
        what = {"version": self.version, "columns": self.columns, **self.definition, **found}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def reference(self) -> dict[str, Any]:
        """How a bundle or a table names this set: ``{set, overrides, digest}``."""
        return {"set": self.name, "overrides": dict(self.overrides), "digest": self.digest}
