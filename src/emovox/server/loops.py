"""How several processes share out the connections of one socket.

All of them wait for it. asyncio takes as many connections as there are whenever it wakes, so that of clients
who come together, and stay, one process may get all and the others none: seen once with sixteen clients and
two processes. Taking one at a time leaves the next to whoever is free first. It makes shares likelier, not
equal (2 and 14 were seen on a busy machine).
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.base_events import Server
from typing import Any

__all__ = ["SharingLoop"]


class SharingLoop(asyncio.SelectorEventLoop):
    """A loop whose servers take one connection each time round."""

    async def create_server(
        self, *args: Any, sock: socket.socket | None = None, backlog: int = 100, **options: Any
    ) -> Server:
        """As asyncio's; of a socket that was handed in one connection at a time is taken.

        ``backlog`` is still how many may wait in the kernel.
        """
        if sock is None:
            return await super().create_server(*args, backlog=backlog, **options)
        server = await super().create_server(*args, sock=sock, backlog=1, **options)
        sock.listen(backlog)
        return server
