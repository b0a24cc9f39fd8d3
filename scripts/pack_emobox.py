"""Pack EmoBox's folds into src/emovox/datasets/data/: python scripts/pack_emobox.py FOLDER

FOLDER holds one ``<corpus>.csv`` a corpus with the columns file, label and test_fold. Each file is
named by the key of the corpus's adapter; a name that the adapter cannot read, or two files with one key,
is an error.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from emovox.datasets import CORPORA
from emovox.datasets.emobox import EMOBOX, EmoBoxRow, pack_rows

DATA = Path(__file__).parents[1] / "src" / "emovox" / "datasets" / "data"


def table(name: str, source: Path) -> list[EmoBoxRow]:
    """The rows of one CSV, keyed by the adapter."""
    found: dict[str, EmoBoxRow] = {}
    with source.open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            fields = CORPORA[name].parse(line["file"])
            if fields is None or fields.key in found:
                raise SystemExit(
                    f"{source}: {line['file']!r} is {'unreadable' if fields is None else 'there twice'}"
                )
            fold = int(line["test_fold"]) if line["test_fold"] else None
            found[fields.key] = EmoBoxRow(fields.key, line["label"], fold)
    return list(found.values())


def main(folder: Path) -> None:
    """Write every corpus that has an adapter and a CSV."""
    for name in EMOBOX:
        if name in CORPORA:
            data = pack_rows(table(name, folder / f"{name}.csv"))
            (DATA / f"{name}.tsv.gz").write_bytes(data)
            print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
