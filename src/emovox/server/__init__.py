"""HTTP and WebSocket server with a page (extra ``serve``).

::

    server          sockets, processes, signals
    timeouts        time limits for slow HTTP connections
    app             create_app(settings): the parts, assembled
    routes          HTTP routes; `websocket` the live route, `page/` the files for a browser
    limits          API key, requests per minute, concurrent requests
    model_pool      a few threads, a bounded queue, and the recognisers
    answers         predictions and timelines of an upload, as rows
    uploads         reads a request's body into bounded temporary files
    session         a live conversation without its socket; `stream_decoder` decodes its audio
    monitoring      logs, metrics, and the middleware that records requests
    schemas         documents of the interface
"""

from __future__ import annotations

__all__: list[str] = []
