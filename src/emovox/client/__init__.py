"""Client of an emovox server: predictions over HTTP and live streams over WebSocket (extra ``serve``)."""

from __future__ import annotations

from emovox.client.http import Client
from emovox.client.live import LiveStream, live

__all__ = ["Client", "LiveStream", "live"]
