"""Load labelled clips from manifests, tables and folders of corpora, and fold their labels.

data = Dataset.load(["corpora/ravdess", "corpora/emodb"], labels="common")
split = data.splits("cross-corpus/emodb")[0]
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emovox.datasets import formats
from emovox.datasets.corpora import CORPORA
from emovox.datasets.manifest import Manifest
from emovox.datasets.protocols import make_splits
from emovox.datasets.scan import ScanReport, scan
from emovox.datasets.soft_labels import map_shares
from emovox.datasets.splits import Split, default_protocol
from emovox.errors import ConfigError, LabelError, ManifestError
from emovox.labels import EMOTIONS, EXTRAS, LABEL_MAPS, LabelMap, canonical_all, label_map, sort_labels

__all__ = ["Dataset", "read_corpus", "read_source", "resolve_labels"]


@dataclass(frozen=True)
class Dataset:
    """Labelled clips, with a record of what could not be read and what became of the labels."""

    manifest: Manifest
    notes: tuple[str, ...] = ()
    """Lines for people: files that could not be read, labels that were merged or dropped."""
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """New label -> the several old ones that became it."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Label -> number of clips left out because of it."""
    n_unread: int = 0
    """Files or rows that are missing from the manifest."""

    def __len__(self) -> int:
        return len(self.manifest)

    @classmethod
    def load(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        corpus: str | None = None,
        labels: str = "all",
        drop_unknown: bool = False,
    ) -> Dataset:
        """Load all clips of one or several sources.

        Args:
            paths: manifests or other tables (see `emovox.datasets.formats`), folders that hold
                ``manifest.csv``, trees of sound, or folders of corpora.
            corpus: of a folder, the corpus that it holds, if its name does not say so; of a table, the corpus
                to keep, or the one it describes, if its format names none.
            labels: ``all``, ``common`` to all corpora, the name of a label map, or emotions separated by
                commas; ``none`` keeps clips without an emotion too, where only their values are used.
            drop_unknown: leave out rows of tables and files of trees that have no label, or that cannot be
                used for another reason; each is in ``notes``.

        Raises:
            ConfigError: no path is given.
            ManifestError: a source cannot be read, a row cannot be used, or no clip is left.
            LabelError: ``labels`` does not fit these clips.
            MissingExtraError: the format of a table needs an extra that is not installed.
        """
        sources = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        if not sources:
            raise ConfigError("no data are named; expected a manifest, a tree or a corpus: --data PATH")
        unlabelled = labels == "none"
        parts = [_load_source(Path(source), corpus, drop_unknown, unlabelled) for source in sources]
        data = cls(
            Manifest.merged(part.manifest for part in parts),
            tuple(note for part in parts for note in part.notes),
            n_unread=sum(part.n_unread for part in parts),
        )
        mapping = resolve_labels(data.manifest, labels)
        if mapping is None:
            return data
        notes = (
            f"{name}: {line}"
            for name in data.manifest.corpora
            for line in mapping.report(u.emotion for u in data.manifest.where(corpus=name)).lines()
        )
        return replace(data.relabel(mapping=mapping), notes=(*data.notes, *notes))

    def relabel(self, *, mapping: LabelMap | None = None, labels: Sequence[str] | None = None) -> Dataset:
        """Fold the labels by ``mapping``, then keep the clips whose label is among ``labels``.

        Raises:
            ManifestError: no clip is left.
        """
        manifest, merged, dropped = self.manifest, dict(self.merged), dict(self.dropped)
        if mapping is not None:
            report = mapping.report(u.emotion for u in manifest)
            merged |= report.merged
            rows = [(u, map_shares(u, mapping)) for u in manifest]
            _count(dropped, Counter(u.emotion for u, new in rows if new is None))
            manifest = Manifest(manifest.root, tuple(new for _, new in rows if new is not None))
        if labels is not None:
            rows = [(u, map_shares(u, lambda name: name if name in labels else None)) for u in manifest]
            _count(dropped, Counter(u.emotion for u, new in rows if new is None))
            manifest = Manifest(manifest.root, tuple(new for _, new in rows if new is not None))
        if not len(manifest):
            raise ManifestError(f"no clip is left: their labels are {', '.join(dropped) or 'none'}")
        return replace(self, manifest=manifest, merged=merged, dropped=dict(sorted(dropped.items())))

    def select(self, ids: Iterable[str]) -> Dataset:
        """Keep the clips with these ids, in the order of the manifest."""
        wanted = set(ids)
        return replace(self, manifest=self.manifest.keep(lambda u: u.id in wanted))

    def splits(self, protocol: str | None = None, *, allow_missing: bool = True) -> tuple[Split, ...]:
        """Split the clips by a protocol (see `emovox.datasets.protocols.PROTOCOLS`).

        Args:
            protocol: `emovox.datasets.splits.default_protocol` unless given.
            allow_missing: accept a manifest that lacks clips which EmoBox or the file lists.

        Raises:
            ProtocolError: the protocol is unknown, or not possible with these clips.
        """
        return make_splits(
            self.manifest, protocol or default_protocol(self.manifest), allow_missing=allow_missing
        )


