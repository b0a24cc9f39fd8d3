"""The recipe of the models 2.0 (`default`, `permissive`): functionals, three small nets and a discriminant.

    python recipes/vox.py fold 1     --corpora DIR            # one RAVDESS fold of EmoBox, strict
    python recipes/vox.py folds      --corpora DIR            # all six, with the interval over speakers
    python recipes/vox.py loco emodb --corpora DIR            # leave one corpus out, four emotions
    python recipes/vox.py loso emodb --corpora DIR            # leave one speaker out, the corpus's own labels

DIR holds the folders of SHARES. Each command prints a line per fold and one JSON line last; bundles and
predictions are in `runs/vox/`, and a bundle that is there is not trained again. What is reported is what the
`Recognizer` predicts from the exported bundles. On two cores: features about 12 minutes, a fold about 2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vox_features import FEATURES, FRONT, N_PLAIN, N_VARIANTS, SPEEDS, Standardize, Variant

import emovox
from emovox import audio
from emovox.bundles import Abstain, Input, Licence, Spec, write_bundle
from emovox.datasets import Manifest, emobox, scan, splits
from emovox.datasets.splits import Split
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.features.cache import FeatureCache
from emovox.features.extraction import extract, list_clips
from emovox.labels import sort_labels
from emovox.nets.vox import Vox, VoxConfig
from emovox.training.config import TrainingConfig
from emovox.training.export import to_onnx
from emovox.training.neural.clips import balanced_weights, label_mask
from emovox.training.neural.vectors import VectorSet, fit_vectors

SHARES = {"ravdess": 1.0, "ravdess_song": 0.4, "tess": 0.2, "emodb": 0.3, "nemo": 0.6, "banglaser": 0.3}
NET = VoxConfig(n_members=3, hidden=176, member_columns=N_PLAIN, front=FRONT)
TRAIN, STEPS = TrainingConfig(batch_size=256, weight_decay=0.05, mixup=0.3, gradient_norm=5.0), 3000
SHRINKAGE, CORRELATIONS, SOFTENED = 0.5, 0.8, 4.0  # of the covariance; weight of columns; of the scores
FOUR = ("angry", "happy", "neutral", "sad")
NON_COMMERCIAL = Licence(code="Apache-2.0", weights="CC-BY-NC-SA-4.0", commercial=False)


class Pool:
    """All clips with the vectors of their variants: ``variants[v][n]``; speeds of RAVDESS alone."""

    def __init__(self, manifest: Manifest, store: Path, workers: int = 2) -> None:
        self.manifest, kept = manifest, FeatureCache(store)
        self.row = {key: n for n, key in enumerate(manifest.ids)}
        self.variants = []
        for v in range(N_VARIANTS + len(SPEEDS) + 1):
            some = manifest.where(corpus="ravdess") if v in SPEEDS else manifest
            clips = [replace(clip, change=Variant(v, clip.id) if v else None) for clip in list_clips(some)]
            self.variants.append(extract(clips, FEATURES, workers=workers, cache=kept).values)

    @classmethod
    def load(cls, corpora: Path, store: Path, workers: int = 2) -> Pool:
        """All clips of SHARES."""
        return cls(Manifest.merged([scan(name, corpora / name)[0] for name in SHARES]), store, workers)

    def train(self, ids: Iterable[str], shares: Mapping[str, float]) -> tuple[Vox, tuple[str, ...]]:
        """Train the net on the clips ``ids``; corpora are drawn by ``shares``, their labels evenly."""
        wanted = set(ids)
        clips = self.manifest.keep(lambda u: u.id in wanted and u.corpus in shares)
        names, homes = sort_labels(clips.emotions), sorted(clips.corpora)
        labels = np.array([names.index(u.emotion) for u in clips])
        corpora = np.array([homes.index(u.corpus) for u in clips])
        every = np.ones(len(clips), bool)
        weights = balanced_weights(labels, corpora, every, {n: shares[name] for n, name in enumerate(homes)})
        rows = [self.row[key] for key in clips.ids]
        variants = [x[rows] for x in self.variants[: N_VARIANTS + 1]]
        data = VectorSet(variants, labels, corpora, label_mask(labels, corpora, len(names)), weights)
        cells, cell = np.unique(np.stack([corpora, labels], 1), axis=0, return_inverse=True)
        torch.manual_seed(0)
        about = {"cell_labels": tuple(map(int, cells[:, 1])), "cell_corpora": tuple(map(int, cells[:, 0]))}
        vox = Vox(replace(NET, n_labels=len(names), **about))
        mean, deviation = data.statistics()
        vox.mean.copy_(torch.from_numpy(mean))
        vox.scale.copy_(1 / torch.from_numpy(deviation))
        self.set_discriminant(vox, clips, cell.reshape(-1), data)
        n = vox.n_member_columns
        for index, head in enumerate(vox.heads):
            net = torch.nn.Sequential(Standardize(vox.mean[:n], vox.scale[:n], vox.config.clip), head)
            some = replace(data, variants=[x[:, :n] for x in variants])
            fit_vectors(net, some, TRAIN, steps=STEPS, seed=index)
        return vox.eval(), names

    @torch.inference_mode()
    def set_discriminant(self, vox: Vox, clips: Manifest, cell: np.ndarray, data: VectorSet) -> None:
        """Set the cells' means and the shrunken covariance within them (Friedman, 1989)."""
        d, n_cells = len(vox.mean), len(vox.config.cell_labels)
        column = torch.ones(d)
        column[N_PLAIN:] = (CORRELATIONS * N_PLAIN / max(d - N_PLAIN, 1)) ** 0.5
        at_speeds = np.array([u.corpus == "ravdess" for u in clips])
        share = data.weights / (2 + len(SPEEDS) * at_speeds)
        place = {key: n for n, key in enumerate(self.manifest.where(corpus="ravdess").ids)}
        fast = [place[key] for key, is_one in zip(clips.ids, at_speeds, strict=True) if is_one]
        parts = [(x, np.arange(len(cell))) for x in data.variants[:2]]
        parts += [(self.variants[v][fast], np.flatnonzero(at_speeds)) for v in SPEEDS]
        first, second, size = torch.zeros(n_cells, d), torch.zeros(d, d), torch.zeros(n_cells, 1)
        for x, rows in parts:
            z = vox.standardize(torch.from_numpy(x)) * column
            part = torch.from_numpy(share[rows]).float()[:, None]
            first.index_add_(0, torch.from_numpy(cell[rows]), z * part)
            second += z.T @ (z * part)
            size.index_add_(0, torch.from_numpy(cell[rows]), part)
        mean = first / size
        within = ((second - mean.T @ (mean * size)) / size.sum()).double() * (1 - SHRINKAGE)
        within += torch.eye(d) * (torch.trace(within) / d * SHRINKAGE / (1 - SHRINKAGE))
        weight = torch.linalg.solve(within, mean.T.double()).T
        vox.discriminant.weight.copy_(weight * column / SOFTENED)
        vox.discriminant.bias.copy_(-0.5 * (mean * weight).sum(1) / SOFTENED)

    def write(self, vox: Vox, names: Sequence[str], folder: Path, **about: Any) -> Spec:
        """Export the net and write its bundle."""
        some = list(self.manifest)[:: max(1, len(self.manifest) // 5)]
        sounds = [audio.read(self.manifest.file(u)) for u in some]
        fields = {
            "name": folder.name,
            "version": "2.0",
            "description": "A fold of recipes/vox.py",
            "labels": names,
        }
        fields |= {
            "input": Input(kind="waveform"),
            "window_s": 3.0,
            "hop_s": 1.0,
            "min_s": 0.3,
            "clip_s": 12.0,
        }
        fields |= {"temperature": 1.0, "abstain": Abstain(confidence=0.0), "licence": NON_COMMERCIAL}
        return write_bundle(
            folder, to_onnx(vox, [*sounds, sounds[0][:4800]]), Spec(**(fields | about)), replace=True
        )


def run_splits(
    pool: Pool, parts: Sequence[Split], out: Path, labels: Sequence[str] | None = None
) -> dict[str, Any]:
    """Train each split (validation clips too: nothing is chosen), and predict its test among ``labels``."""
    found = []
    for split in parts:
        near, folder = {*split.train, *split.validation}, out / split.name.replace("/", "-")
        if not folder.exists():
            vox, names = pool.train(near, SHARES)
            corpora = pool.manifest.select(near).corpora
            pool.write(vox, names, folder, corpora=corpora, protocol=f"{split.name}#{split.digest}")
        tested = pool.manifest.select(split.test).keep(lambda u: labels is None or u.emotion in labels)
        found.append(predict_manifest(emovox.load(folder), tested, labels=labels))
        (out / f"{folder.name}.csv").write_text(found[-1].to_csv())
        print(f"{split.name}: UAR {found[-1].uar().value:.1%}", flush=True)
    whole = Predictions.concatenate(found)
    mean, uar = float(np.mean([one.uar().value for one in found])), whole.uar()
    print(f"mean of folds {mean:.1%}, pooled {uar.value:.1%} [{uar.low}, {uar.high}]")
    return {"mean": mean, "uar": uar.value, "low": uar.low, "high": uar.high, "n_clips": len(whole)}


def make_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/vox"))
    parser.add_argument("--out", type=Path, default=Path("runs/vox"))
    parser.add_argument("--workers", type=int, default=2)
    return parser


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=["fold", "folds", "loco", "loso"])
    parser.add_argument("which", nargs="?", help="a fold, or a corpus")
    options = parser.parse_args()
    what, which = options.what, options.which
    numbers = [str(n) for n in emobox.emobox_folds("ravdess")]
    known = {"fold": numbers, "folds": [None]}.get(what, [*SHARES])
    if which not in known:
        parser.error(f"{what} takes {' | '.join(map(str, known))}; got {which!r}")
    pool = Pool.load(options.corpora, options.cache, options.workers)
    labels: Sequence[str] | None = None
    if what == "loco":
        parts, labels = [splits.cross_corpus(pool.manifest, which)], FOUR
    elif what == "loso":
        own = pool.manifest.where(corpus=which)
        parts, labels = [splits.held_out(pool.manifest, [one]) for one in own.speakers], own.emotions
    else:
        folds = [int(which)] if which else emobox.emobox_folds("ravdess")
        parts = [emobox.emobox_split(pool.manifest, n, corpus="ravdess") for n in folds]
    print(json.dumps({"what": what, "which": which, **run_splits(pool, parts, options.out, labels)}))


if __name__ == "__main__":
    main()
