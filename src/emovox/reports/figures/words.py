"""What stands on a figure of scores: of which model, on what, by which protocol. No number without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emovox.errors import ConfigError
from emovox.reports.text import span

__all__ = ["evaluation_caption", "evaluation_title", "section_of"]


def section_of(document: Mapping[str, Any], name: str, kind: str) -> Any:
    """A section of a document.

    Raises:
        ConfigError: it is a document of another kind, or the section is missing.
    """
    if document.get("kind") != kind:
        raise ConfigError(f"this document is of the kind {document.get('kind')!r}; expected {kind!r}")
    if name not in document:
        raise ConfigError(f"this {kind} has no {name!r}; make it again with this emovox")
    return document[name]


def evaluation_title(document: Mapping[str, Any]) -> str:
    """``vox 1 on emodb, protocol all``."""
    model, corpora = document["model"], ", ".join(document["data"]["corpora"])
    return f"{model['name']} {model['version']} on {corpora}, protocol {document['protocol']['name']}"


def evaluation_caption(document: Mapping[str, Any]) -> str:
    """What was tested, how strictly, and the UAR with its interval."""
    data, uar = document["data"], document["scores"]["uar"]
    return (
        f"{data['n_clips']} clips of {data['n_speakers']} speakers, stamp: {document['stamp']['stamp']}. "
        f"UAR {span(uar['value'], uar['low'], uar['high'])} %"
        f"{_unsure(uar['low'])}."
    )


def _unsure(low: float | None) -> str:
    return " (under ten speakers: no interval)" if low is None else " (95 % interval over speakers)"
