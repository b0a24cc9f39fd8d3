"""The recipe of emovox's default model (v2) and of the `permissive` one.

    python recipes/vox.py cache      --corpora DIR            # vectors of all clips and their variants, once
    python recipes/vox.py choose     --corpora DIR            # the present settings on validation speakers
    python recipes/vox.py fold 1     --corpora DIR            # one RAVDESS fold of EmoBox, strict
    python recipes/vox.py folds      --corpora DIR            # all six, with the interval over speakers
    python recipes/vox.py loco emodb --corpora DIR            # leave one corpus out, four emotions
    python recipes/vox.py loso emodb --corpora DIR            # leave one speaker out, the corpus's own labels
    python recipes/vox.py ship default|permissive --corpora DIR   # the weights in the wheel

DIR holds the folders ravdess, ravdess_song, tess, emodb, nemo and banglaser. Each command prints a table for
people and one JSON line last, and leaves its bundle and the answers in `runs/vox/`. What is reported is
what the user's `Recognizer` answers from the exported bundle, on the files as they are.

Version 1 was the members alone, on functionals of single descriptors. Version 2 adds correlations of two
descriptors some frames apart, heard by a linear discriminant that shares the vote with the members, and has
quantiles of fewer frames and none of deltas, which halves the time of an answer.

On two cores that nobody else uses: the cache about 12 minutes, a fold about 2.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import channel_chain
import numpy as np
import soxr
import torch

import emovox
from emovox import audio
from emovox.augment import mix_babble, mix_noise
from emovox.bundles import MODEL_FILE, Abstain, Input, Licence, Score, Spec, load_bundle, write_bundle
from emovox.datasets import Manifest, emobox, scan, splits
from emovox.evaluation import metrics
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.features.cache import hash_file
from emovox.inference.recognizer import Recognizer
from emovox.labels import EMOTIONS
from emovox.nets import folded_stft, front_end, layers
from emovox.nets.vox import Vox, VoxConfig
from emovox.training.calibration import abstention, fit_temperature, log_softmax
from emovox.training.config import TrainingConfig
from emovox.training.export import to_onnx
from emovox.training.neural.clips import balanced_weights, label_mask
from emovox.training.neural.vectors import VectorSet, fit_vectors

SHARES = {"ravdess": 1.0, "ravdess_song": 0.4, "tess": 0.2, "emodb": 0.3, "nemo": 0.6, "banglaser": 0.3}
N_VARIANTS = 3
"""How many augmented variants teach the members."""
AMONG_VOICES = 3
"""The variant in which others talk at the same time."""
SPEEDS = {4: 0.93, 5: 1.07}
"""Variants that are the clip played at another speed and nothing else; they teach the discriminant."""
AT_SPEEDS = "ravdess"
"""The corpus that has these variants."""
FRONT = front_end.FrontEndConfig(lags=(3, 12), quantile_step=3, delta_quantiles=False)
N_PLAIN = len(front_end.FrontEnd(replace(FRONT, lags=())).names())
"""Functionals of single descriptors, which come first; correlations of two follow."""
NET = VoxConfig(n_members=3, hidden=176, member_columns=N_PLAIN, front=FRONT)
N_DISCRIMINANT = 2
"""How many variants teach the discriminant: the clip as it is, and one augmented."""
SHRINKAGE = 0.5
CORRELATIONS = 0.8
"""What all correlations weigh in the shrinking beside all other functionals."""
SOFTENED = 4.0
"""The discriminant's scores are divided by it: thousands of columns make them too sure."""
TRAIN = TrainingConfig(batch_size=256, weight_decay=0.05, mixup=0.3, gradient_norm=5.0)
STEPS = 3000
FOUR = ("angry", "happy", "neutral", "sad")
COVERAGE = 0.9
N_STRANGERS = 4
FIRST_TEST = (1, 11, 20, 21)
N_PER_WORKER = 40

