"""Which recordings taught a model: its bundle remembers their contents, and knows them under any name.

A clip's mark is eight letters of base64: 6 bytes of the sha256 of its file's content and of the stretch that
it is. No sound can be made of a mark, but whoever has the very file can ask whether it taught the model. Of
20,000 foreign clips against as many marks, one is taken for known with a chance of about one in a million.

A copy that is no longer the same file, byte for byte, has another mark: only listening finds it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from emovox.datasets.manifest import Manifest
from emovox.features.cache import content_hash

__all__ = ["MAX_CLIPS", "known", "marks", "memory"]

MAX_CLIPS = 20_000
"""Of more clips nothing is remembered: these take 160 kB of the 1 MiB that a spec may have."""

_BYTES, _LETTERS = 6, 8


def marks(manifest: Manifest) -> dict[str, str]:
    """id -> mark, of the clips whose files can be read."""
    content = lru_cache(maxsize=1)(content_hash)  # stretches of one long file follow each other
    found = {}
    for u in manifest:
        try:
            whole = content(manifest.file(u))
        except (OSError, ValueError):  # no such file, or a name that no file can have
            continue
        stretch = f"{whole} {float(u.start or 0)!r} {u.end if u.end is None else float(u.end)!r}"
        found[u.id] = base64.b64encode(hashlib.sha256(stretch.encode()).digest()[:_BYTES]).decode()
    return found


def memory(manifest: Manifest) -> str:
    """The marks of clips that teach, sorted, as ``Spec.taught`` holds them; empty beyond `MAX_CLIPS`."""
    return "" if len(manifest) > MAX_CLIPS else "".join(sorted({*marks(manifest).values()}))


def known(taught: str, manifest: Manifest) -> tuple[str, ...]:
    """Ids of the clips that are among those of which ``taught`` is the `memory`."""
    kept = {taught[n : n + _LETTERS] for n in range(0, len(taught), _LETTERS)}
    return tuple(key for key, mark in marks(manifest).items() if mark in kept) if kept else ()
