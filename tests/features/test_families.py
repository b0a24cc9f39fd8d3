"""Families of features equal those of librosa and python_speech_features, however they are asked for."""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.audio import read
from emovox.audio.stft import mel_filters
from emovox.errors import AudioValueError, ConfigError
from emovox.features import FEATURES, FrameSettings, ShortTime
from emovox.features.blocks import frame_blocks
from emovox.features.chroma import estimate_tuning
from emovox.features.feature_set import FeaturePart, compose_set
from emovox.features.spectral import delta

RATE = 16_000
EXAMPLES = Path(__file__).parents[2] / "tests" / "synthetic"
SPECTRAL = ("mel", "log_mel", "mfcc", "chroma", "tonnetz", "contrast", "centroid", "bandwidth")
SPECTRAL += ("rolloff", "flatness", "ssc")
MINE = (*SPECTRAL, "zcr", "rms")
VOICE = ("f0", "jitter", "shimmer", "hnr", "formants", "harmonics")
WINDOWS = {
    "ours": FrameSettings(),
    "librosa": FrameSettings(window=2048, hop=512, n_fft=2048),
    "long": FrameSettings(window=1000, hop=333, n_fft=1024),
    "hamming": FrameSettings(window=512, hop=256, n_fft=512, taper="hamming"),
}


@cache
def voice(*, rate: int = RATE, seconds: float = 1.5, seed: int = 0, silence: bool = False) -> Floats:
    """A voice-like sound: harmonics on a moving pitch through two formants, breath, a pause, 16-bit noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(rate * seconds)) / rate
    f0 = 130 + 40 * np.sin(2 * np.pi * 1.3 * t + seed) + 10 * np.sin(2 * np.pi * 5 * t)
    phase = 2 * np.pi * np.cumsum(f0) / rate
    sound = np.zeros_like(t)
    for k in range(1, int(rate / 2 / 190)):
        hz = k * f0
        formants = sum(np.exp(-(((hz - f) / w) ** 2)) for f, w in ((600, 250), (1700, 400), (3000, 900)))
        sound += (formants + 0.02) / k**0.5 * np.sin(k * phase)
    sound *= 0.5 + 0.5 * np.sin(2 * np.pi * 2.1 * t)
    sound += 0.05 * rng.standard_normal(t.size)
    sound *= 0.5 / np.abs(sound).max()
    if silence:
        sound[t.size // 3 : t.size // 2] = 0
    return (np.round(sound * 32767) / 32767).astype(np.float32)


def librosa_kwargs(s: FrameSettings) -> dict[str, Any]:
    window = np.ones(s.window) if s.taper == "boxcar" else s.taper
    return {"n_fft": s.n_fft, "hop_length": s.hop, "win_length": s.window, "window": window}


def equal(got: Floats, expected: NDArray[Any], *, share: float = 1e-4) -> None:
    """The same frames, each column within ``share`` of the reference's largest value."""
    reference = np.atleast_2d(expected).T
    assert got.dtype == np.float32
    assert got.shape == reference.shape
    assert np.abs(got - reference).max() <= share * np.abs(reference).max()


# --- parity with librosa ------------------------------------------------------------------------------


@pytest.fixture(params=list(WINDOWS))
def frame_settings(request: pytest.FixtureRequest) -> FrameSettings:
    return WINDOWS[request.param]


@pytest.fixture(scope="module")
def librosa() -> Any:
    return pytest.importorskip("librosa", minversion="0.11")


