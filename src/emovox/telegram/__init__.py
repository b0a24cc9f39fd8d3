"""A bot that answers voice messages with the expressed emotion (extra ``bot``).

::

    telegram   messages come, answers go: the transport, and who may ask how often
    api        Telegram's methods, called; a token that nobody sees
    judging    a recording -> what is to be told of it
    words      the sentences
    pictures   the pictures

What Telegram sends is kept in nameless temporary files, which are gone when they are closed or the process
ends, however it ends.
"""

from __future__ import annotations

__all__: list[str] = []