# Never trained on: the first half of each list fits temperature and abstention (with the training speakers,
# each judged by a net that never met them), the second half scores.
# At least a tenth of each corpus's speakers, one for each half; TESS, with two speakers, gives none.
HELD_OUT: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ravdess": (("ravdess-05", "ravdess-14"), ("ravdess-09", "ravdess-22")),
    "emodb": (("emodb-10",), ("emodb-09",)),
    "nemo": (("nemo-EB0",), ("nemo-WR0",)),
    "banglaser": (("banglaser-07", "banglaser-24"), ("banglaser-15", "banglaser-30")),
}

NON_COMMERCIAL = Licence(code="Apache-2.0", weights="CC-BY-NC-SA-4.0", commercial=False)


@dataclass(frozen=True)
class Shipped:
    """A bundle in the wheel."""

    shares: Mapping[str, float]
    licence: Licence
    description: str


SHIPPED = {
    "default": Shipped(
        SHARES,
        NON_COMMERCIAL,
        "Nine expressed emotions; acted speech in English, German, Polish and Bengali",
    ),
    "permissive": Shipped(
        {"emodb": 1.0, "banglaser": 1.0},
        Licence(code="Apache-2.0", weights="CC-BY-4.0", commercial=True),
        "Eight expressed emotions; acted speech in German and Bengali, weights usable commercially",
    ),
}


# ---------------------------------------------------------------------------------- clips and features


def clips(root: Path, names: Iterable[str] = SHARES) -> Manifest:
    """Every clip of the named corpora."""
    return Manifest.merged([scan(name, root / name)[0] for name in names])


def vectors(manifest: Manifest, cache: Path, variant: int) -> np.ndarray:
    """Functionals ``(n, d)`` of each clip; variant 0 is the clip as it is, the others are augmented.

    Kept under a key of the clips and of the code that computes them.
    """
    file = cache / f"{_key(manifest)}-{variant}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        rows = _computed(manifest, variant)
        partial = file.with_suffix(".partial.npy")
        np.save(partial, rows)
        partial.replace(file)
    return np.load(file)


def _key(manifest: Manifest) -> str:
    seen = hashlib.sha256(repr((FRONT, SPEEDS, AMONG_VOICES)).encode())
    for code in (
        *(front_end, layers, folded_stft, channel_chain),
        *(mix_babble, mix_noise, varied, resampled, among_voices),
    ):
        seen.update(inspect.getsource(code).encode())
    for u in manifest:
        seen.update(f"{u.id}:{hash_file(manifest.file(u))}\n".encode())
    return seen.hexdigest()[:16]


def _computed(manifest: Manifest, variant: int) -> np.ndarray:
    items = [(str(manifest.file(u)), u.id, variant) for u in manifest]
    chunks = [items[i : i + N_PER_WORKER] for i in range(0, len(items), N_PER_WORKER)]
    started, rows = time.monotonic(), []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for n, part in enumerate(pool.map(_vectors_of, chunks), 1):
            rows.append(part)
            left = (time.monotonic() - started) / n * (len(chunks) - n)
            print(f"\rvariant {variant}: {n}/{len(chunks)}, {left:.0f} s left ", end="", file=sys.stderr)
    print(file=sys.stderr)
    return np.concatenate(rows)


def _vectors_of(items: Sequence[tuple[str, str, int]]) -> np.ndarray:
    torch.set_num_threads(1)
    front = front_end.FrontEnd(FRONT).eval()
    rows = []
    for file, key, variant in items:
        x = varied(audio.read(file), variant, np.random.default_rng([variant, zlib.crc32(key.encode())]))
        with torch.inference_mode():
            rows.append(front(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0].numpy())
    return np.stack(rows)


def varied(x: np.ndarray, variant: int, rng: np.random.Generator) -> np.ndarray:
    """The sound as it is (0), through a random channel, or through one among voices."""
    if variant in SPEEDS:
        return resampled(x, SPEEDS[variant])
    if variant == AMONG_VOICES:
        x = among_voices(x, rng)
    return channel_chain.channel_chain(x, rng) if variant else x


