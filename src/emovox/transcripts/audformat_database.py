"""Write rows of results as an audformat database, by the extra ``data``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emovox.disclaimer import SHORT
from emovox.errors import MissingExtraError
from emovox.transcripts.entries import clean_text

__all__ = ["load_audformat", "write_database"]

TABLE = "emotion"


def load_audformat() -> Any:
    """Import the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import audformat
    except ImportError:
        raise MissingExtraError("writing audformat", "data") from None
    return audformat


def write_database(folder: Path, rows: Iterable[Mapping[str, Any]], labels: Sequence[str]) -> None:
    """Write a folder with ``db.yaml`` and the segmented table ``emotion``.

    Its columns are the label, the reason why there is none, the confidence, the probability of each label,
    speaker and text. Rows of errors, and a second row of the same span of a file, are left out.

    Args:
        folder: made if missing.
        rows: what ``Segment.to_dict()`` or ``SegmentPrediction.to_dict()`` returns.
        labels: of the model.

    Raises:
        MissingExtraError: the extra ``data`` is not installed.
    """
    audformat = load_audformat()
    by_span: dict[tuple[str, int, int], Mapping[str, Any]] = {}
    for row in rows:
        if "error" not in row:
            span = (row["file"] or "recording", round(row["start_s"] * 1000), round(row["end_s"] * 1000))
            by_span.setdefault(span, row)
    files, starts, ends = zip(*by_span, strict=True) if by_span else ((), (), ())
    index = audformat.segmented_index(
        list(files), [f"{start}ms" for start in starts], [f"{end}ms" for end in ends]
    )
    database = audformat.Database("emovox", source="emovox", description=SHORT)
    database.schemes["label"] = audformat.Scheme(labels=list(labels))
    database.schemes["probability"] = audformat.Scheme("float", minimum=0, maximum=1)
    database.schemes["text"] = audformat.Scheme("str")
    table = database[TABLE] = audformat.Table(index)
    found = list(by_span.values())
    columns: dict[str, tuple[str, list[Any]]] = {
        "label": ("label", [row["label"] for row in found]),
        "reason": ("text", [row["reason"] for row in found]),
        "confidence": ("probability", [row["confidence"] for row in found]),
        **{name: ("probability", [row["scores"].get(name) for row in found]) for name in labels},
        "speaker": ("text", [clean_text(row.get("speaker")) for row in found]),
        "text": ("text", [clean_text(row.get("text")) for row in found]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, such as those of a newer pandas
        for name, (scheme, values) in columns.items():
            table[name] = audformat.Column(scheme_id=scheme)
            table[name].set(values)
        database.save(str(folder), header_only=False)