@pytest.fixture(params=[(RATE, 0), (RATE, 1), (22_050, 2), (8000, 3)], ids=lambda p: f"{p[0]}-{p[1]}")
def sound(request: pytest.FixtureRequest) -> tuple[Floats, int]:
    rate, seed = request.param
    return voice(rate=rate, seed=seed, silence=seed == 1), rate


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_mels": 40, "low_hz": 60.0, "high_hz": 3800.0},
        {"n_mels": 26, "scale": "htk"},
    ],
    ids=str,
)
def test_mel_and_log_mel(librosa, sound, frame_settings, options) -> None:
    x, rate = sound
    theirs: dict[str, Any] = {"n_mels": options.get("n_mels", 64), "htk": options.get("scale") == "htk"}
    theirs |= {"fmin": options.get("low_hz", 0.0), "fmax": options.get("high_hz")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters")
        expected = librosa.feature.melspectrogram(y=x, sr=rate, **theirs, **librosa_kwargs(frame_settings))
    short = ShortTime(x, rate, frame_settings)
    equal(FEATURES["mel"](x, rate, shared=short, **options), expected)
    for top_db in (None, 80.0, 30.0):
        got = FEATURES["log_mel"](x, rate, shared=short, top_db=top_db, **options)
        equal(got, librosa.power_to_db(expected, top_db=top_db))


@pytest.mark.parametrize("n_mfcc", [13, 20, 40])
@pytest.mark.parametrize("lifter", [0, 22])
def test_mfcc(librosa, sound, frame_settings, n_mfcc, lifter) -> None:
    x, rate = sound
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters")
        expected = librosa.feature.mfcc(
            y=x, sr=rate, n_mfcc=n_mfcc, n_mels=64, lifter=lifter, **librosa_kwargs(frame_settings)
        )
    got = FEATURES["mfcc"](
        x, rate, settings=frame_settings, n_mfcc=n_mfcc, n_mels=64, lifter=lifter, top_db=80.0
    )
    equal(got, expected)


@pytest.mark.parametrize("width", [3, 9, 15])
def test_deltas(librosa, width) -> None:
    x = voice(seed=4)
    got = FEATURES["mfcc"](x, RATE, n_mfcc=13, deltas=2, delta_width=width)
    still = got[:, :13]
    for order, block in ((1, got[:, 13:26]), (2, got[:, 26:])):
        equal(block, librosa.feature.delta(still.T, width=width, order=order))
        assert np.array_equal(block, delta(still, width=width, order=order))


@pytest.mark.parametrize("tuning", [0.0, 0.3, -0.45])
def test_chroma_and_tonnetz(librosa, sound, frame_settings, tuning) -> None:
    x, rate = sound
    kwargs = librosa_kwargs(frame_settings)
    short = ShortTime(x, rate, frame_settings)
    expected = librosa.feature.chroma_stft(y=x, sr=rate, tuning=tuning, **kwargs)
    equal(FEATURES["chroma"](x, rate, shared=short, tuning=tuning), expected)
    equal(FEATURES["tonnetz"](x, rate, shared=short, tuning=tuning), librosa.feature.tonnetz(chroma=expected))
    fine = librosa.feature.chroma_stft(y=x, sr=rate, tuning=tuning, n_chroma=24, **kwargs)
    equal(FEATURES["chroma"](x, rate, shared=short, tuning=tuning, n_chroma=24), fine)


@pytest.mark.parametrize("cents", [-40, -7, 0, 23])
def test_tuning_equals_librosa(librosa, cents) -> None:
    t = np.arange(2 * RATE) / RATE
    notes = [220 * 2 ** ((k + cents / 100) / 12) for k in (0, 4, 7, 12, 19)]
    x = sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in notes).astype(np.float32)
    s = WINDOWS["librosa"]
    power = ShortTime(x, RATE, s).power
    assert estimate_tuning(ShortTime(x, RATE, s)) == librosa.estimate_tuning(S=power.T, sr=RATE)
    assert estimate_tuning(ShortTime(x, RATE, s)) == pytest.approx(cents / 100, abs=0.06)
    equal(
        FEATURES["chroma"](x, RATE, settings=s, tuning=None),
        librosa.feature.chroma_stft(y=x, sr=RATE, **librosa_kwargs(s)),
    )


@pytest.mark.parametrize(
    ("n_bands", "low_hz", "quantile"), [(6, 200.0, 0.02), (4, 150.0, 0.1), (3, 400.0, 0.3)]
)
def test_contrast(librosa, sound, frame_settings, n_bands, low_hz, quantile) -> None:
    x, rate = sound
    if low_hz * 2 ** (n_bands - 1) >= rate / 2:
        with pytest.raises(ConfigError, match="beyond half the rate"):
            FEATURES["contrast"](x, rate, n_bands=n_bands, low_hz=low_hz)
        return
    kwargs = librosa_kwargs(frame_settings)
    theirs = {"n_bands": n_bands, "fmin": low_hz, "quantile": quantile}
    ours = {"n_bands": n_bands, "low_hz": low_hz, "quantile": quantile}
    got = FEATURES["contrast"](x, rate, settings=frame_settings, top_db=80.0, **ours)
    equal(got, librosa.feature.spectral_contrast(y=x, sr=rate, **theirs, **kwargs))