def resampled(x: np.ndarray, speed: float) -> np.ndarray:
    """Played at another speed: tempo, pitch and formants move together (Ko et al., 2015)."""
    rate = audio.SAMPLE_RATE
    return np.asarray(soxr.resample(x, rate * speed, rate, quality="MQ"), np.float32)


def among_voices(x: np.ndarray, rng: np.random.Generator, n_voices: int = 6) -> np.ndarray:
    """Babble at 0 to 25 dB, made of the clip itself, backwards and at other speeds.

    Other people's clips would bring test speakers into the training, or another corpus's licence.
    """
    rate = audio.SAMPLE_RATE
    speeds = rng.uniform(0.7, 1.4, n_voices)
    voices = [np.asarray(soxr.resample(x[::-1], rate * s, rate, quality="LQ"), np.float32) for s in speeds]
    return mix_noise(x, mix_babble(voices, len(x), rng), rng.uniform(0.0, 25.0))


class Pool:
    """All clips with their vectors, as arrays; labels are indices into ``names``."""

    def __init__(
        self, manifest: Manifest, cache: Path, n_variants: int = N_VARIANTS, speeds: Iterable[int] = SPEEDS
    ) -> None:
        self.manifest = manifest
        self.variants = [vectors(manifest, cache, v) for v in range(n_variants + 1)]
        self.ids = np.array(manifest.ids)
        self.speakers = np.array([u.speaker for u in manifest])
        self.emotions = np.array([u.emotion for u in manifest])
        self.corpora = np.array([u.corpus for u in manifest])
        self.at_speeds = self.corpora == AT_SPEEDS
        self.copies = [vectors(manifest.where(corpus=AT_SPEEDS), cache, v) for v in speeds]
        """Each ``(n_at_speeds, d)``."""

    def among(self, column: np.ndarray, values: Iterable[str]) -> np.ndarray:
        return np.isin(column, list(values))


def train_set(
    pool: Pool, training: np.ndarray, shares: Mapping[str, float], names: Sequence[str]
) -> VectorSet:
    """What is drawn from: corpora by ``shares``, their labels evenly."""
    training = training & pool.among(pool.corpora, shares)
    homes = sorted(set(pool.corpora[training]))
    labels = np.array([names.index(e) if e in names else 0 for e in pool.emotions])
    corpora = np.array([homes.index(c) if c in homes else 0 for c in pool.corpora])
    weights = balanced_weights(labels, corpora, training, {homes.index(c): shares[c] for c in homes})
    shown = label_mask(labels[training], corpora[training], len(names))
    return VectorSet(pool.variants, labels, corpora, shown, weights)


# -------------------------------------------------------------------------------------------- training


class _Member(torch.nn.Module):
    """One head behind the net's standardisation, for training on raw vectors."""

    def __init__(self, vox: Vox, index: int) -> None:
        super().__init__()
        self.head = vox.heads[index]
        self.mean, self.scale = vox.mean[: vox.n_member_columns], vox.scale[: vox.n_member_columns]
        self.clip = vox.config.clip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(((x - self.mean) * self.scale).clamp(-self.clip, self.clip))


def trained(
    pool: Pool,
    training: np.ndarray,
    shares: Mapping[str, float] = SHARES,
    *,
    train: TrainingConfig = TRAIN,
    steps: int = STEPS,
    net: VoxConfig = NET,
) -> tuple[Vox, tuple[str, ...]]:
    """The net, trained on the clips where ``training`` is true, and the labels it can answer."""
    seen = set(pool.emotions[training & pool.among(pool.corpora, shares)])
    names = tuple(e for e in EMOTIONS if e in seen)
    data = train_set(pool, training, shares, names)
    torch.manual_seed(0)
    cells, homes, cell = cells_of(data)
    vox = Vox(replace(net, n_labels=len(names), cell_labels=cells, cell_corpora=homes))
    mean, deviation = data.statistics()
    vox.mean.copy_(torch.from_numpy(mean))
    vox.scale.copy_(1 / torch.from_numpy(deviation))
    discriminate(vox, pool, cell, data.weights)
    heard = replace(data, variants=[variant[:, : vox.n_member_columns] for variant in data.variants])
    for index in range(net.n_members):
        member = _Member(vox, index)
        fit_vectors(member, heard, train, steps=steps, seed=index, progress=_tell(index))
    return vox.eval(), names


