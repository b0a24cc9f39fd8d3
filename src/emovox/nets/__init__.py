"""How a net is built, one file a net or a block (extra ``train``). Nothing that predicts imports it."""

from __future__ import annotations

__all__: list[str] = []