def test_centroid_bandwidth_flatness(librosa, sound, frame_settings) -> None:
    x, rate = sound
    kwargs = librosa_kwargs(frame_settings)
    short = ShortTime(x, rate, frame_settings)
    equal(
        FEATURES["centroid"](x, rate, shared=short), librosa.feature.spectral_centroid(y=x, sr=rate, **kwargs)
    )
    equal(
        FEATURES["bandwidth"](x, rate, shared=short),
        librosa.feature.spectral_bandwidth(y=x, sr=rate, **kwargs),
    )
    equal(FEATURES["flatness"](x, rate, shared=short), librosa.feature.spectral_flatness(y=x, **kwargs))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.85, 0.99])
def test_rolloff(librosa, sound, frame_settings, share) -> None:
    x, rate = sound
    short = ShortTime(x, rate, frame_settings)
    expected = librosa.feature.spectral_rolloff(S=short.magnitude.T, sr=rate, roll_percent=share)
    equal(FEATURES["rolloff"](x, rate, shared=short, share=share), expected)


@pytest.mark.parametrize("window", [400, 401, 2048])
@pytest.mark.parametrize("hop", [160, 512])
def test_zcr_and_rms(librosa, sound, window, hop) -> None:
    x, rate = sound
    s = FrameSettings(window=window, hop=hop, n_fft=2048)
    for name, theirs in (
        ("zcr", librosa.feature.zero_crossing_rate(x, frame_length=window, hop_length=hop)),
        ("rms", librosa.feature.rms(y=x, frame_length=window, hop_length=hop)),
    ):
        got = FEATURES[name](x, rate, settings=s)
        # With an odd window librosa may stop one frame earlier.
        assert got.shape[0] - theirs.shape[1] in ((0,) if window % 2 == 0 else (0, 1))
        equal(got[: theirs.shape[1]], theirs)


def compare_all(librosa: Any, x: Floats, rate: int, s: FrameSettings) -> None:
    """Every spectral family against librosa, as its own functions see the same waveform."""
    kwargs, short = librosa_kwargs(s), ShortTime(x, rate, s)
    feature = librosa.feature
    pitch_classes = feature.chroma_stft(y=x, sr=rate, tuning=0.0, **kwargs)
    mfcc = feature.mfcc(y=x, sr=rate, n_mfcc=20, n_mels=64, **kwargs)
    for name, options, expected in (
        ("mel", {}, feature.melspectrogram(y=x, sr=rate, n_mels=64, **kwargs)),
        ("mfcc", {"n_mfcc": 20, "top_db": 80.0}, mfcc),
        ("chroma", {}, pitch_classes),
        # The tuning of speech is a tie of many, which one float's last bit decides: so of the same power.
        ("chroma", {"tuning": None}, feature.chroma_stft(S=short.power.T, sr=rate)),
        ("tonnetz", {}, feature.tonnetz(chroma=pitch_classes)),
        ("contrast", {"top_db": 80.0}, feature.spectral_contrast(y=x, sr=rate, **kwargs)),
        ("centroid", {}, feature.spectral_centroid(y=x, sr=rate, **kwargs)),
        ("bandwidth", {}, feature.spectral_bandwidth(y=x, sr=rate, **kwargs)),
        ("flatness", {}, feature.spectral_flatness(y=x, **kwargs)),
        ("zcr", {}, feature.zero_crossing_rate(x, frame_length=s.window, hop_length=s.hop)),
        ("rms", {}, feature.rms(y=x, frame_length=s.window, hop_length=s.hop)),
    ):
        equal(FEATURES[name](x, rate, shared=short, **options), expected)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.flac")), ids=lambda path: path.stem)