def cells_of(data: VectorSet) -> tuple[tuple[int, ...], tuple[int, ...], np.ndarray]:
    """Label and corpus of each cell, and each clip's cell ``(n,)``, -1 if it is not drawn."""
    drawn = data.weights > 0
    pairs = np.stack([data.corpora, data.labels], 1)
    unique, cell = np.unique(pairs[drawn], axis=0, return_inverse=True)
    every = np.full(len(drawn), -1)
    every[drawn] = cell
    homes, labels = (tuple(int(one) for one in column) for column in unique.T)
    return labels, homes, every


@torch.inference_mode()
def discriminate(vox: Vox, pool: Pool, cell: np.ndarray, weights: np.ndarray) -> None:
    """Set the discriminant: the cells' means and the covariance within them, shrunken (Friedman, 1989).

    How a corpus was recorded is a matter of its cells' means, and no part of the covariance.
    """
    d = len(vox.mean)
    column = torch.ones(d)
    column[N_PLAIN:] = (CORRELATIONS * N_PLAIN / max(d - N_PLAIN, 1)) ** 0.5
    heard = pool.variants[:N_DISCRIMINANT]
    share = weights / (len(heard) + len(pool.copies) * pool.at_speeds)
    n_cells = len(vox.config.cell_labels)
    first, second, size = torch.zeros(n_cells, d), torch.zeros(d, d), torch.zeros(n_cells, 1)
    whole = [(variant, np.arange(len(cell))) for variant in heard]
    for rows, list_clips in (*whole, *((copy, np.flatnonzero(pool.at_speeds)) for copy in pool.copies)):
        drawn = cell[list_clips] >= 0
        z = vox.standardize(torch.from_numpy(rows[drawn])) * column
        of, part = (
            torch.from_numpy(cell[list_clips][drawn]),
            torch.from_numpy(share[list_clips][drawn]).float(),
        )
        first.index_add_(0, of, z * part[:, None])
        second += z.T @ (z * part[:, None])
        size.index_add_(0, of, part[:, None])
    mean = first / size
    within = ((second - mean.T @ (mean * size)) / size.sum()).double() * (1 - SHRINKAGE)
    within += torch.eye(d) * (torch.trace(within) / d * SHRINKAGE / (1 - SHRINKAGE))
    weight = torch.linalg.solve(within, mean.T.double()).T
    assert vox.discriminant is not None
    vox.discriminant.weight.copy_(weight * column / SOFTENED)
    vox.discriminant.bias.copy_(-0.5 * (mean * weight).sum(1) / SOFTENED)


def _tell(member: int) -> Callable[[int, float], None]:
    def tell(step: int, loss: float) -> None:
        print(f"\rmember {member + 1}: step {step}, loss {loss:.3f} ", end="", file=sys.stderr)

    return tell


def answers(vox: Vox, pool: Pool, rows: np.ndarray) -> np.ndarray:
    """Logits ``(n, n_labels)`` of unaugmented clips, straight from the net: to choose by, not to report."""
    with torch.inference_mode():
        return vox.classify(torch.from_numpy(pool.variants[0][rows])).numpy().astype(np.float64)


# --------------------------------------------------------------------------------- bundle and evaluation


