"""What is written down: one JSON object a line, and never sound, a file's name, a key or an address."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import time
import traceback
from typing import Any

__all__ = ["NAME", "SELDOM_S", "JsonLines", "Seldom", "configured", "fault", "note", "request"]

NAME = "emovox.server"

SELDOM_S = 60.0
"""From a line of asyncio's to the next that says the same."""

_log = logging.getLogger(NAME)


def request(number: str, **said: Any) -> None:
    """One request that was answered. ``said`` are numbers and words of ours."""
    _write(logging.INFO, "request", number=number, **said)


def fault(number: str, error: BaseException) -> None:
    """A fault of ours: its type and the calls that led there. Its words may quote a request: not written."""
    calls = traceback.extract_tb(error.__traceback__)
    place = [f"{call.filename}:{call.lineno} {call.name}" for call in calls]
    _write(logging.ERROR, "fault", number=number, kind=type(error).__name__, place=place)


def note(event: str, *, level: int = logging.INFO, **said: Any) -> None:
    """Something else that happened, such as the end of a stream."""
    _write(level, event, **said)


def _write(level: int, event: str, **said: Any) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, event, extra={"said": {name: x for name, x in said.items() if x is not None}})


class JsonLines(logging.Formatter):
    """A record as one line of JSON.

    A traceback, which may quote what was sent, is cut down to the type of its error.
    """

    def format(self, record: logging.LogRecord) -> str:
        said = getattr(record, "said", {})
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "process": record.process,
            "event": record.getMessage(),
            **said,
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False, default=str)


class Seldom(logging.Filter):
    """Lets the same message through once in `SELDOM_S`, and of each only the words before what it shows.

    What asyncio shows is the object that failed, whose repr may quote what was sent. And it repeats itself: a
    hundred times a second where no more files can be opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}
        """Few: a message for each place in asyncio that complains."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is time to say so again; cuts the record."""
        words = _SHOWN.split(record.getMessage(), maxsplit=1)[0].strip()
        if record.created - self._said_at.get(words, -SELDOM_S) < SELDOM_S:
            return False
        self._said_at[words] = record.created
        record.msg, record.args = words, ()
        return True


_SHOWN = re.compile(r"[\n<'\"]|\((?!\))")
"""Where the repr of something begins, or the lines with its details; not ``accept()``."""


def configured(level: str) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: our lines at ``level``, those of the libraries from ``warning`` on.

    Below that the server's libraries write addresses and queries of WebSockets (info), their frames and what
    stands in them, keys too (debug).
    """
    loudest = max(logging.getLevelName(level.upper()), logging.WARNING)
    handler = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    quiet = {"handlers": ["stderr"], "level": loudest, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "emovox.server.logs.JsonLines"}},
        "filters": {"seldom": {"()": "emovox.server.logs.Seldom"}},
        "handlers": {"stderr": handler},
        "loggers": {
            NAME: {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "asyncio": {**quiet, "filters": ["seldom"]},
            **dict.fromkeys(("uvicorn", "uvicorn.error", "websockets", "python_multipart"), quiet),
        },
    }