@pytest.mark.parametrize("window", ["ours", "librosa"])
def test_the_examples(librosa, path, window) -> None:
    compare_all(librosa, read(path), RATE, WINDOWS[window])


def list_clips(corpus: str, n: int) -> list[Path]:
    """About ``n`` recordings of a corpus, spread over it."""
    root = Path(os.environ.get("EMOVOX_CORPORA", ""))
    paths = sorted(p for p in (root / corpus).rglob("*") if p.suffix in {".wav", ".flac", ".opus"})
    if not os.environ.get("EMOVOX_CORPORA") or not paths:
        pytest.skip("EMOVOX_CORPORA names no folder that holds this corpus")
    return paths[:: max(1, len(paths) // n)]


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "tess"])
def test_real_speech(librosa, corpus) -> None:
    for path in list_clips(corpus, 12):
        compare_all(librosa, read(path), RATE, WINDOWS["ours"])
        compare_all(librosa, read(path), RATE, WINDOWS["librosa"])


@st.composite
def any_settings(draw: st.DrawFn) -> FrameSettings:
    n_fft = 2 * draw(st.integers(50, 1024))
    return FrameSettings(
        window=draw(st.integers(max(32, n_fft // 4), n_fft)),
        hop=draw(st.integers(40, 1024)),
        n_fft=n_fft,
        taper=draw(st.sampled_from(["hann", "hamming", "boxcar"])),
    )


any_parameters = st.fixed_dictionaries(
    {
        "n_mels": st.integers(8, 128),
        "low_hz": st.floats(0, 500),
        "high_hz": st.floats(2000, RATE / 2) | st.none(),
        "scale": st.sampled_from(["slaney", "htk"]),
        "top_db": st.floats(20, 100) | st.none(),
        "n_mfcc": st.integers(1, 40),
        "lifter": st.integers(0, 40),
        "tuning": st.floats(-0.5, 0.5),
        "n_chroma": st.sampled_from([12, 24, 36]),
        "n_bands": st.integers(1, 6),
        "lowest_octave_hz": st.floats(100, 400),
        "quantile": st.floats(0.01, 0.5),
        "share": st.floats(0.01, 0.99),
    }
)


def compare_any(librosa: Any, x: Floats, s: FrameSettings, given_: dict[str, Any]) -> None:
    """Families with parameters of their own, against librosa in double precision: the truth, to us."""
    p, feature, kwargs, short = given_, librosa.feature, librosa_kwargs(s), ShortTime(x, RATE, s)
    y = x.astype(np.float64)
    bands = {name: p[name] for name in ("n_mels", "low_hz", "high_hz", "scale")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters")
        theirs = {"n_mels": p["n_mels"], "fmin": p["low_hz"], "fmax": p["high_hz"]}
        power = feature.melspectrogram(y=y, sr=RATE, htk=p["scale"] == "htk", **theirs, **kwargs)
    level = librosa.power_to_db(power, top_db=p["top_db"])
    n_mfcc = min(p["n_mfcc"], p["n_mels"])
    mfcc = feature.mfcc(S=level, n_mfcc=n_mfcc, lifter=p["lifter"])
    chroma = feature.chroma_stft(y=y, sr=RATE, tuning=p["tuning"], n_chroma=p["n_chroma"], **kwargs)
    size = np.abs(librosa.stft(y, n_fft=s.n_fft, **{k: v for k, v in kwargs.items() if k != "n_fft"}))
    for name, options, expected in (
        ("mel", bands, power),
        ("log_mel", {**bands, "top_db": p["top_db"]}, level),
        ("mfcc", {**bands, "top_db": p["top_db"], "n_mfcc": n_mfcc, "lifter": p["lifter"]}, mfcc),
        ("chroma", {"tuning": p["tuning"], "n_chroma": p["n_chroma"]}, chroma),
        ("centroid", {}, feature.spectral_centroid(S=size, sr=RATE)),
        ("bandwidth", {}, feature.spectral_bandwidth(S=size, sr=RATE)),
        ("flatness", {}, feature.spectral_flatness(S=size)),
    ):
        equal(FEATURES[name](x, RATE, shared=short, **options), expected)
    rolloff = feature.spectral_rolloff(S=short.magnitude.T, sr=RATE, roll_percent=p["share"])
    equal(FEATURES["rolloff"](x, RATE, shared=short, share=p["share"]), rolloff)
    octaves = {"n_bands": p["n_bands"], "quantile": p["quantile"]}
    try:
        got = FEATURES["contrast"](
            x, RATE, shared=short, low_hz=p["lowest_octave_hz"], top_db=80.0, **octaves
        )
    except ConfigError:  # an octave beyond half the rate, or one without bins
        return
    equal(got, feature.spectral_contrast(S=size, sr=RATE, fmin=p["lowest_octave_hz"], **octaves))


@given(seed=st.integers(0, 5), s=any_settings(), parameters=any_parameters)
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_parameters(librosa, seed, s, parameters) -> None:
    compare_any(librosa, voice(seed=seed, silence=seed == 1), s, parameters)


@pytest.mark.corpora
@pytest.mark.parametrize("corpus", ["emodb", "ravdess"])
def test_families_equal_librosa_on_speech(librosa, corpus) -> None:
    sounds = [read(path) for path in list_clips(corpus, 20)]

    @given(which=st.integers(0, len(sounds) - 1), s=any_settings(), parameters=any_parameters)
    @hypothesis_settings(max_examples=60, deadline=None)
    def compare(which: int, s: FrameSettings, parameters: dict[str, Any]) -> None:
        compare_any(librosa, sounds[which], s, parameters)

    compare()


@pytest.mark.corpora
def test_ssc_on_speech() -> None:
    psf = pytest.importorskip("python_speech_features")
    for path in list_clips("ravdess", 12):
        x = read(path)
        for window, hop, n_fft, n_bands in ((400, 160, 512, 26), (320, 200, 1024, 40)):
            s = FrameSettings(window=window, hop=hop, n_fft=n_fft, centred=False)
            with np.errstate(divide="ignore", invalid="ignore"):
                expected = psf.ssc(x, RATE, window / RATE, hop / RATE, n_bands, n_fft)
            got = FEATURES["ssc"](x, RATE, settings=s, n_bands=n_bands)
            assert np.array_equal(np.isnan(got), np.isnan(expected))
            equal(np.nan_to_num(got), np.nan_to_num(expected).T)


@pytest.mark.corpora
def test_blocks_of_real_speech() -> None:
    names = [name for name in MINE if name != "mfcc"]
    parts = [
        FeaturePart(family="mfcc", parameters={"deltas": 2}),
        *(FeaturePart(family=name) for name in (*names, *VOICE)),
    ]
    made = compose_set("all", parts, description="for tests", source="")
    x = np.concatenate([read(path) for path in list_clips("ravdess", 20)])
    whole = made(x)
    joined = np.concatenate(list(frame_blocks((x[i : i + 50_000] for i in range(0, x.size, 50_000)), made)))
    assert np.array_equal(np.isnan(joined), np.isnan(whole))
    equal(np.nan_to_num(joined), np.nan_to_num(whole).T, share=2e-6)


# --- parity with python_speech_features ----------------------------------------------------------------


@pytest.mark.parametrize(("window", "hop", "n_fft"), [(400, 160, 512), (320, 160, 1024), (512, 200, 512)])
@pytest.mark.parametrize(("n_bands", "low_hz", "high_hz"), [(26, 0, None), (20, 100, 3500), (40, 0, None)])
def test_ssc(sound, window, hop, n_fft, n_bands, low_hz, high_hz) -> None:
    psf = pytest.importorskip("python_speech_features")
    x, rate = sound
    s = FrameSettings(window=window, hop=hop, n_fft=n_fft, centred=False)
    got = FEATURES["ssc"](x, rate, settings=s, n_bands=n_bands, low_hz=low_hz, high_hz=high_hz)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = psf.ssc(x, rate, window / rate, hop / rate, n_bands, n_fft, low_hz, high_hz)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    equal(np.nan_to_num(got), np.nan_to_num(expected).T)


# --- the second road: sums written out, no library ----------------------------------------------------------


def test_one_frame_written_out() -> None:
    x = voice(seed=7)
    s = FrameSettings(window=256, hop=100, n_fft=256)
    short = ShortTime(x, RATE, s)
    frame = 40
    stretch = x[frame * 100 - 128 : frame * 100 + 128].astype(np.float64)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    turn = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(256)) / 256)
    size = np.abs(turn @ (stretch * taper))
    hz = np.arange(129) * RATE / 256
    assert short.power[frame] == pytest.approx(size**2, rel=1e-3, abs=1e-6)
    middle = (hz * size).sum() / size.sum()
    spread = np.sqrt((size * (hz - middle) ** 2).sum() / size.sum())
    for name, value in (
        ("centroid", middle),
        ("bandwidth", spread),
        ("flatness", np.exp(np.log(size**2).mean()) / (size**2).mean()),
        ("rms", np.sqrt((stretch**2).mean())),
        ("zcr", np.mean(np.append(False, (stretch[1:] < 0) != (stretch[:-1] < 0)))),
    ):
        assert FEATURES[name](x, RATE, shared=short)[frame, 0] == pytest.approx(value, rel=1e-4), name


def test_slaney_band_areas() -> None:
    bank = mel_filters(RATE, 1 << 15, 20, 0, 8000, scale="slaney", unit_area=True)
    assert bank.sum(axis=1) * RATE / (1 << 15) == pytest.approx(np.ones(20), rel=1e-3)
    # Below 1 kHz the scale is linear: the first peaks stand at equal distances.
    peaks = bank.argmax(axis=1)[:5] * RATE / (1 << 15)
    assert np.diff(peaks) == pytest.approx(np.full(4, np.diff(peaks).mean()), rel=0.01)


# --- what holds of every family ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FEATURES))
def test_an_entry_is_readable(name) -> None:
    family = FEATURES[name]
    assert family.name == name
    assert family.unit
    assert family.source
    values = family(voice(), RATE)
    assert values.dtype == np.float32
    names = family.columns()
    assert len(set(names)) == len(names)
    assert values.shape == (1 + voice().size // 160, len(names))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mel", {"n_mels": 40}),
        ("log_mel", {"n_mels": 100}),
        ("mfcc", {"n_mfcc": 20}),
        ("mfcc", {"n_mfcc": 13, "deltas": 2}),
        ("chroma", {"n_chroma": 24}),
        ("contrast", {"n_bands": 4}),
        ("ssc", {"n_bands": 10}),
    ],
)
def test_columns_follow_the_parameters(name, options) -> None:
    family = FEATURES[name]
    names = family.columns(**options)
    assert len(set(names)) == len(names) == family(voice(), RATE, **options).shape[1]
    assert names != family.columns()


def test_columns_are_unique() -> None:
    names = [column for family in FEATURES.values() for column in family.columns()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("centred", [True, False])
def test_shared_transform_equals_own(centred) -> None:
    x = voice(seed=5)
    s = FrameSettings(centred=centred)
    short = ShortTime(x, RATE, s)
    before = x.copy()
    for name in MINE:
        alone = FEATURES[name](x, RATE, settings=s)
        assert np.array_equal(FEATURES[name](x, RATE, shared=short), alone), name
        assert np.array_equal(FEATURES[name](x, RATE, shared=short), alone), name
        assert alone.shape[0] == s.n_frames(x.size)
    assert np.array_equal(x, before)


def test_transform_is_computed_once(monkeypatch) -> None:
    counted: list[int] = []  # frames
    plain = np.fft.rfft
    monkeypatch.setattr(np.fft, "rfft", lambda x, **k: counted.append(len(x)) or plain(x, **k))
    short = ShortTime(voice(), RATE)
    for name in set(MINE) - {"ssc"}:
        FEATURES[name](voice(), RATE, shared=short)
    assert sum(counted) == short.n_frames
    for _ in range(2):
        FEATURES["ssc"](voice(), RATE, shared=short)  # its own pre-emphasis and taper
    assert sum(counted) == 2 * short.n_frames


@pytest.mark.parametrize("name", MINE)
def test_frame_locality(name) -> None:
    # Hence blocks of a long recording give what the whole gives.
    x = voice(seed=6)
    options = {"preemphasis": 0.0} if name == "ssc" else {}
    whole = FEATURES[name](x, RATE, **options)
    block = FEATURES[name](x[160 * 20 : 160 * 90], RATE, **options)
    largest = np.abs(whole).max()
    assert np.abs(block[5:-5] - whole[25:86]).max() <= 1e-5 * largest


@given(
    n=st.integers(1, 1500),
    window=st.integers(1, 300),
    hop=st.integers(1, 400),
    extra=st.integers(0, 100),
    centred=st.booleans(),
    loud=st.sampled_from([0.0, 1e-30, 1e-6, 1.0]),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_settings_any_length(n, window, hop, extra, centred, loud) -> None:
    x = (loud * np.random.default_rng(n).uniform(-1, 1, n)).astype(np.float32)
    n_fft = window + extra + (window + extra) % 2
    s = FrameSettings(window=window, hop=hop, n_fft=n_fft, centred=centred)
    short = ShortTime(x, RATE, s)
    for name in set(MINE) - {"contrast"}:  # which asks for bins in every octave
        values = FEATURES[name](x, RATE, shared=short)
        assert values.shape[0] == s.n_frames(n), name
        assert np.isfinite(values[:, ~np.isnan(values).all(axis=0)]).all(), name
        assert name == "ssc" or not np.isnan(values).any(), name


@pytest.mark.parametrize("name", MINE)
def test_silence(name) -> None:
    values = FEATURES[name](np.zeros(4000, np.float32), RATE)
    expected = {"log_mel": -100, "flatness": 1}
    if name == "ssc":
        assert (np.diff(values.mean(axis=0)) > 0).all()  # the middles of the bands
    elif name == "mfcc":
        assert values[:, 0] == pytest.approx(np.full(26, -100 * np.sqrt(64)), rel=1e-5)
        assert np.abs(values[:, 1:]).max() < 1e-2
    else:
        assert values == pytest.approx(np.full(values.shape, expected.get(name, 0)), rel=1e-5)


def test_deltas_of_a_line() -> None:
    line = (3 * np.arange(12, dtype=np.float32))[:, None]
    assert delta(line) == pytest.approx(np.full((12, 1), 3.0), rel=1e-5)
    assert delta(line**2, order=2) == pytest.approx(np.full((12, 1), 18.0), rel=1e-4)
    assert delta(line[:4]) == pytest.approx(np.full((4, 1), 3.0), rel=1e-5)
    assert np.isnan(delta(line[:2])).all()


@pytest.mark.parametrize(
    "bad", [np.zeros(0), np.zeros((2, 3)), np.array([0.0, np.nan]), np.array([np.inf, 0.0])], ids=str
)
def test_unusable_sound(bad) -> None:
    with pytest.raises(AudioValueError, match="expected"):
        FEATURES["mel"](bad, RATE)


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 0},
        {"hop": 0},
        {"window": 600},
        {"n_fft": 513},
        {"taper": "kaiser"},
        {"preemphasis": 1.0},
    ],
    ids=str,
)
def test_bad_settings(settings) -> None:
    with pytest.raises(ConfigError, match="expected"):
        FrameSettings(**settings)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mfcc", {"n_mfcc": 65}),
        ("mfcc", {"deltas": 3}),
        ("mfcc", {"deltas": 1, "delta_width": 4}),
        ("chroma", {"n_chroma": 0}),
        ("contrast", {"n_bands": 0}),
        ("contrast", {"low_hz": 20.0, "n_bands": 6}),
        ("rolloff", {"share": 1.0}),
        ("ssc", {"low_hz": 4000, "high_hz": 3000}),
        ("mel", {"high_hz": 9000.0}),
    ],
)
def test_bad_parameters(name, options) -> None:
    with pytest.raises(ValueError, match=r"expected|take"):
        FEATURES[name](voice(), RATE, **options)


def test_foreign_transform_is_refused() -> None:
    short = ShortTime(voice(), RATE)
    with pytest.raises(ConfigError, match="these samples"):
        FEATURES["mel"](voice()[:-1], RATE, shared=short)
    with pytest.raises(ConfigError, match="these samples"):
        FEATURES["mel"](voice(), 8000, shared=short)
