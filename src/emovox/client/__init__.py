"""A server's answers, as if the recogniser were here: results over HTTP and WebSocket (extra ``serve``)."""

from __future__ import annotations

from emovox.client.http import Client
from emovox.client.live import Live, live

__all__ = ["Client", "Live", "live"]
