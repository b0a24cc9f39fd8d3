"""The front end of ``vox`` depends on the clip alone; every column is what its name says."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from emovox.errors import ConfigError  # noqa: E402
from emovox.nets import layers  # noqa: E402
from emovox.nets.folded_stft import FoldedFrames  # noqa: E402
from emovox.nets.front_end import MODULATION_HZ, QUANTILES, FrontEnd, FrontEndConfig  # noqa: E402
from emovox.nets.vox import Discriminant, Vox, VoxConfig, VoxHead  # noqa: E402

RATE = 16_000
HOP_S = 0.01
LAGS = (3, 12)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def front() -> FrontEnd:
    return FrontEnd(FrontEndConfig(lags=LAGS)).eval()


@pytest.fixture(scope="module")
def vox(front: FrontEnd) -> Vox:
    """Random weights behind statistics of real sizes, as after training."""
    torch.manual_seed(3)
    sizes = VoxConfig(n_labels=5, n_members=2, hidden=32, member_columns=1298, cell_labels=(0, 1, 1, 2, 4))
    sizes = replace(sizes, cell_corpora=(0, 0, 1, 1, 1), corpus_trust=0.2)
    net = Vox(replace(sizes, front=front.config)).eval()
    raw = torch.from_numpy(batch(front, [voice(f0, seed=f0) for f0 in (90, 140, 210, 300)]))
    net.mean.copy_(raw.mean(0))
    net.scale.copy_(1 / raw.std(0).clamp(min=1e-2))
    for head in net.heads:
        torch.nn.init.normal_(head.linear.weight, std=0.02)
    torch.nn.init.normal_(net.discriminant.weight, std=0.02)
    return net


# ------------------------------------------------------------------------------------ sounds


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def pulses(f0: float, seconds: float = 1.0) -> np.ndarray:
    """A voice source: all harmonics below 7 kHz in phase, falling by 6 dB an octave."""
    t = np.arange(round(seconds * RATE)) / RATE
    k = np.arange(1, int(7000 / f0) + 1)
    wave = (np.cos(2 * np.pi * f0 * k[:, None] * t) / k[:, None]).sum(0)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def voice(f0: float, seconds: float = 1.2, seed: int = 0) -> np.ndarray:
    """Syllables of a voice in a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 3.3 * t + seed)
    return (pulses(f0, seconds) * swell + 0.02 * noise(seconds, seed)).astype(np.float32)


def padded(sounds: list[np.ndarray], filler: float = 0.0) -> tuple[Any, Any]:
    lengths = [len(x) for x in sounds]
    waveform = filler * np.random.default_rng(9).standard_normal((len(sounds), max(lengths)))
    for row, x in zip(waveform, sounds, strict=True):
        row[: len(x)] = x
    return torch.from_numpy(waveform.astype(np.float32)), torch.tensor(lengths)


def batch(net: Any, sounds: list[np.ndarray], filler: float = 0.0) -> np.ndarray:
    with torch.inference_mode():
        return net(*padded(sounds, filler)).numpy()


def one(front: FrontEnd, x: np.ndarray) -> dict[str, float]:
    return dict(zip(front.names(), batch(front, [x])[0].tolist(), strict=True))


def described(front: FrontEnd, x: np.ndarray) -> dict[str, np.ndarray]:
    """The descriptors of one sound, only the frames that exist."""
    with torch.inference_mode():
        d = front.descriptors(*padded([x]))
    shown = d["mask"][0].numpy()
    return {name: z[0].numpy()[shown] for name, z in d.items()}


# ------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.2, 2.9])
def test_clip_alone_equals_clip_in_batch(front: FrontEnd, vox: Vox, seconds: float) -> None:
    sounds = [voice(170, seconds), voice(95, 3.1, 1), noise(0.05), voice(260, 1.9, 2), noise(1.0, 4)]
    for net in (front, vox):
        together = batch(net, sounds)
        alone = np.concatenate([batch(net, [x]) for x in sounds])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_padding_content_does_not_matter(front: FrontEnd) -> None:
    sounds = [voice(170, 0.8), voice(95, 2.0, 1), noise(0.01)]
    np.testing.assert_array_equal(batch(front, sounds), batch(front, sounds, filler=0.5))


