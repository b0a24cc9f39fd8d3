"""A recogniser behind HTTP: transports that translate and limit (extra ``serve``).

::

    server     sockets, processes, signals
    patience   how long a connection may keep us waiting
    app        create_app(settings, factory): the parts, joined
    http       the routes of files; `socket` that of live sound; `page/` what a browser shows
    service    what the routes share: settings, engine, limits, metrics
    engine     a few threads, a bounded queue, and the recognisers
    answers    what is asked of a recording, and its rows
    uploads    a body, streamed into a bounded temporary file
    limits     who may ask, and how often
    watch      what became of a request: measured, logged (`logs`), dressed
    schemas    what is said over the wire
"""

from __future__ import annotations

__all__: list[str] = []
