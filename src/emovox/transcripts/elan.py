"""ELAN annotation files (.eaf).

Source: H. Sloetjes and P. Wittenburg, "ELAN Annotation Format, EAF 3.0" (Max Planck Institute for
Psycholinguistics). Times are milliseconds in slots that annotations refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from emovox.disclaimer import SHORT
from emovox.errors import TranscriptError
from emovox.transcripts.entries import Entry, make_entry, quote
from emovox.transcripts.tiers import Lane, Tier, select_entries

if TYPE_CHECKING:
    from xml.etree import ElementTree

__all__ = ["format_eaf", "read_eaf"]


def read_eaf(text: str, *, tier: str | None = None) -> Iterator[Entry]:
    """Yield the annotations of the tiers of speech (see `select_entries`).

    A tier's participant is the speaker. Annotations that refer to others have no times of their own, and are
    left out.

    Raises:
        TranscriptError: it is no ELAN file, or has no such tier.
    """
    from xml.etree import ElementTree  # takes longer to import than all of this package

    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can unfold to gigabytes; ELAN writes none
        raise TranscriptError("it has a DOCTYPE or entities; expected an ELAN file (.eaf) without")
    try:
        root = ElementTree.fromstring(text.lstrip())
    except ElementTree.ParseError as error:
        raise TranscriptError(f"it is no well-formed XML: {error}") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise TranscriptError(f"it is XML of {quote(root.tag)}; expected an ELAN file, ANNOTATION_DOCUMENT")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    # Tiers below others are of their words and morphemes.
    chosen = [one for one in root.iter("TIER") if tier is not None or one.get("PARENT_REF") is None]
    tiers = [_read_tier(one, slots) for one in chosen]
    return select_entries(tiers, tier)


def _read_tier(element: ElementTree.Element, slots: Mapping[str | None, str | None]) -> Tier:
    tier = Tier(element.get("TIER_ID", ""), speaker=element.get("PARTICIPANT") or None)
    for annotation in element.iter("ALIGNABLE_ANNOTATION"):
        position = f"tier {quote(tier.name)}, annotation {quote(annotation.get('ANNOTATION_ID', ''))}"
        values = [slots.get(annotation.get(f"TIME_SLOT_REF{n}")) for n in (1, 2)]
        text = annotation.findtext("ANNOTATION_VALUE")
        if None in values:  # ELAN spaces such annotations evenly between their neighbours
            tier.entries.append(Entry(None, f"{position}: it has no times of its own; align it in ELAN"))
        else:
            start, end = (_seconds(value) for value in values)
            tier.entries.append(make_entry(position, start, end, text))
    return tier


def _seconds(value: str | None) -> float | str | None:
    """Milliseconds as seconds; what is no number stays as it is, for the message."""
    try:
        return int(value or "") / 1000
    except ValueError:
        return value


def format_eaf(lanes: Sequence[Lane], file: str | None = None) -> Iterator[str]:
    """Yield the text of an ELAN file.

    A lane with texts is a tier of them, with a tier of labels that refers to it; one without is a tier of
    labels.

    Args:
        lanes: of the segments, each without overlaps.
        file: name of the recording, which is looked for beside the file.
    """
    import mimetypes
    from urllib.parse import quote as quote_url

    made = datetime.now(UTC).isoformat(timespec="seconds")
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f'<ANNOTATION_DOCUMENT AUTHOR="emovox" DATE="{made}" FORMAT="3.0" VERSION="3.0"'
    yield ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    yield ' xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">\n'
    yield '  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">\n'
    if file is not None:
        media_type = mimetypes.guess_type(file)[0] or "audio/*"
        url = _quote_value(f"./{quote_url(file, errors='replace')}")
        yield f'    <MEDIA_DESCRIPTOR MEDIA_URL={url} RELATIVE_MEDIA_URL={url} MIME_TYPE="{media_type}"/>\n'
    yield f'    <PROPERTY NAME="emovox">{escape(SHORT)}</PROPERTY>\n  </HEADER>\n  <TIME_ORDER>\n'
    # Each annotation has slots of its own: one that were shared would move with another's.
    ends = sorted(
        (time_ms, is_end, lane, n)
        for lane, one in enumerate(lanes)
        for n, span in enumerate(one.spans)
        for is_end, time_ms in enumerate((span.start_ms, span.end_ms))
    )
    slots = {(lane, n, is_end): f"ts{number}" for number, (_, is_end, lane, n) in enumerate(ends, 1)}
    for number, (time_ms, *_) in enumerate(ends, 1):
        yield f'    <TIME_SLOT TIME_SLOT_ID="ts{number}" TIME_VALUE="{time_ms}"/>\n'
    yield "  </TIME_ORDER>\n"
    first = 1
    for number, lane in enumerate(lanes):
        participant = "" if lane.speaker is None else f" PARTICIPANT={_quote_value(lane.speaker)}"
        top = lane.name if lane.has_text else lane.emotion_name
        yield f'  <TIER LINGUISTIC_TYPE_REF="segments" TIER_ID={_quote_value(top)}{participant}>\n'
        for n, span in enumerate(lane.spans):
            refs = f'TIME_SLOT_REF1="{slots[number, n, 0]}" TIME_SLOT_REF2="{slots[number, n, 1]}"'
            value = (span.text or "") if lane.has_text else span.label
            yield _format_annotation("ALIGNABLE_ANNOTATION", first + n, refs, value)
        yield "  </TIER>\n"
        if lane.has_text:
            names = f"PARENT_REF={_quote_value(lane.name)} TIER_ID={_quote_value(lane.emotion_name)}"
            yield f'  <TIER LINGUISTIC_TYPE_REF="labels" {names}{participant}>\n'
            for n, span in enumerate(lane.spans):
                ref = f'ANNOTATION_REF="a{first + n}"'
                yield _format_annotation("REF_ANNOTATION", first + len(lane.spans) + n, ref, span.label)
            yield "  </TIER>\n"
        first += 2 * len(lane.spans)
    yield '  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="segments"'
    yield ' TIME_ALIGNABLE="true"/>\n'
    yield '  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false"'
    yield ' LINGUISTIC_TYPE_ID="labels" TIME_ALIGNABLE="false"/>\n'
    yield '  <CONSTRAINT DESCRIPTION="1-1 association with a parent annotation"'
    yield ' STEREOTYPE="Symbolic_Association"/>\n</ANNOTATION_DOCUMENT>\n'


def _quote_value(text: str) -> str:
    return f'"{escape(text)}"'


def _format_annotation(kind: str, number: int, refs: str, value: str) -> str:
    return (
        f'    <ANNOTATION><{kind} ANNOTATION_ID="a{number}" {refs}>'
        f"<ANNOTATION_VALUE>{escape(value)}</ANNOTATION_VALUE></{kind}></ANNOTATION>\n"
    )