def test_frame_count(front: FrontEnd) -> None:
    for n, whole in ((1, 1), (639, 1), (640, 1), (799, 1), (800, 2), (960, 3), (16_000, 97)):
        x = noise(1.0)[:n]
        assert front.n_frames(torch.tensor([n])).item() == whole
        assert len(described(front, x)["energy"]) == whole
        if n >= 640:
            assert whole == torch.from_numpy(x).unfold(0, 640, 160).shape[0]


@pytest.mark.parametrize("gain", [2.0**-10, 0.01, 0.3, 4.0])
def test_gain_does_not_matter(front: FrontEnd, vox: Vox, gain: float) -> None:
    sounds = [voice(120), noise(0.8)]
    louder = [np.float32(gain) * x for x in sounds]
    np.testing.assert_allclose(batch(front, louder), batch(front, sounds), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(batch(vox, louder), batch(vox, sounds), atol=1e-4)


def test_offset_does_not_matter(front: FrontEnd) -> None:
    x = voice(120)
    np.testing.assert_allclose(batch(front, [x + np.float32(0.1)]), batch(front, [x]), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("n", [1, 2, 159, 160, 399, 400, 401, 639, 640, 641, 799, 800, 801, 1601])
def test_any_length_is_finite(front: FrontEnd, vox: Vox, n: int) -> None:
    for x in (noise(1.0)[:n], np.zeros(n, np.float32), np.full(n, 0.5, np.float32)):
        assert np.isfinite(batch(front, [x])).all()
        assert np.isfinite(batch(vox, [x])).all()
        np.testing.assert_allclose(batch(front, [x, voice(100)])[:1], batch(front, [x]), rtol=1e-4, atol=1e-4)


def test_silence_is_unvoiced(front: FrontEnd) -> None:
    named = one(front, np.zeros(32_000, np.float32))
    assert named["voiced"] == named["voiced_runs_a_s"] == 0
    assert named["log_f0_mean"] == named["log_f0_q50"] == 0


# ------------------------------------------------------------------------------------ statistics

_Rows = st.lists(
    st.tuples(st.booleans(), st.floats(-100, 100, width=32), st.floats(-100, 100, width=32)),
    min_size=1,
    max_size=30,
)


@given(_Rows, _Rows)
@settings(max_examples=150)
def test_masked_statistics_equal_numpy(
    first: list[tuple[bool, float, float]], second: list[tuple[bool, float, float]]
) -> None:
    t = max(len(first), len(second)) + 1
    z, mask = np.full((2, t, 2), 55.0, np.float32), np.zeros((2, t), bool)
    for i, rows in enumerate((first, second)):
        for j, (shown, *values) in enumerate(rows):
            mask[i, j], z[i, j] = shown, values
    tensors = torch.from_numpy(z), torch.from_numpy(mask)
    mean, std, skew = (part.numpy() for part in layers.masked_moments(*tensors))
    quantiles = layers.masked_quantiles(*tensors, QUANTILES).numpy().reshape(2, len(QUANTILES), 2)
    slope = layers.masked_slope(*tensors).numpy()
    for i in range(2):
        x = z[i][mask[i]].astype(np.float64)
        if not len(x):
            assert not mean[i].any()
            assert not quantiles[i].any()
            assert np.isfinite([std[i], skew[i], slope[i]]).all()
            continue
        near = {"rtol": 1e-3, "atol": 2e-3}
        np.testing.assert_allclose(mean[i], x.mean(0), **near)
        np.testing.assert_allclose(std[i], x.std(0), **near)
        np.testing.assert_allclose(quantiles[i], np.quantile(x, QUANTILES, axis=0), **near)
        np.testing.assert_allclose(layers.masked_max(tensors[0][..., 0], tensors[1])[i], x[:, 0].max())
        expected = np.polyfit(np.linspace(0, 1, len(x)), x, 1)[0] if len(x) > 1 else np.zeros(2)
        np.testing.assert_allclose(slope[i], expected, rtol=1e-3, atol=1e-2)
        if (x.std(0) > 1).all():
            np.testing.assert_allclose(skew[i], ((x - x.mean(0)) ** 3).mean(0) / x.std(0) ** 3, atol=2e-2)


def test_frame_mask_counts_frames() -> None:
    mask = layers.frame_mask(torch.zeros(3, 4, 2), torch.tensor([0, 2, 4]))
    assert mask.tolist() == [[False] * 4, [True, True, False, False], [True] * 4]


# ------------------------------------------------------------------------------------ columns


def statistics(z: np.ndarray, what: str) -> float:
    """The functional called ``what``, of the values ``z (n,)``."""
    if what.startswith("q"):
        return float(np.quantile(z, int(what[1:]) / 100)) if len(z) else 0.0
    if what == "slope":
        return float(np.polyfit(np.linspace(0, 1, len(z)), z, 1)[0]) if len(z) > 1 else 0.0
    mean = z.mean() if len(z) else 0.0
    std = max(z.std() if len(z) else 0.0, 1e-5)
    skew = (((z - mean) / (std + 1e-3)) ** 3).mean() if len(z) else 0.0
    return float({"mean": mean, "std": std, "skew": skew}[what])


def by_name(name: str, d: dict[str, np.ndarray]) -> float:
    """What the column ``name`` should hold, computed from the descriptors by another road."""
    active = d["energy"] >= d["energy"].max() - 3.2 * math.log(10)
    span = np.zeros_like(active)
    span[np.flatnonzero(active)[0] : np.flatnonzero(active)[-1] + 1] = True
    voiced = active & (d["voicing"] > 0.5)
    level = d["energy"][active].mean()
    shape = ("centroid", "spread", "alpha", "hammarberg", "treble", "flux", "flatness")
    series = {f"mel{i}": z - level for i, z in enumerate(d["log_mel"].T)}
    series |= {f"mfcc{i + 1}": z for i, z in enumerate(d["mfcc"].T)}
    series |= {"energy": d["energy"] - level, "voicing": d["voicing"]}
    series |= dict(zip(shape, d["shape"].T, strict=True))

    what, _, how = name.partition("_")
    if name.startswith("log_f0_"):
        return statistics(d["log_f0"][voiced], name.removeprefix("log_f0_"))
    if name.startswith("f0_step_"):
        steps = np.diff(d["log_f0"]) * 10
        steps = steps[voiced[1:] & voiced[:-1] & (np.abs(steps) < 2.5)]
        how = name.removeprefix("f0_step_")
        return statistics(np.abs(steps) if how.startswith("abs_") else steps, how.removeprefix("abs_"))
    if "delta" in name:
        inner = np.flatnonzero(active[1:-1] & span[2:] & span[:-2]) + 1
        z = series[what][inner + 1] - series[what][inner - 1]
        return statistics(np.abs(z) if "absdelta" in name else z, name.rsplit("_", 1)[1])
    if how.startswith("voiced_"):
        return statistics(series[what][voiced], how.removeprefix("voiced_"))
    return statistics(series[what][active], how)


@pytest.mark.parametrize("x", [voice(130, 1.3), np.concatenate([voice(240, 0.6), noise(0.3) / 9])])
def test_columns_match_their_names(front: FrontEnd, x: np.ndarray) -> None:
    named, d = one(front, x), described(front, x)
    rhythm = list(named)[list(named).index("log_seconds") :]
    columns = [name for name in named if name not in rhythm]
    assert len(columns) > 1200
    expected = np.array([by_name(name, d) for name in columns])
    np.testing.assert_allclose([named[name] for name in columns], expected, rtol=2e-3, atol=2e-3)


def test_names_are_unique(front: FrontEnd) -> None:
    names = front.names()
    assert len(set(names)) == len(names) == front.n_out == batch(front, [noise(0.2)]).shape[1]


# ------------------------------------------------------------------------------------ transforms


def middles(x: Any, length: int, window: int) -> Any:
    """Frames ``(t, window)`` under a Hann window, in the middle of those ``length`` long."""
    frames = x.unfold(0, length, 160)
    lead = (length - window) // 2
    return frames[:, lead : lead + window] * torch.hann_window(window)


@pytest.mark.parametrize("n", [640, 700, 800, 4803])
def test_folded_spectrum_equals_fft(front: FrontEnd, n: int) -> None:
    x = torch.from_numpy(noise(0.5)[:n])
    even, odd = front.fold(x[None])
    expected = torch.fft.rfft(middles(x, 640, 640), 1024).abs() ** 2
    found = front.pitch_spectrum(even, odd)[0]
    torch.testing.assert_close(found, expected[:, front.low_bin : front.high_bin], rtol=1e-3, atol=1e-4)
    low, high = front.spectrum(even, odd)
    expected = torch.fft.rfft(middles(x, 640, 400), 512).abs() ** 2
    torch.testing.assert_close(low[0], expected[:, :129], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(high[0].flip(1), expected[:, 128:], rtol=1e-3, atol=1e-4)


def test_mirrored_bins_keep_dynamic_range(front: FrontEnd) -> None:
    """1 kHz, and 7 kHz 70 dB below it: mirrored about 4 kHz, they come from the same sums."""
    t = torch.arange(RATE // 2, dtype=torch.float64) / RATE
    x = (torch.sin(2 * math.pi * 1000 * t) + 10**-3.5 * torch.sin(2 * math.pi * 7000 * t)).float()
    low, high = front.spectrum(*front.fold(x[None]))
    ratio_db = 10 * torch.log10(low[0, 10, 32] / high[0, 10, 32])
    assert ratio_db.item() == pytest.approx(70, abs=0.1)


def test_invalid_frame_lengths_are_refused() -> None:
    for length, hop in ((600, 160), (480, 160), (640, 161)):
        with pytest.raises(ValueError, match="even number of even hops"):
            FoldedFrames(length, hop)


def test_modulation_spectrum_over_blocks(front: FrontEnd) -> None:
    """Against the table of all frames at once, for lengths about the blocks'."""
    rng = np.random.default_rng(3)
    for n in (5, 63, 64, 65, 300):
        energy = torch.from_numpy(rng.standard_normal((1, n)).astype(np.float32))
        inside = torch.ones(1, n)
        found = front._compute_modulation(energy, inside, torch.tensor([float(n)]))[0]
        place = np.arange(1, n + 1)
        envelope = (energy[0].numpy() - energy[0].numpy().mean()).clip(-4)
        envelope = envelope * (0.5 - 0.5 * np.cos(2 * np.pi * place / n))
        grid = np.arange(0.4, 30.0, 0.2)
        power = np.abs(np.exp(-2j * np.pi * HOP_S * np.outer(grid, np.arange(n))) @ envelope) ** 2
        bands = [power[(grid >= a) & (grid < b)].mean() for a, b in itertools.pairwise(MODULATION_HZ)]
        np.testing.assert_allclose(found, np.log(np.array(bands) / n + 1e-3), rtol=1e-2, atol=1e-2)


def test_mel_filters_have_unit_area(front: FrontEnd) -> None:
    c = front.config
    mine = front.mel.numpy().T
    ends = 2595 * np.log10(1 + np.array([c.mel_min_hz, c.mel_max_hz]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, c.n_mels + 2) / 2595) - 1)
    wide = edges[2:] - edges[:-2] > 8 * RATE / c.n_fft  # wide enough for a sum to be an integral
    np.testing.assert_allclose(mine.sum(1)[wide] * RATE / c.n_fft, 1, atol=0.02)


def test_mfcc_equals_scipy(front: FrontEnd) -> None:
    fft = pytest.importorskip("scipy.fft")
    d = described(front, voice(150))
    expected = fft.dct(d["log_mel"].astype(np.float64), type=2, norm="ortho")[:, 1:16]
    np.testing.assert_allclose(d["mfcc"], expected, rtol=1e-3, atol=1e-3)


def test_mel_filters_equal_librosa(front: FrontEnd) -> None:
    filters = pytest.importorskip("librosa.filters")
    c = front.config
    expected = filters.mel(
        sr=RATE, n_fft=c.n_fft, n_mels=c.n_mels, fmin=c.mel_min_hz, fmax=c.mel_max_hz, htk=True, norm="slaney"
    )
    np.testing.assert_allclose(front.mel.numpy().T, expected, atol=1e-6)


# ------------------------------------------------------------------------------------ pitch and rhythm


def yin(x: np.ndarray) -> float:
    """Pitch in Hz, in the time domain: the first deep dip of the normalised difference (YIN, 2002)."""
    x = x.astype(np.float64)
    n, lags = 4000, np.arange(1, 300)
    difference = np.array([((x[:n] - x[lag : lag + n]) ** 2).sum() for lag in lags])
    dip = difference * lags / np.maximum(difference.cumsum(), 1e-12)
    start = int(np.flatnonzero(dip < 0.15)[0])
    while dip[start + 1] < dip[start]:
        start += 1
    a, b, c = dip[start - 1 : start + 2]
    return RATE / (lags[start] + 0.5 * (a - c) / (a - 2 * b + c))


@pytest.mark.parametrize("f0", np.geomspace(80, 400, 14).tolist())
@pytest.mark.parametrize("make", [pulses, voice])
def test_pitch_of_a_known_voice(front: FrontEnd, f0: float, make: Any) -> None:
    x = make(f0)
    named, d = one(front, x), described(front, x)
    assert 100 * 2 ** named["log_f0_q50"] == pytest.approx(f0, rel=0.02)
    assert 100 * 2 ** named["log_f0_q50"] == pytest.approx(yin(x), rel=0.025)
    sure = d["voicing"] > 0.8
    assert sure.mean() > 0.7
    right = np.abs(2 ** d["log_f0"][sure] * 100 / f0 - 1) < 0.03
    assert right.mean() > 0.9  # the rest are the valleys between syllables


def test_pitch_follows_a_glide(front: FrontEnd) -> None:
    t = np.arange(RATE) / RATE
    f0 = 120 * 2**t  # an octave in a second
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    x = sum(np.cos(k * phase) / k for k in range(1, 20)).astype(np.float32)
    assert one(front, x)["log_f0_slope"] == pytest.approx(0.96, abs=0.06)  # frames end 40 ms before the sound
    assert one(front, x[::-1].copy())["log_f0_slope"] == pytest.approx(-0.96, abs=0.06)


def test_noise_is_unvoiced(front: FrontEnd) -> None:
    assert one(front, noise(1.5))["voiced"] < 0.15
    assert one(front, pulses(150))["voiced"] > 0.95


def test_voiced_segments_are_counted(front: FrontEnd) -> None:
    hiss = noise(0.25)
    x = np.concatenate([pulses(140, 0.4), hiss, pulses(140, 0.4), hiss, pulses(140, 0.4)])
    named = one(front, x)
    seconds = math.exp(named["log_seconds"]) - 0.01
    assert seconds == pytest.approx(len(x) / RATE, abs=0.06)
    assert round(named["voiced_runs_a_s"] * seconds) == 3
    assert named["voiced_run_s"] == pytest.approx(0.4, abs=0.06)
    assert named["voiced"] == pytest.approx(1.2 / seconds, abs=0.08)


@pytest.mark.parametrize("rate_hz", [2.5, 4.0, 5.5, 7.0])
def test_syllables_are_counted(front: FrontEnd, rate_hz: float) -> None:
    t = np.arange(4 * RATE) / RATE
    swell = 10 ** (0.75 * (np.cos(2 * np.pi * rate_hz * t) - 1))  # 30 dB deep
    named = one(front, (noise(4.0) * swell).astype(np.float32))
    assert named["peaks_a_s"] == pytest.approx(rate_hz, rel=0.2)
    bands = [named[f"modulation{i}"] for i in range(8)]
    edges = (0.4, 1.0, 2.0, 3.0, 4.5, 6.5, 10.0, 16.0, 30.0)
    loudest = int(np.argmax(bands))
    assert edges[loudest] <= rate_hz < edges[loudest + 1]


def test_pauses_lower_active_share(front: FrontEnd) -> None:
    gap = np.zeros(RATE // 2, np.float32)
    x = np.concatenate([voice(130, 0.5), gap, voice(130, 0.5)])
    assert one(front, x)["active"] == pytest.approx(2 / 3, abs=0.06)
    assert one(front, np.concatenate([gap, voice(130, 0.5), gap]))["active"] > 0.9  # no pause inside


# ------------------------------------------------------------------------------------ the net


def test_members_are_averaged(vox: Vox) -> None:
    features = torch.randn(6, vox.front.n_out) * 2
    with torch.inference_mode():
        z = ((features - vox.mean) * vox.scale).clamp(-5, 5)
        votes = [torch.log_softmax(head(z[:, :1298]), 1) for head in vox.heads]
        torch.testing.assert_close(
            vox.classify(features), 0.5 * sum(votes) / len(votes) + 0.5 * vox.discriminant(z)
        )


def test_label_probability_sums_its_cells() -> None:
    net = Discriminant(4, cell_labels=(2, 0, 2), n_labels=4)
    torch.nn.init.normal_(net.weight)
    torch.nn.init.normal_(net.bias)
    x = torch.randn(5, 4)
    chance = (x @ net.weight.T + net.bias).softmax(1)
    found = net(x).exp()
    torch.testing.assert_close(found[:, 0], chance[:, 1])
    torch.testing.assert_close(found[:, 2], chance[:, 0] + chance[:, 2])
    assert (found[:, [1, 3]] < 1e-8).all()  # no cell shows them
    assert torch.isfinite(net(x * 1e4)).all()


def test_corpus_trust_flattens_corpora() -> None:
    cells, homes = (2, 0, 2, 1), (0, 1, 1, 0)
    nets = {
        trust: Discriminant(4, cells, n_labels=4, cell_corpora=homes, corpus_trust=trust)
        for trust in (1.0, 0.3, 0.0)
    }
    weight, bias = torch.randn(4, 4), torch.randn(4)
    for net in nets.values():
        net.weight.copy_(weight)
        net.bias.copy_(bias)
    x = torch.randn(5, 4)
    chance = (x @ weight.T + bias).softmax(1).numpy()
    corpus = np.stack([chance[:, [0, 3]].sum(1), chance[:, [1, 2]].sum(1)], 1)
    for trust, net in nets.items():
        trusted = corpus**trust / (corpus**trust).sum(1, keepdims=True)
        share = chance / corpus[:, homes] * trusted[:, homes]
        expected = np.stack([share[:, 1], share[:, 3], share[:, 0] + share[:, 2]], 1)
        np.testing.assert_allclose(net(x).exp()[:, :3].numpy(), expected, rtol=1e-4)
        assert torch.isfinite(net(x * 1e4)).all()
    plain = Discriminant(4, cells, n_labels=4)
    plain.weight.copy_(weight)
    plain.bias.copy_(bias)
    torch.testing.assert_close(nets[1.0](x), plain(x))


@pytest.mark.parametrize(
    "wrong",
    [{"cell_corpora": (0, 1)}, {"corpus_trust": 0.5}, {"corpus_trust": 1.5, "cell_corpora": (0, 0, 1)}],
)
def test_cell_corpora_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        VoxConfig(cell_labels=(0, 1, 2), **wrong)  # type: ignore[arg-type]


def test_lagged_correlations(front: FrontEnd) -> None:
    """numpy's own correlations, from the descriptors of frames that carry sound."""
    x = np.concatenate([voice(130, 0.6), np.zeros(RATE // 4, np.float32), voice(190, 0.7, 1)])
    d = described(front, x)
    named = one(front, x)
    energy = d["energy"]
    active = energy >= energy.max() - 32 / 10 * math.log(10)
    series = {f"mfcc{k + 1}": d["mfcc"][:, k] for k in (0, 4)} | {"energy": energy, "voicing": d["voicing"]}
    z = {}
    for name, values in series.items():
        mean, std = values[active].mean(), values[active].std()
        z[name] = np.where(active, (values - mean) / (std + 1e-2), 0)
    for lag in LAGS:
        for a in z:
            for b in z:
                wanted = (z[a][lag:] * z[b][:-lag]).sum() / active.sum()
                assert named[f"{a}_{b}_lag{lag}"] == pytest.approx(wanted, abs=1e-3)


def test_columns_of_version_1(front: FrontEnd) -> None:
    plain = FrontEnd().eval()
    assert plain.names() == front.names()[:1298]
    x = [voice(150)]
    np.testing.assert_array_equal(batch(plain, x), batch(front, x)[:, :1298])


def test_fewer_quantiles(front: FrontEnd) -> None:
    other = FrontEnd(FrontEndConfig(lags=LAGS, quantile_step=3, delta_quantiles=False)).eval()
    x = voice(150)
    every, d, found = one(front, x), described(front, x), one(other, x)
    assert {name for name in every if name not in found} == {n for n in every if "_delta_q" in n}
    active = (d["energy"] >= d["energy"].max() - 3.2 * math.log(10))[::3]
    for name, value in found.items():
        what, _, q = name.partition("_q")
        if what == "mfcc4" and q:
            expected = np.quantile(d["mfcc"][::3, 3][active], int(q) / 100)
            assert value == pytest.approx(expected, abs=1e-3)
        elif not q:
            assert value == every[name]
    assert found["mfcc4_q25"] != every["mfcc4_q25"]


def test_outlier_is_clipped(vox: Vox) -> None:
    features = vox.mean + 3 / vox.scale
    with torch.inference_mode():
        far = vox.classify((features + 1e6 / vox.scale)[None])
        edge = vox.classify((vox.mean + 5 / vox.scale)[None])
    torch.testing.assert_close(far, edge, rtol=1e-3, atol=1e-3)


def test_new_head_uses_its_hidden_layer() -> None:
    head = VoxHead(7, VoxConfig(n_labels=3, hidden=4)).eval()
    x = torch.randn(2, 7)
    torch.testing.assert_close(head(x), head.output(head.embed(x)) + head.linear.bias)
    assert head(x).shape == (2, 3)
    assert head.embed(x).shape == (2, 4)