def resolve_labels(manifest: Manifest, labels: str) -> LabelMap | None:
    """The map that ``labels`` means for these clips; ``None`` for ``all`` and ``none``, which change nothing.

    Raises:
        LabelError: an unknown emotion, or fewer than two labels would be left.
    """
    if labels in ("all", "none"):
        return None
    if labels in LABEL_MAPS:
        return label_map(labels)
    if labels == "common":
        each = [set(manifest.where(corpus=name).emotions) for name in manifest.corpora]
        shared = set.intersection(*each)
        names: tuple[str, ...] = sort_labels(shared)
    else:
        names = canonical_all(labels, sort_labels((*EMOTIONS, *EXTRAS, *manifest.emotions)))
    if len(names) < 2:
        raise LabelError(
            f"the labels {labels!r} leave {', '.join(names) or 'none'}; expected at least two to tell apart"
        )
    return LabelMap(labels, {name: name for name in names})


def _count(totals: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        totals[name] = totals.get(name, 0) + n


def read_corpus(
    name: str, root: str | Path, options: formats.ReadOptions
) -> tuple[Manifest, ScanReport | formats.ImportReport]:
    """Read the corpus ``name``, or a source of the format ``name``, at ``root``."""
    return scan(name, root) if name in CORPORA else formats.read(root, format=name, options=options)


def read_source(
    source: str | Path, options: formats.ReadOptions, *, format: str | None = None
) -> tuple[Manifest, ScanReport | formats.ImportReport]:
    """Read a manifest, a table, a tree or the folder of a corpus.

    Args:
        source: where it is; or the name of a corpus whose folder is ``options.root``.
        options: its ``corpus`` is the corpus of a folder, if the folder's name does not say so.
        format: a name in `emovox.datasets.formats.FORMATS`; guessed unless given.

    Raises:
        ManifestError: it cannot be read, or its kind is not known.
    """
    place = Path(source)
    if str(source) in CORPORA and options.root is not None and not place.exists():
        return scan(str(source), options.root)
    if format is None and place.is_dir():
        if (place / "manifest.csv").is_file():
            place = place / "manifest.csv"
        elif not formats.is_table_folder(place):
            name = options.corpus if options.corpus in CORPORA else _corpus_named_by(place)
            if name is not None:
                return scan(name, place)
    try:
        return formats.read(place, format=format, options=options)
    except ManifestError as error:
        if format is not None or not place.is_dir():
            raise
        raise ManifestError(
            f"{error}; if it is the corpus NAME ({', '.join(CORPORA)}):  "
            f"emovox data prepare NAME --root {place} -o manifest.csv"
        ) from error


def _load_source(place: Path, corpus: str | None, drop_unknown: bool, unlabelled: bool) -> Dataset:
    """One source; of a table, the clips of ``corpus``."""
    # A table that names corpora is filtered; of any other one, the corpus says how to read file names.
    names_corpora = place.is_file() and "corpus" in formats.FORMATS[formats.guess(place)].holds
    options = formats.ReadOptions(corpus=None if names_corpora else corpus, unlabelled=unlabelled)
    manifest, report = read_source(place, options)
    if isinstance(report, ScanReport):
        lost = (*report.missing, *report.unread, *report.empty, *report.outside)
        return Dataset(manifest, () if report.ok else tuple(report.lines()), n_unread=len(lost))
    if corpus is not None:
        if corpus not in manifest.corpora:
            there = ", ".join(manifest.corpora) or "nothing"
            raise ManifestError(f"{str(place)!r} holds no clip of {corpus!r}, only of {there}")
        manifest = manifest.where(corpus=corpus)
    if (dropped := (*report.unknown, *report.refused)) and not drop_unknown:
        first = "; ".join(f"{where}: {why}" for where, why in dropped[:3])
        raise ManifestError(
            f"{len(dropped)} of {report.n_rows} rows of {str(place)!r} cannot be used: {first}"
            f"{'; ...' if len(dropped) > 3 else ''}. Correct them; or give labels a meaning:  "
            f"emovox data convert {place} manifest.csv --label NAME=LABEL; or leave these rows out:  "
            "--drop-unknown"
        )
    notes = () if report.ok and not report.own_labels else tuple(report.lines())
    return Dataset(manifest, notes, n_unread=len(dropped))


def _corpus_named_by(folder: Path) -> str | None:
    """The corpus that the folder, or the one above it, is called after, whatever the punctuation."""
    resolved = folder.resolve()
    for name in (resolved.name, resolved.parent.name):
        plain = "".join(c for c in name.lower() if c.isalnum())
        for corpus in CORPORA:
            if plain == corpus.replace("_", ""):
                return corpus
    return None
