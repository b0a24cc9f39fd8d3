"""Tune the upper layers of the default model's encoder on cached frames, and interpolate with the original.

    python recipes/default_tune.py encode --corpora DIR --checkpoint model.bin   # resumable
    python recipes/default_tune.py choose emodb --corpora DIR --checkpoint model.bin
    python recipes/default_tune.py fold 1       --corpora DIR --checkpoint model.bin --alphas 0 0.5
    python recipes/default_tune.py all          --corpora DIR --checkpoint model.bin --alphas 0.5

`encode` caches the frames of clips cut to their speech, and of changed sounds, after the last layer that
stays frozen. The layers above are trained from the recipe's linear head (LP-FT, Kumar et al., 2022) on crops
of cached frames; what is trained is added to the original weights and decays to zero. The additions are then
scaled by each alpha (WiSE-FT, Wortsman et al., 2022), and the recipe's head is fitted on the pooled states:
alpha 0 is the frozen encoder. `choose` leaves one corpus and a quarter of the training actors of RAVDESS's
first fold out and tests on both, on ASED and, of corpora, every second speaker. `fold` opens a test fold.
`all` trains on all corpora and writes the encoder of each alpha as a checkpoint, from which `default.py
cache --checkpoint OUT/all/encoder-0.5` makes the rest of a model: other passes, 8 bits, heads, bundles.

`--device cuda` trains and encodes on a GPU, `--every 1` takes all clips, `--tuned 3` a third layer. A
training that is stopped resumes at its last epoch. One JSON line last.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import default_sounds as sounds
import numpy as np
import torch
from default_cache import TRAINING, UNCUT, clips_of, make_net
from default_heads import Head, Rows, balance, fit_labels, join, score_uar
from default_measure import HELD_OUT, score_unseen
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emovox._arrays import Floats
from emovox._files import atomic_path
from emovox.audio import SAMPLE_RATE
from emovox.datasets import scan
from emovox.datasets.emobox import emobox_split
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveNet, weigh_active
from emovox.nets.layers import frame_mask
from emovox.nets.whisper import HOP, WhisperEncoder, save_encoder
from emovox.training.config import TrainingConfig
from emovox.training.neural.clips import ClipSet, label_mask
from emovox.training.neural.trainer import fit_net

LAYERS = (2, 3, 4)
CORPORA = (*TRAINING, "ased")
THINNED = {"nemo": 2, "tess": 2, "banglaser": 2, "ased": 2}
"""Of these corpora every n-th clip; of changed sounds every third of that, unless ``--every`` is given."""
CHUNK = 50
C = 5e-4
"""Of the heads, as scikit-learn counts it: that of the models 3.0 to 3.2, with which `tuned-34` was named."""


class Addition(nn.Module):
    """A weight as the original plus ``alpha`` times what is trained, so that weight decay ends at the
    original."""

    original: Tensor

    def __init__(self, original: Tensor) -> None:
        super().__init__()
        self.register_buffer("original", original.detach().clone(), persistent=False)
        self.alpha = 1.0

    def forward(self, addition: Tensor) -> Tensor:
        return self.original + self.alpha * addition

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight - self.original


class TunedNet(nn.Module):
    """Frames ``(b, t, size + 1)``, ``lengths (b,)`` -> logits; trains the layers from ``first`` and the head.

    The last column is the weight of an active frame. In training a part of the frames is left out of a batch.
    """

    def __init__(self, net: AdaptiveNet, first: int, kept: float = 0.7, dropout: float = 0.2) -> None:
        super().__init__()
        self.net, self.first, self.kept = net.requires_grad_(False), first, kept
        self.dropout = nn.Dropout(dropout)
        for part in (*net.encoder.layers[first:], net.labels_head):
            for module in list(part.modules()):
                for name, weight in list(module.named_parameters(recurse=False)):
                    parametrize.register_parametrization(module, name, Addition(weight))
            part.requires_grad_(True)

    def scale_additions(self, alpha: float) -> None:
        for module in self.modules():
            if isinstance(module, Addition):
                module.alpha = alpha

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Average as `AdaptiveNet.pool` does: ``(b, layers, 2, size)``."""
        exists = frame_mask(x, lengths)
        states = self.net.encoder.transform(x[..., :-1], exists, self.first)
        weights = torch.stack([exists, x[..., -1] * exists], 1)
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-6)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # a mean over frames keeps more digits than bfloat16
            return torch.stack([weights @ states[i - self.first] for i in self.net.config.layers], 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.training:
            kept = torch.rand(x.shape[1], device=x.device) < self.kept
            kept[0] = True
            x, lengths = x[:, kept], kept.cumsum(0)[lengths - 1]
        embedding = (self.pool(x, lengths).flatten(1) - self.net.mean) * self.net.scale
        return self.net.classify(self.dropout(embedding))

    def merge_additions(self) -> WhisperEncoder:
        """Return a copy of the encoder with plain weights, those of the alpha that is set."""
        encoder = copy.deepcopy(self.net.encoder).cpu()
        for module in filter(parametrize.is_parametrized, list(encoder.modules())):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        return encoder

    def extra_repr(self) -> str:  # part of what identifies a training that is resumed
        return f"first={self.first}, kept={self.kept}"


@dataclass(frozen=True, eq=False)
class FrameSet(ClipSet):
    """Clips drawn as the recipe balances them."""

    weights: Floats | None = None

    def draw_probabilities(self) -> NDArray[np.float64]:
        assert self.weights is not None
        return np.asarray(self.weights / self.weights.sum(dtype=np.float64), np.float64)


# --- cache ---------------------------------------------------------------------------------------------


@torch.inference_mode()
def encode_clip(x: Floats, lower: AdaptiveNet, device: str) -> Floats:
    """Compute the frames ``(t, size + 1)`` of a sound: states of the last layer of ``lower``, and weights."""
    waveform = torch.from_numpy(np.pad(x, (0, max(0, 1600 - len(x)))).astype(np.float32))[None].to(device)
    lengths = torch.tensor([waveform.shape[1]], device=device)
    mel, existing = lower.encoder.log_mel(waveform, lengths)
    states, exists = lower.encoder.encode(mel, torch.div(lengths, HOP, rounding_mode="floor"))
    config = lower.config
    active = weigh_active(mel, existing, exists, config.active_db, config.slope_db) * exists.sum()
    return torch.cat([states[-1], active[..., None]], 2)[0].cpu().numpy()


@torch.inference_mode()
def pool_frames(
    net: TunedNet, clips: Sequence[NDArray[Any]], device: str, precision: str = "float32", batch: int = 16
) -> Floats:
    """Pool clips in batches of similar length."""
    net = net.to(device).eval()
    pooled = np.empty((len(clips), len(LAYERS), 2, net.net.encoder.config.size), np.float32)
    order = np.argsort([len(clip) for clip in clips])
    for rows in np.array_split(order, -(-len(order) // batch)):
        longest = max(len(clips[i]) for i in rows)
        x = np.stack(
            [np.pad(clips[i].astype(np.float32), ((0, longest - len(clips[i])), (0, 0))) for i in rows]
        )
        lengths = torch.tensor([len(clips[i]) for i in rows], device=device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            pooled[rows] = net.pool(torch.from_numpy(x).to(device), lengths).float().cpu().numpy()
    return pooled


def list_thinned(options: argparse.Namespace, name: str, corpus: str) -> list[sounds.Clip]:
    every = options.every or THINNED.get(corpus, 1) * (3 if name == "cut-changed" else 1)
    return clips_of(options.corpora, name, corpus)[::every]


def find_folder(options: argparse.Namespace, name: str, corpus: str) -> Path:
    return options.cache / f"after-{options.first}" / f"every-{options.every}" / name / corpus


def encode_corpus(
    options: argparse.Namespace, name: str, corpus: str, lower: AdaptiveNet, net: TunedNet
) -> None:
    """Encode a pass over a corpus in chunks, with the pooled states of the frozen encoder."""
    folder = find_folder(options, name, corpus)
    folder.mkdir(parents=True, exist_ok=True)
    clips = list_thinned(options, name, corpus)
    for start in range(0, len(clips), CHUNK):
        if (file := folder / f"{start // CHUNK:04d}.npz").exists():
            continue
        some = clips[start : start + CHUNK]
        cut = [sounds.cut_clip(sounds.make_sound(clip, UNCUT[name]))[: 12 * SAMPLE_RATE] for clip in some]
        frames = [encode_clip(x, lower, options.device).astype(np.float16) for x in cut]
        with atomic_path(file) as partial, partial.open("wb") as out:
            np.savez(
                out,
                ids=[clip.id for clip in some],
                lengths=[len(clip) for clip in frames],
                frames=np.concatenate(frames),
                pooled=pool_frames(net, frames, options.device),
            )
        print(f"{name} {corpus}: {start + len(some)}/{len(clips)}", flush=True)


def read_corpus(options: argparse.Namespace, name: str, corpus: str) -> tuple[Rows, list[NDArray[Any]]]:
    """Read the clips of a pass: pooled states of the frozen encoder, and frames."""
    clips = {clip.id: clip for clip in list_thinned(options, name, corpus)}
    folder = find_folder(options, name, corpus)
    parts = [np.load(folder / f"{i:04d}.npz") for i in range(-(-len(clips) // CHUNK))]
    ids, pooled = (np.concatenate([part[key] for part in parts]) for key in ("ids", "pooled"))
    frames = [clip for part in parts for clip in np.split(part["frames"], np.cumsum(part["lengths"])[:-1])]
    labels = np.array([EMOTIONS.index(clips[i].emotion) for i in ids])
    speakers = np.array([clips[i].speaker for i in ids])
    return Rows(pooled, ids, labels, speakers, np.array([corpus] * len(ids))), frames


# --- training ------------------------------------------------------------------------------------------


@dataclass
class Frames:
    """Clips with their frames."""

    rows: Rows
    clips: list[NDArray[Any]]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Frames:
        return Frames(self.rows[chosen], [self.clips[i] for i in np.flatnonzero(chosen)])

    def pool(self, net: TunedNet, options: argparse.Namespace) -> Rows:
        return replace(self.rows, pooled=pool_frames(net, self.clips, options.device, options.precision))


def join_frames(parts: Sequence[Frames]) -> Frames:
    return Frames(join([part.rows for part in parts]), [clip for part in parts for clip in part.clips])


def fit_head(rows: Rows) -> Head:
    return fit_labels(rows, 1 / (2 * C * len(rows.labels)))


def tune(train: Frames, changed: Frames, options: argparse.Namespace, folder: Path) -> TunedNet:
    """Tune the upper layers on clips and their changed sounds, from the linear head on frozen states."""
    net = make_net(options.checkpoint, LAYERS, len(EMOTIONS))
    head = fit_head(join([train.rows, changed.rows]))
    with torch.no_grad():
        for target, value in (
            (net.mean, head.mean),
            (net.scale, head.scale),
            (net.labels_head.weight, head.weight),
            (net.labels_head.bias, head.bias),
        ):
            target.copy_(torch.from_numpy(np.asarray(value)))
    rows, corpora = train.rows, np.unique(train.rows.corpora, return_inverse=True)[1]
    variant = dict(zip(changed.rows.ids, changed.clips, strict=True))
    clips = FrameSet(
        [train.clips, [variant.get(i, clip) for i, clip in zip(rows.ids, train.clips, strict=True)]],
        rows.labels,
        corpora,
        label_mask(rows.labels, corpora, len(EMOTIONS)),
        weights=balance(rows),
    )
    config = TrainingConfig(
        epochs=options.epochs,
        learning_rate=options.rate,
        weight_decay=5.0,
        label_smoothing=0.0,
        crop=options.crop,
        clean=0.5,
        precision=options.precision,
        device="cpu" if options.device == "cpu" else "gpu",
        tensorboard=False,
    )
    tuned = TunedNet(net, options.first)
    fit_net(tuned, clips, None, config, folder=folder, on_epoch=lambda epoch: print(epoch.line(), flush=True))
    return tuned


def run_split(
    options: argparse.Namespace, corpora: Sequence[str], without: Sequence[str], tests: dict[str, Frames]
) -> dict[float, dict[str, Any]]:
    """Train on ``corpora`` ``without`` some speakers; score the tests with each alpha."""

    def read(name: str) -> Frames:
        frames = join_frames([Frames(*read_corpus(options, name, corpus)) for corpus in corpora])
        return frames[~np.isin(frames.rows.speakers, without)]

    train, changed = read("cut"), read("cut-changed")
    print(f"{len(train.clips)} clips, {len(changed.clips)} changed sounds", flush=True)
    folder = options.out / options.name
    net = tune(train, changed, options, folder)
    found: dict[float, dict[str, Any]] = {}
    for alpha in options.alphas:
        net.scale_additions(alpha)
        if options.what == "all":
            save_encoder(net.merge_additions(), folder / f"encoder-{alpha}")
            print(f"written: {folder / f'encoder-{alpha}'}", flush=True)
            continue
        if alpha:
            rows = [part.pool(net, options) for part in (train, changed, *tests.values())]
        else:
            rows = [part.rows for part in (train, changed, *tests.values())]
        head = fit_head(join(rows[:2]))
        found[alpha] = {}
        for name, test in zip(tests, rows[2:], strict=True):
            if name == "ravdess":  # nine labels active
                predicted = head(test).argmax(1)
                found[alpha][name] = round(score_uar(test.labels, predicted), 1)
                answers = zip(test.ids, test.labels, predicted, strict=True)
                lines = [f"{clip},{EMOTIONS[true]},{EMOTIONS[label]}" for clip, true, label in answers]
                text = "id,true,predicted\n" + "\n".join(lines) + "\n"  # as `default.py folds` writes them
                (folder / f"answers-{alpha}.csv").write_text(text)
            else:
                found[alpha][name] = {n: round(score_unseen(head, test, n), 1) for n in (0, 3, 20)}
        print(f"alpha {alpha}: {found[alpha]}", flush=True)
    return found


def choose(options: argparse.Namespace) -> dict[float, dict[str, Any]]:
    """Leave a corpus and a quarter of the training actors of RAVDESS's first fold out, another for each."""
    corpus = options.which
    ravdess = Frames(*read_corpus(options, "cut", "ravdess"))
    test_actors = np.unique(ravdess.rows.speakers[find_test(options, ravdess.rows, 1)]).tolist()
    actors = np.setdiff1d(ravdess.rows.speakers, test_actors).tolist()
    validation = actors[[c for c in TRAINING if c != "ravdess"].index(corpus) :: 4]
    tests = {"ravdess": ravdess[np.isin(ravdess.rows.speakers, validation)]}
    for name in (corpus, "ased"):
        frames = Frames(*read_corpus(options, "cut", name))
        tests[name] = frames[np.isin(frames.rows.speakers, np.unique(frames.rows.speakers)[::2])]
    kept = [c for c in TRAINING if c != corpus]
    return run_split(options, kept, [*validation, *test_actors], tests)


def find_test(options: argparse.Namespace, rows: Rows, number: int) -> NDArray[np.bool_]:
    """Find the test clips of a fold of EmoBox."""
    split = emobox_split(scan("ravdess", options.corpora / "ravdess")[0], number, corpus="ravdess")
    return np.isin(rows.ids, split.test)


def test_fold(options: argparse.Namespace) -> dict[float, dict[str, Any]]:
    """Train on all corpora without a fold's test actors, and test on them."""
    ravdess = Frames(*read_corpus(options, "cut", "ravdess"))
    test = ravdess[find_test(options, ravdess.rows, int(options.which))]
    return run_split(options, TRAINING, np.unique(test.rows.speakers).tolist(), {"ravdess": test})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("encode", "choose", "fold", "all"))
    parser.add_argument(
        "which", nargs="?", help="a corpus to leave out, a fold, or what to encode: PASS/CORPUS"
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/default-tune"))
    parser.add_argument("--out", type=Path, default=Path("runs/default-tune"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--tuned", type=int, choices=(2, 3), default=2, help="upper layers that are tuned")
    parser.add_argument("--every", type=int, default=0, help="take every n-th clip; 0: as in THINNED")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--crop", type=int, default=100, help="frames, 50 a second")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0, 0.3, 0.5, 0.7, 1])
    options = parser.parse_args()
    known = {"choose": [c for c in TRAINING if c != "ravdess"], "fold": list("123456"), "all": [None]}
    if options.which not in known.get(options.what, [options.which]):
        parser.error(
            f"{options.what} takes {' | '.join(map(str, known[options.what]))}; got {options.which!r}"
        )
    options.first = LAYERS[-1] - options.tuned
    options.name = options.what + (f"-{options.which}" if options.which else "")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "encode":
        only_pass, _, only_corpus = (options.which or "").partition("/")
        lower = make_net(options.checkpoint, (options.first,), len(EMOTIONS)).to(options.device)
        net = TunedNet(make_net(options.checkpoint, LAYERS, len(EMOTIONS)), options.first)
        for name in [only_pass] if only_pass else ("cut", "cut-changed"):
            for corpus in [only_corpus] if only_corpus else CORPORA if name == "cut" else TRAINING:
                encode_corpus(options, name, corpus, lower, net)
        return
    if options.what == "all":
        found = run_split(options, TRAINING, HELD_OUT, {})
    else:
        found = {"choose": choose, "fold": test_fold}[options.what](options)
    text = json.dumps({"what": options.what, "which": options.which, "alphas": found})
    (options.out / f"{options.name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