def judged_as_strangers(
    pool: Pool, training: np.ndarray, shares: Mapping[str, float], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training clips, and their logits from nets that never met their speakers.

    One speaker of a corpus tells little about how sure to be of the next; all of them in turn tell more.
    """
    inside = training & pool.among(pool.corpora, shares)
    rows, logits = [], []
    for split in splits.speaker_kfold(pool.manifest.select(pool.ids[inside]), N_STRANGERS):
        strangers = pool.among(pool.ids, split.test) & ~pool.among(pool.corpora, ["tess"])
        vox, known = trained(pool, inside & ~pool.among(pool.ids, split.test), shares)
        if known != tuple(names):
            raise SystemExit(f"{split.name} lacks a label: {known} instead of {tuple(names)}")
        rows.append(np.flatnonzero(strangers))
        logits.append(answers(vox, pool, strangers))
    return np.concatenate(rows), np.concatenate(logits)


def calibrated(pool: Pool, rows: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> tuple[float, float]:
    """Temperature, and the confidence below which the recogniser abstains, each corpus counting the same."""
    truth = np.array([names.index(e) for e in pool.emotions[rows]])
    _, home, size = np.unique(pool.corpora[rows], return_inverse=True, return_counts=True)
    weights = 1 / size[home]
    temperature = fit_temperature(logits, truth, weights)
    confidence = np.exp(log_softmax(logits / temperature)).max(1)
    return temperature, abstention(confidence, COVERAGE, weights)


def bundled(
    vox: Vox,
    pool: Pool,
    folder: Path,
    names: Sequence[str],
    *,
    name: str,
    protocol: str,
    corpora: Iterable[str],
    calibration: tuple[float, float] = (1.0, 0.0),
    description: str = "An experiment of recipes/vox.py",
    licence: Licence = NON_COMMERCIAL,
) -> Recognizer:
    """Export, write, and open again as a user would. ``calibration`` is as `calibrated` gives it."""
    temperature, threshold = calibration
    sounds = [audio.read(pool.manifest.file(u)) for u in list(pool.manifest)[:: max(1, len(pool.ids) // 5)]]
    spec = Spec(
        name=name,
        version="2.0",
        description=description,
        labels=tuple(names),
        input=Input(kind="waveform"),
        window_s=3.0,
        hop_s=1.0,
        min_s=0.3,
        clip_s=12.0,
        temperature=temperature,
        abstain=Abstain(confidence=threshold),
        corpora=tuple(sorted(corpora)),
        protocol=protocol,
        licence=licence,
    )
    write_bundle(folder, to_onnx(vox, [*sounds, sounds[0][:4800]], name=name), spec, replace=True)
    return Recognizer(load_bundle(folder))


def fold(pool: Pool, number: int, out: Path) -> tuple[Predictions, Predictions, Predictions]:
    """Train without the fold's actors and their songs; test the Recognizer: all labels, then RAVDESS's.

    Last the members without the discriminant, as version 1 was, straight from the net.
    """
    split = emobox.emobox_split(pool.manifest, number, corpus="ravdess")
    # Nothing is chosen here, so the validation speakers may teach too.
    training = pool.among(pool.ids, (*split.train, *split.validation))
    vox, names = trained(pool, training)
    model = bundled(
        vox, pool, out / f"fold{number}", names, name=f"vox-fold{number}", protocol=split.name, corpora=SHARES
    )
    test = pool.manifest.select(split.test)
    whole = predict_manifest(model, test)
    with torch.inference_mode():
        rows = [int(np.flatnonzero(pool.ids == key)[0]) for key in whole.ids]
        votes = vox.average_members(torch.from_numpy(pool.variants[0][rows])).numpy()
    alone = replace(whole, y_pred=tuple(names[k] for k in votes.argmax(1)), probabilities=np.exp(votes))
    return whole, predict_manifest(model, test, labels=test.emotions), alone


def inner_folds(pool: Pool, k: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where systems are chosen: (training, validation) inside the training part of RAVDESS's first fold.

    Its four test actors take no part, neither their speech nor their songs.
    """
    split = emobox.emobox_split(pool.manifest, 1, corpus="ravdess")
    inside = pool.manifest.select((*split.train, *split.validation))
    for part in splits.speaker_kfold(inside.where(corpus="ravdess"), k):
        tested = {inside[key].speaker for key in part.test}
        mine = pool.among(pool.ids, inside.ids)
        yield mine & ~pool.among(pool.speakers, tested), mine & pool.among(pool.ids, part.test)


def left_out(pool: Pool, corpus: str, out: Path) -> Predictions:
    """Train on the other corpora, test on the clips of ``corpus`` with one of the four emotions."""
    split = splits.cross_corpus(pool.manifest, corpus)
    training = pool.among(pool.ids, (*split.train, *split.validation))
    others = {c: s for c, s in SHARES.items() if c != corpus}
    vox, names = trained(pool, training, others)
    folder, name = out / f"loco-{corpus}", f"vox-without-{corpus}"
    model = bundled(vox, pool, folder, names, name=name, protocol=split.name, corpora=others)
    test = pool.manifest.where(corpus=corpus, emotion=FOUR)
    return predict_manifest(model, test, labels=FOUR)


def speakers_left_out(pool: Pool, corpus: str, out: Path) -> Iterator[Predictions]:
    """For each speaker of ``corpus``: train on all others, test on the speaker's clips, in their labels."""
    for split in splits.loso(pool.manifest.where(corpus=corpus)):
        speaker = pool.manifest[split.test[0]].speaker
        vox, names = trained(pool, ~pool.among(pool.speakers, [speaker]))
        folder, name = out / f"loso-{speaker}", f"vox-without-{speaker}"
        model = bundled(vox, pool, folder, names, name=name, protocol=split.name, corpora=SHARES)
        test = pool.manifest.select(split.test)
        yield predict_manifest(model, test, labels=pool.manifest.where(corpus=corpus).emotions)


# -------------------------------------------------------------------------------------------- commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("which", nargs="?", help="a fold, a corpus, or default/permissive")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/vox"))
    parser.add_argument("--out", type=Path, default=Path("runs/vox"))
    parser.add_argument("--threads", type=int, default=1, help="more is slower: the net is small")
    options = parser.parse_args()
    known = [str(one) for one in WHICH.get(options.what, ())]
    if options.which not in (known or [None]):
        parser.error(f"{options.what} takes {' | '.join(known) or 'nothing more'}; got {options.which!r}")
    torch.set_num_threads(options.threads)
    pool = Pool(clips(options.corpora), options.cache)
    result = json.dumps(COMMANDS[options.what](pool, options))
    options.out.mkdir(parents=True, exist_ok=True)
    name = options.what if options.which is None else f"{options.what}-{options.which}"
    (options.out / f"{name}.json").write_text(result + "\n")
    print(result)


def _interval(interval: metrics.Interval) -> dict[str, Any]:
    return {k: v for k, v in interval.to_dict().items() if k != "per_speaker"}


def _told(interval: metrics.Interval) -> str:
    bounds = "" if interval.low is None else f" [{interval.low:.1%}, {interval.high:.1%}]"
    return f"{interval.value:.1%}{bounds} over {interval.n_speakers} speakers"


def _save(evaluation: Predictions, file: Path) -> None:
    rows = zip(evaluation.ids, evaluation.speakers, evaluation.y_true, evaluation.y_pred, strict=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("id,speaker,true,pred\n" + "".join(",".join(row) + "\n" for row in rows))


def run_cache(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    print(f"{len(pool.ids)} clips, {len(pool.variants)} variants, {pool.variants[0].shape[1]} features")
    return {"clips": len(pool.ids), "variants": len(pool.variants)}


def run_choose(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    """The present settings on validation speakers: RAVDESS within, and RAVDESS as a foreign corpus."""
    true: list[str] = []
    pred: list[str] = []
    for number, (training, validation) in enumerate(inner_folds(pool), 1):
        vox, names = trained(pool, training)
        true += list(pool.emotions[validation])
        pred += [names[i] for i in answers(vox, pool, validation).argmax(1)]
        print(f"\rafter inner fold {number}: UAR {metrics.uar(true, pred):.1%}", flush=True)
    foreign = {c: s for c, s in SHARES.items() if not c.startswith("ravdess")}
    vox, names = trained(pool, pool.among(pool.corpora, foreign), foreign)
    rows = (pool.corpora == "ravdess") & pool.among(pool.emotions, FOUR)
    rows &= ~pool.among(pool.speakers, (f"ravdess-{n:02d}" for n in FIRST_TEST))
    columns = [names.index(e) for e in FOUR]
    guess = [FOUR[i] for i in answers(vox, pool, rows)[:, columns].argmax(1)]
    outside = metrics.uar(list(pool.emotions[rows]), guess)
    print(f"\rfrom the other corpora alone, four emotions: UAR {outside:.1%}")
    return {"inner": metrics.uar(true, pred), "foreign": outside}


def run_fold(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    return _report_folds([int(options.which)], pool, options)


def run_folds(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    return _report_folds(emobox.emobox_folds("ravdess"), pool, options)


def _report_folds(numbers: Iterable[int], pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    print("RAVDESS, EmoBox folds, speakers apart (no clip or song of a test actor in training), UAR %")
    print("fold   all labels   RAVDESS's eight   members alone   minutes")
    every: list[Predictions] = []
    eight: list[Predictions] = []
    members: list[Predictions] = []
    for number in numbers:
        started = time.monotonic()
        nine, own, alone = fold(pool, number, options.out)
        every.append(nine)
        eight.append(own)
        members.append(alone)
        _save(nine, options.out / f"fold{number}" / "answers.csv")
        _save(alone, options.out / f"fold{number}" / "members.csv")
        minutes = (time.monotonic() - started) / 60
        cells = f"{nine.uar().value:12.1%} {own.uar().value:17.1%} {alone.uar().value:15.1%} {minutes:9.1f}"
        print(f"\r{number:4d} {cells}", flush=True)
    result: dict[str, Any] = {"corpus": "ravdess", "protocol": "emobox", "folds": list(numbers)}
    for key, parts in (("all", every), ("eight", eight), ("members", members)):
        whole = Predictions.concatenate(parts)
        mean = float(np.mean([part.uar().value for part in parts]))
        interval = whole.uar()
        print(f"{key:>7}: mean of folds {mean:.1%}, pooled {_told(interval)}")
        result[key] = {"mean": mean, "folds": [p.uar().value for p in parts], **_interval(interval)}
    both, alone = Predictions.concatenate(every), Predictions.concatenate(members)
    gain = metrics.paired_difference(both.y_true, both.y_pred, alone.y_pred, both.speakers)
    print(f"the discriminant adds {gain.value:+.1%} [{gain.low}, {gain.high}], p {gain.p_value}")
    return result | {"gain": {"value": gain.value, "low": gain.low, "high": gain.high, "p": gain.p_value}}


def run_loco(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    part = left_out(pool, options.which, options.out)
    _save(part, options.out / f"loco-{options.which}" / "answers.csv")
    label, share = part.largest_share()
    uar = part.uar()
    print(f"\r{options.which} left out, four emotions: UAR {_told(uar)}, most frequent {label} {share:.0%}")
    return {"left_out": options.which, "uar": _interval(uar), "most": label, "share": share}


def run_loso(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    parts = []
    for part in speakers_left_out(pool, options.which, options.out):
        parts.append(part)
        print(f"\r{part.speakers[0]:12} {part.uar().value:12.1%}", flush=True)
    whole = Predictions.concatenate(parts)
    _save(whole, options.out / f"loso-{options.which}" / "answers.csv")
    uar = whole.uar()
    print(f"{options.which}, a speaker left out at a time, its own labels: UAR {_told(uar)}")
    return {"corpus": options.which, "uar": _interval(uar)}


def run_ship(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    kind = SHIPPED[options.which]
    held = {c: HELD_OUT[c] for c in HELD_OUT if c in kind.shares}
    fitting = pool.among(pool.speakers, [s for a, _ in held.values() for s in a])
    scoring = pool.among(pool.speakers, [s for _, b in held.values() for s in b])
    fitting, scoring = (rows & pool.among(pool.corpora, kind.shares) for rows in (fitting, scoring))
    vox, names = trained(pool, ~fitting & ~scoring, kind.shares)
    rows, logits = judged_as_strangers(pool, ~fitting & ~scoring, kind.shares, names)
    rows = np.concatenate([rows, np.flatnonzero(fitting)])
    logits = np.concatenate([logits, answers(vox, pool, fitting)])
    model = bundled(
        vox,
        pool,
        options.out / options.which,
        names,
        name=options.which,
        description=kind.description,
        licence=kind.licence,
        corpora=kind.shares,
        protocol="speakers/" + ",".join(sorted(set(pool.speakers[scoring]))),
        calibration=calibrated(pool, rows, logits, names),
    )
    whole = predict_manifest(model, pool.manifest.select(pool.ids[scoring]))
    scores = tuple(_scores(whole))
    spec = model.spec
    print(f"\r{spec.name}: temperature {spec.temperature:.2f}, abstains below {spec.abstain.confidence:.3f}")
    for score in scores:
        size = f"({score.n_clips} clips, {score.n_speakers} speakers)"
        print(f"{score.corpus:14} {score.metric:17} {score.value:.3f}  {size}")
    spec = replace(spec, scores=(*scores, *_recipe_scores(options)))
    graph = (options.out / options.which / MODEL_FILE).read_bytes()
    write_bundle(Path(emovox.__file__).parent / "models" / options.which, graph, spec, replace=True)
    return {"bundle": options.which, "scores": [score.to_dict() for score in scores]}


def _scores(whole: Predictions) -> Iterator[Score]:
    """UAR, calibration and abstention on speakers that the weights never met, for each corpus and for all."""
    for corpus in ("all", *sorted(set(whole.corpora))):
        part = whole if corpus == "all" else whole.where(lambda i, c=corpus: whole.corpora[i] == c)
        uar = part.uar()
        size = {"n_speakers": uar.n_speakers, "n_clips": uar.n_clips}
        known = {"corpus": corpus, "protocol": "held-out speakers", **size}
        yield Score(**known, metric="uar", **_bounded(uar.to_dict()))
        yield Score(**known, metric="ece", value=round(part.ece(), 4))
        yield Score(**known, metric="coverage", value=round(part.coverage(), 4))
        if (answered := part.answered_uar()) is not None:
            yield Score(**known, metric="uar when answered", value=round(answered, 4))


def _recipe_scores(options: argparse.Namespace) -> Iterator[Score]:
    """The figures of the recipe itself, as `folds` and `loco` left them."""
    if options.which != "default":
        return
    if (file := options.out / "folds.json").exists():
        row = json.loads(file.read_text())["all"]
        size = {"n_speakers": row["n_speakers"], "n_clips": row["n_clips"]}
        known = {"corpus": "ravdess", "protocol": "recipe, EmoBox folds, speakers apart", **size}
        yield Score(**known, metric="uar", **_bounded(row | {"value": row["mean"]}))
    for file in sorted(options.out.glob("loco-*.json")):
        row = json.loads(file.read_text())
        size = {"n_speakers": row["uar"]["n_speakers"], "n_clips": row["uar"]["n_clips"]}
        known = {"corpus": row["left_out"], "protocol": "recipe, corpus left out, four emotions", **size}
        yield Score(**known, metric="uar", **_bounded(row["uar"]))


def _bounded(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Value and interval for a spec, rounded."""
    return {k: None if row[k] is None else round(row[k], 4) for k in ("value", "low", "high")}


WHICH: dict[str, Iterable[object]] = {
    "fold": emobox.emobox_folds("ravdess"),
    "loco": SHARES,
    "loso": SHARES,
    "ship": SHIPPED,
}
"""What a command must be told; the others take nothing."""


COMMANDS: dict[str, Callable[[Pool, argparse.Namespace], dict[str, Any]]] = {
    "cache": run_cache,
    "choose": run_choose,
    "fold": run_fold,
    "folds": run_folds,
    "loco": run_loco,
    "loso": run_loso,
    "ship": run_ship,
}

if __name__ == "__main__":
    main()
