"""Each transform measured: its effect, length and bounds, and repeatability by seed."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox import audio, augment
from emovox.augment import (
    TRANSFORMS,
    Pipeline,
    PipelineStep,
    Transform,
    codecs,
    default_settings,
    make_rng,
    make_transform,
    noise,
)
from emovox.errors import AudioValueError, ConfigError, MissingExtraError
from emovox.features.frames import FrameSettings, ShortTime
from emovox.features.pitch import f0
from signals import RATE, delay, draw, level_db, pitch, speech, tone

FOLDERS = ("babble", "background")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Seven recordings of 0.3 to 2.4 s, one of them below."""
    place = tmp_path_factory.mktemp("sounds")
    (place / "below").mkdir()
    for k in range(7):
        file = place / ("below" if k == 3 else ".") / f"{k}.wav"
        soundfile.write(file, speech(0.3 + 0.35 * k, seed=k + 1), RATE, subtype="FLOAT")
    return str(place)


def made(kind: str, folder: str, **settings: object) -> Transform:
    return make_transform(kind, **({"folder": folder} if kind in FOLDERS else {}), **settings)


def partials(x: np.ndarray, hz: float) -> float:
    """Power in dB within 30 Hz of a frequency."""
    bins = np.fft.rfftfreq(len(x), 1 / RATE)
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    return float(10 * np.log10(power[np.abs(bins - hz) < 30].sum() + 1e-20))


def cents(x: np.ndarray, hz: float) -> float:
    return float(1200 * np.log2(pitch(x) / hz))


def response_db(change: Transform, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    click = np.zeros(16_384, np.float32)
    click[8192] = 0.5
    y = change(click, draw(seed))
    return np.fft.rfftfreq(len(y), 1 / RATE), 20 * np.log10(np.abs(np.fft.rfft(y)) / 0.5 + 1e-9)


# ------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_same_seed_same_result(kind: str, folder: str) -> None:
    change, x = made(kind, folder), 2 * speech()  # loud: peaks near 1
    x = np.clip(x, -1, 1)
    x.flags.writeable = False
    for seed in range(3):
        y = change(x, draw(seed))
        np.testing.assert_array_equal(y, change(x, draw(seed)))
        assert y.dtype == np.float32
        assert y.ndim == 1
        assert np.abs(y).max() <= 1
        assert np.abs(y).max() > 0.05
        assert len(y) != len(x) or (y != x).any()


OTHER_LENGTH = {"crop", "length", "silence", "speed", "stretch", "trim"}


@pytest.mark.parametrize("kind", sorted(set(TRANSFORMS) - OTHER_LENGTH - {"shift"}))
def test_length_and_time_are_kept(kind: str, folder: str) -> None:
    x = speech()
    y = made(kind, folder)(x, draw(1))
    assert len(y) == len(x)
    if kind != "pitch":  # whose waves are others
        assert abs(delay(x, y)) <= (3 if kind == "amr" else 0)  # which codes waves anew


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("n", [1, 2, 160, 401])
def test_very_short_sounds_and_silence(kind: str, folder: str, n: int) -> None:
    y = made(kind, folder)(speech()[8000 : 8000 + n], draw(0))
    assert np.isfinite(y).all()
    assert len(y) == n or kind in ("length", "silence") or abs(len(y) - n) <= 0.3 * n + 1
    silent = made(kind, folder)(np.zeros(n + 999, np.float32), draw(0))
    assert np.abs(silent).max() < (5e-4 if kind in ("amr", "g711") else 1e-6)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_invalid_input_is_refused(kind: str, folder: str) -> None:
    change = made(kind, folder)
    for wrong in (np.zeros((2, 9)), np.zeros(0), np.array([0.0, np.nan])):
        with pytest.raises(AudioValueError, match="expected one channel"):
            change(wrong.astype(np.float32), draw(0))


# ------------------------------------------------------------------------------------ noise


@pytest.mark.parametrize("kind", ["noise", *FOLDERS])
@pytest.mark.parametrize("snr_db", [-5, 0, 10, 30])
def test_snr_is_met(kind: str, folder: str, snr_db: float) -> None:
    for loud in (1.0, 6.0):  # where the sum would leave [-1, 1], all of it is turned down
        x = np.clip(loud * speech(), -1, 1)
        y = made(kind, folder, snr_db=snr_db)(x, draw(3)).astype(np.float64)
        quiet = made(kind, folder, snr_db=snr_db)(x / 100, draw(3)).astype(np.float64) * 100
        gain = float(y @ quiet / (quiet @ quiet))
        assert gain <= 1 + 1e-6
        np.testing.assert_allclose(y, gain * quiet, atol=1e-4)
        added = quiet - x
        assert level_db(x) - level_db(added) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize(("colour", "slope"), noise.COLOURS.items())
def test_noise_colours(colour: str, slope: float) -> None:
    x = speech(2.0) / 100
    added = make_transform("noise", snr_db=0, colour=colour)(x, draw(0)).astype(np.float64) - x
    power, hz = np.abs(np.fft.rfft(added)) ** 2, np.fft.rfftfreq(len(x), 1 / RATE)
    low, high = (10 * np.log10(power[(hz > f / 1.2) & (hz < f * 1.2)].mean()) for f in (250, 4000))
    assert low - high == pytest.approx(4 * 3.01 * slope, abs=1.5)  # four octaves


def test_babble_mixes_voices_equally(folder: str) -> None:
    voices = [tone(hz, 0.5) * level for hz, level in ((300, 1.0), (700, 0.1), (1500, 0.3))]
    y = augment.mix_babble(voices, 3 * RATE, draw(0))
    heights = [partials(y, hz) for hz in (300, 700, 1500)]
    assert max(heights) - min(heights) < 1
    with pytest.raises(ConfigError, match="babble is a mix of voices"):
        augment.mix_babble([], 100, draw(0))


def test_folder_is_required(folder: str, tmp_path: Path) -> None:
    for kind in FOLDERS:
        with pytest.raises(ConfigError, match="expected the path of a folder of recordings"):
            make_transform(kind)
        with pytest.raises(ConfigError, match="has no recording"):
            make_transform(kind, folder=str(tmp_path))(speech(), draw(0))
        with pytest.raises(ConfigError, match="does not exist"):
            make_transform(kind, folder=str(tmp_path / "gone"))(speech(), draw(0))
    below = Path(folder, "below", "3.wav")
    assert noise.list_recordings(folder) == sorted([*Path(folder).glob("*.wav"), below])


def test_tone_is_one_frequency() -> None:
    x = speech()
    y = make_transform("tone", hz=6000, snr_db=10)(x, draw(0)) - x
    assert level_db(x) - level_db(y) == pytest.approx(10, abs=0.1)
    bins = np.fft.rfftfreq(len(y), 1 / RATE)
    assert bins[np.abs(np.fft.rfft(y)).argmax()] == pytest.approx(6000, abs=2)


def test_music_has_chords() -> None:
    y = noise.make_music(4 * RATE, draw(0))
    power = np.abs(np.fft.rfft(y)) ** 2
    bins = np.fft.rfftfreq(len(y), 1 / RATE)
    semitones = np.arange(12, 30)
    on, off = (
        [power[np.abs(bins - 110 * 2 ** (k / 12)) < 2].sum() for k in semitones + shift]
        for shift in (0.0, 0.5)
    )
    assert max(on) > 10 * max(off)  # notes of a scale, nothing between them
    assert (noise.make_music(RATE, draw(0)) != noise.make_music(RATE, draw(1))).any()


def test_event_is_the_loudest_stretch(tmp_path: Path) -> None:
    recording = np.zeros(5 * RATE, np.float32)
    recording[4 * RATE : 4 * RATE + 1600] = tone(700, 0.1)
    soundfile.write(tmp_path / "event.wav", recording, RATE, subtype="FLOAT")
    x = speech()
    settings = {"folder": str(tmp_path), "snr_db": 0}
    for seed in range(5):
        added = make_transform("background", loudest=True, **settings)(x, draw(seed)).astype(float) - x
        assert partials(added, 700) > partials(x, 700) + 3
    quiet = [make_transform("background", **settings)(x, draw(seed)) for seed in range(5)]
    assert any(np.array_equal(y, x) for y in quiet)  # a random stretch may miss it


# ------------------------------------------------------------------------------------ positions


@pytest.mark.parametrize("length_s", [0.3, 0.5, 1.0, 2.7, 10.0])
def test_length_is_met(length_s: float) -> None:
    x = speech()
    x[len(x) // 2 :] *= 0.01
    y = make_transform("length", length_s=length_s)(x, draw(0))
    assert len(y) == round(length_s * RATE)
    if len(y) > len(x):
        np.testing.assert_array_equal(y[: len(x)], x)
        np.testing.assert_array_equal(y[len(x) : 2 * len(x)], x[: len(y) - len(x)])
    else:
        energies = [np.sum(x[k : k + len(y)].astype(float) ** 2) for k in range(0, len(x) - len(y) + 1, 40)]
        assert np.sum(y.astype(float) ** 2) >= max(energies) - 1e-6


def test_silence_and_trim_undo_each_other() -> None:
    x = speech()
    y = make_transform("silence", before_s=0.25, after_s=0.5)(x, draw(0))
    assert len(y) == len(x) + 12_000
    assert not y[:4000].any()
    assert not y[-8000:].any()
    np.testing.assert_array_equal(make_transform("trim", start_s=0.25, end_s=0.5)(y, draw(0)), x)
    np.testing.assert_array_equal(make_transform("trim", start_s=9.0)(x, draw(0)), x)


# ------------------------------------------------------------------------------------ lines


@pytest.mark.parametrize("db_per_octave", [-6, -3, 2, 6])
def test_tilt_is_straight(db_per_octave: float) -> None:
    hz, level = response_db(make_transform("tilt", db_per_octave=db_per_octave))
    at = [level[np.abs(hz - f).argmin()] for f in (250, 500, 1000, 2000, 4000)]
    np.testing.assert_allclose(np.diff(at), db_per_octave, atol=0.1)


def test_compressor_narrows_levels() -> None:
    x = np.concatenate([tone(300, 1.0) * a for a in (0.02, 0.8)])
    y = make_transform("compressor", threshold_dbfs=-30, slope=0.25)(x, draw(0))
    before = level_db(x[RATE + 4000 :]) - level_db(x[4000:RATE])
    after = level_db(y[RATE + 4000 :]) - level_db(y[4000 : RATE - 4000])
    peak_db = 20 * np.log10(np.abs(x).max())
    assert before - after == pytest.approx(0.75 * (peak_db + 30), abs=0.5)
    same = make_transform("compressor", slope=1.0)(x, draw(0))
    np.testing.assert_allclose(same, x, atol=1e-6)


@pytest.mark.parametrize("percent", [0, 5, 40])
def test_packets_are_lost(percent: float) -> None:
    x = 0.1 * draw(1).standard_normal(2 * RATE).astype(np.float32)
    y = make_transform("packet-loss", percent=percent)(x, draw(0))
    packets = (x != y)[: len(x) // 320 * 320].reshape(-1, 320).any(axis=1)
    assert packets.mean() == pytest.approx(percent / 100, abs=0.02)
    k = int(np.flatnonzero(packets)[0]) if percent else 0
    if k:
        np.testing.assert_array_equal(y[320 * k : 320 * k + 320], 0.5 * x[320 * k - 320 : 320 * k])


def test_amr_is_narrow_and_rate_matters() -> None:
    x = audio.read(Path(__file__).parents[2] / "examples" / "happy.opus")
    likeness = []
    for kbps in (4.75, 7.4, 12.2):
        y = make_transform("amr", kbps=kbps)(x, draw(0))
        spectrum = np.abs(np.fft.rfft(y)) ** 2
        assert spectrum[np.fft.rfftfreq(len(y), 1 / RATE) > 4100].sum() < 1e-5 * spectrum.sum()
        likeness.append(np.corrcoef(x, y)[0, 1])
    assert likeness[0] < likeness[2]
    assert likeness[2] > 0.8


def test_amr_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="media"):
        make_transform("amr")


# ------------------------------------------------------------------------------------ time and pitch


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.13, 1.5])
def test_speed_moves_pitch_and_length(factor: float) -> None:
    y = make_transform("speed", factor=factor)(tone(440), draw(0))
    assert abs(cents(y, 440 * factor)) < 10
    assert len(y) == pytest.approx(RATE / factor, rel=0.01)


@pytest.mark.parametrize("tempo", [0.6, 0.8, 0.93, 1.1, 1.25, 1.7])
def test_stretch_moves_length_and_not_pitch(tempo: float) -> None:
    for hz in (110, 233.3, 1000):
        x = tone(hz, 2.0)
        y = make_transform("stretch", tempo=tempo)(x, draw(0))
        assert len(y) == pytest.approx(len(x) / tempo, rel=0.01)
        assert abs(cents(y, hz)) < 10
        assert level_db(y) == pytest.approx(level_db(x), abs=0.6)


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_stretch_keeps_relative_positions(tempo: float) -> None:
    x = np.zeros(3 * RATE, np.float32)
    starts_s = (0.5, 1.1, 2.2)
    for start in starts_s:
        x[round(start * RATE) :][: RATE // 5] = tone(300, 0.2)
    y = make_transform("stretch", tempo=tempo)(x, draw(0))
    envelope = np.convolve(np.abs(y), np.ones(160) / 160, "same") > 0.05
    found = np.flatnonzero(np.diff(envelope.astype(int)) == 1) / RATE
    np.testing.assert_allclose(found, np.array(starts_s) / tempo, atol=0.025)


@pytest.mark.parametrize("emotion", ["neutral", "happy", "sad", "surprise"])
def test_pitch_of_speech(emotion: str) -> None:
    """Measured by F0: the median ratio of the frames that are voiced before and after."""

    def track(x: np.ndarray) -> np.ndarray:
        return f0(ShortTime(x, RATE, FrameSettings(window=400, hop=160, n_fft=400)))[:, 0]

    x = audio.read(Path(__file__).parents[2] / "examples" / f"{emotion}.opus")
    before = track(x)
    for semitones in (-3, -1, 1, 3):
        after = track(make_transform("pitch", semitones=semitones)(x, draw(0)))
        voiced = np.isfinite(before) & np.isfinite(after)
        moved = 1200 * np.log2(after[voiced] / before[voiced])
        assert voiced.sum() > 40
        assert abs(np.median(moved) - 100 * semitones) < 5


@pytest.mark.parametrize("semitones", [-5, -2, 0.5, 3, 7])
def test_pitch_moves_and_length_does_not(semitones: float) -> None:
    for hz in (120, 220, 900):
        y = make_transform("pitch", semitones=semitones)(tone(hz, 1.5), draw(0))
        assert abs(cents(y, hz * 2 ** (semitones / 12))) < 10
        assert len(y) == 1.5 * RATE


def test_shift_moves_by_samples() -> None:
    x = speech()
    later = make_transform("shift", shift_s=0.1)(x, draw(0))
    np.testing.assert_array_equal(later, np.concatenate([np.zeros(1600), x[:-1600]]).astype(np.float32))
    earlier = make_transform("shift", shift_s=-0.1)(x, draw(0))
    np.testing.assert_array_equal(earlier, np.concatenate([x[1600:], np.zeros(1600)]).astype(np.float32))
    np.testing.assert_array_equal(
        make_transform("shift", shift_s=0.1, wrap=True)(x, draw(0)), np.roll(x, 1600)
    )
    assert not make_transform("shift", shift_s=9)(x, draw(0)).any()


def test_crop_is_a_random_stretch() -> None:
    x = np.linspace(-1, 1, 3 * RATE, dtype=np.float32)
    lengths = set()
    for seed in range(30):
        y = make_transform("crop", shortest_s=1.0, least_percent=60)(x, draw(seed))
        start = int(np.flatnonzero(x == y[0])[0])
        np.testing.assert_array_equal(y, x[start : start + len(y)])
        assert 1.8 * RATE <= len(y) <= 3 * RATE
        lengths.add(len(y))
    assert len(lengths) > 20


# ------------------------------------------------------------------------------------ level


def test_gain_clips_at_full_scale() -> None:
    x = speech()
    assert level_db(make_transform("gain", gain_db=-12)(x, draw(0))) == pytest.approx(
        level_db(x) - 12, abs=0.01
    )
    loud = make_transform("gain", gain_db=30)(x, draw(0))
    assert np.abs(loud).max() == 1
    np.testing.assert_allclose(loud, np.clip(x * 10**1.5, -1, 1), rtol=1e-6)


@pytest.mark.parametrize("percent", [0.5, 5, 30])
def test_clipping_share(percent: float) -> None:
    x = speech()
    y = make_transform("clipping", percent=percent)(x, draw(0))
    cut = np.abs(x) > np.abs(y).max()
    assert 100 * cut.mean() == pytest.approx(percent, rel=0.02)
    np.testing.assert_array_equal(y[~cut], x[~cut])


# ------------------------------------------------------------------------------------ room and line


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 1.2])
def test_room_decay_time(rt60_s: float) -> None:
    response = augment.impulse_response(rt60_s, 0.0, draw(4))
    energy_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response[1:] ** 2))
    inside = (energy_db < -5) & (energy_db > -35)  # Schroeder's decay, as ISO 3382 reads it
    t = np.flatnonzero(inside) / RATE
    slope = np.polyfit(t, energy_db[inside], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)


@pytest.mark.parametrize("direct_db", [-6, 0, 10])
def test_room_keeps_level_and_direct_sound(direct_db: float) -> None:
    response = augment.impulse_response(0.4, direct_db, draw(0))
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(direct_db, abs=0.01)
    assert not response[1:32].any()  # the gap before the first echo
    x = speech()
    y = make_transform("room", rt60_s=0.4, direct_db=direct_db)(x, draw(0))
    assert level_db(y) == pytest.approx(level_db(x), abs=0.1)
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    heard = make_transform("room")(click, draw(0))
    assert np.abs(heard[:4000]).max() < 1e-6  # nothing before its cause
    assert heard.argmax() == 4000


def test_band_edges() -> None:
    hz, heard_db = response_db(make_transform("band", low_hz=200, high_hz=4000))
    at = {f: heard_db[np.searchsorted(hz, f)] for f in (100, 200, 1000, 4000, 5000)}
    assert at[200] == pytest.approx(-3, abs=0.5)
    assert at[4000] == pytest.approx(-3, abs=0.5)
    assert abs(at[1000]) < 0.1
    assert at[100] < -34
    assert at[5000] < -20


def test_a_telephone_band() -> None:
    hz, heard_db = response_db(make_transform("telephone"))
    assert np.abs(heard_db[(hz > 500) & (hz < 2800)]).max() < 1
    assert heard_db[np.searchsorted(hz, 300)] == pytest.approx(-3, abs=0.5)
    assert heard_db[np.searchsorted(hz, 3400)] == pytest.approx(-3, abs=0.5)
    assert heard_db[hz < 150].max() < -30
    assert heard_db[hz > 4200].max() < -60


def test_microphone_response_is_smooth() -> None:
    curves = []
    for seed in range(4):
        hz, heard_db = response_db(make_transform("microphone", depth_db=6), seed)
        assert np.abs(np.diff(heard_db[hz > 60])).max() < 1
        curves.append(heard_db[hz > 60])
        assert 1 < np.ptp(curves[-1]) < 40
    assert np.abs(curves[0] - curves[1]).max() > 1


# ------------------------------------------------------------------------------------ codecs

EVERY_PCM = np.arange(-32_768, 32_768).astype(np.int16)
EVERY_CODE = np.arange(256).astype(np.uint8)


def foreign(name: str, codes: np.ndarray) -> np.ndarray:
    """What libsndfile makes of codes."""
    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": name}
    return soundfile.read(io.BytesIO(codes.tobytes()), dtype="int16", **raw)[0]


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_is_exact(law: str) -> None:
    encoded, decoded = getattr(codecs, f"encode_{law}_law"), getattr(codecs, f"decode_{law}_law")
    values = decoded(EVERY_CODE)
    np.testing.assert_array_equal(values, foreign({"mu": "ULAW", "a": "ALAW"}[law], EVERY_CODE))
    np.testing.assert_array_equal(decoded(encoded(values)), values)  # its own values it keeps
    heard = decoded(encoded(EVERY_PCM)).astype(int)
    assert (np.diff(heard) >= 0).all()
    nearest = np.sort(values.astype(int))
    place = np.clip(np.searchsorted(nearest, EVERY_PCM.astype(int)), 1, 255)
    best = np.minimum(abs(nearest[place] - EVERY_PCM), abs(nearest[place - 1] - EVERY_PCM))
    # At the border of two segments G.711's decision is not the middle, but never more than a step off.
    assert (abs(heard - EVERY_PCM) - best).max() <= 256
    assert (abs(heard - EVERY_PCM) == best).mean() > 0.95


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_equals_ffmpeg(law: str) -> None:
    av = pytest.importorskip("av")
    codec = av.CodecContext.create({"mu": "pcm_mulaw", "a": "pcm_alaw"}[law], "w")
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(EVERY_PCM[None], format="s16", layout="mono")
    frame.sample_rate = 8000
    theirs = np.frombuffer(b"".join(bytes(p) for p in codec.encode(frame)), np.uint8)
    ours = getattr(codecs, f"encode_{law}_law")(EVERY_PCM)
    decoded = getattr(codecs, f"decode_{law}_law")
    same = decoded(ours) == decoded(theirs)
    assert same.mean() > 0.98


@pytest.mark.parametrize("law", ["mu", "a"])
def test_g711_error_level(law: str) -> None:
    x = tone(440) + tone(1210)
    error = (make_transform("g711", law=law)(x, draw(0)) - x)[400:-400]
    assert 33 < level_db(x) - level_db(error) < 42  # 38 dB over a wide range of levels
    y = make_transform("g711", law=law)(tone(300) + tone(5500), draw(0))
    assert partials(y, 5500) < partials(y, 300) - 60


@pytest.mark.parametrize("kbps", [8, 16, 32, 64])
def test_mp3_bit_rate(kbps: int) -> None:
    x = speech(4.0)
    assert len(codecs.encode_mp3(x, kbps)) * 8 / 4 / 1000 == pytest.approx(kbps, rel=0.1)


@pytest.mark.parametrize("kbps", [8, 16, 32])
def test_opus_bit_rate(kbps: int) -> None:
    noisy = (0.1 * draw(0).standard_normal(4 * RATE)).astype(np.float32)
    assert len(codecs.encode_opus(noisy, kbps)) * 8 / 4 / 1000 == pytest.approx(kbps, rel=0.25)


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_codecs_lose_more_at_lower_rates(kind: str) -> None:
    x = speech(2.0)
    errors = [level_db(make_transform(kind, kbps=kbps)(x, draw(0)) - x) for kbps in (8, 24, 96)]
    assert errors[0] > errors[1] > errors[2]
    assert np.corrcoef(x, make_transform(kind, kbps=16)(x, draw(0)))[0, 1] > 0.8


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_missing_codec_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(*_: object, **options: object) -> None:
        raise TypeError(f"unexpected keyword argument {next(iter(options))!r}")

    monkeypatch.setattr(soundfile, "SoundFile", old)
    with pytest.raises(ConfigError, match=r"cannot write .*; expected soundfile 0\.13"):
        make_transform(kind)(speech(0.1), draw(0))


# ------------------------------------------------------------------------------------ vocal tract


def vowel(f0: float, formant_hz: float) -> np.ndarray:
    """Pulses through one resonance, 120 Hz wide."""
    pulses = np.zeros(RATE)
    pulses[(np.arange(0, RATE, RATE / f0)).astype(int)] = 1
    t = np.arange(800) / RATE
    ring = np.exp(-np.pi * 120 * t) * np.sin(2 * np.pi * formant_hz * t)
    x = np.convolve(pulses, ring)[:RATE]
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def centre_hz(x: np.ndarray) -> float:
    """Centre of the spectrum's power."""
    power, hz = np.abs(np.fft.rfft(x)) ** 2, np.fft.rfftfreq(len(x), 1 / RATE)
    return float((power * hz).sum() / power.sum())


def period(x: np.ndarray) -> int:
    """Samples after which the sound is most like itself."""
    spectrum = np.abs(np.fft.rfft(x, 2 * len(x))) ** 2
    return int(np.fft.irfft(spectrum)[80:400].argmax()) + 80


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_vocal_tract_moves_formants(factor: float) -> None:
    x = vowel(100, 1500)
    y = make_transform("vocal-tract", factor=factor)(x, draw(0))
    assert centre_hz(y) / centre_hz(x) == pytest.approx(factor, rel=0.04)
    assert period(y) == period(x) == 160
    assert level_db(y) == pytest.approx(level_db(x), abs=0.1)


def test_vocal_tract_identity() -> None:
    x = speech()
    np.testing.assert_allclose(make_transform("vocal-tract", factor=1.0)(x, draw(0)), x, atol=1e-5)


# ------------------------------------------------------------------------------------ names and plans


def test_setting_errors(folder: str) -> None:
    with pytest.raises(ConfigError, match="no transform 'nois'; did you mean 'noise'"):
        make_transform("nois")
    with pytest.raises(ConfigError, match="noise has no setting 'snr'; did you mean 'snr_db'"):
        make_transform("noise", snr=3)
    with pytest.raises(ConfigError, match="telephone has no setting 'x'; there are none"):
        make_transform("telephone", x=3)
    with pytest.raises(ConfigError, match="colour of Noise is 'red'; expected one of any, white"):
        make_transform("noise", colour="red")
    for wrong in ("ten", 1e9, float("nan"), True, None, [1, 2, 3], (30, 10), []):
        with pytest.raises(ConfigError, match=r"snr_db of Noise is .*; expected -40 to 100, or two such"):
            make_transform("noise", snr_db=wrong)
    with pytest.raises(ConfigError, match=r"expected 1 to 64$"):
        make_transform("babble", n_voices=(1, 2), folder=folder)
    with pytest.raises(ConfigError, match="a whole number"):
        make_transform("babble", n_voices=1.5, folder=folder)
    with pytest.raises(ConfigError, match="wrap of Shift is 'no'; expected true or false"):
        make_transform("shift", wrap="no")


def test_amount_draws() -> None:
    x = speech()
    assert make_transform("gain", gain_db=[-6, 6]) == augment.Gain((-6.0, 6.0))
    changes = [level_db(make_transform("gain", gain_db=[-6, 6])(x, draw(s))) - level_db(x) for s in range(20)]
    assert min(changes) > -6.01
    assert max(changes) < 6.01
    assert np.ptp(changes) > 6
    fixed = [level_db(make_transform("gain", gain_db=-3)(x, draw(s))) - level_db(x) for s in range(3)]
    np.testing.assert_allclose(fixed, -3, atol=1e-3)


def test_registry_is_complete() -> None:
    assert {kind.__name__ for kind in TRANSFORMS.values()} <= set(augment.__all__)
    assert len(set(TRANSFORMS.values())) == len(TRANSFORMS)
    for kind in TRANSFORMS.values():
        assert kind.__doc__
    assert default_settings("noise") == {"snr_db": (5.0, 40.0), "colour": "any"}


def test_pipeline_applies_steps_in_order() -> None:
    x = speech()
    rows = [
        {"kind": "pitch", "semitones": [-2, 2]},
        {"kind": "gain", "share": 0.0},
        {"kind": "noise", "snr_db": 20},
    ]
    plan = Pipeline.from_list(rows)
    dice = draw(4)
    dice.random()
    y = make_transform("pitch", semitones=(-2, 2))(x, dice)
    dice.random()
    dice.random()
    expected = make_transform("noise", snr_db=20)(y, dice)
    np.testing.assert_array_equal(plan(x, draw(4)), expected)
    np.testing.assert_array_equal(Pipeline()(x, draw(0)), x)
    assert Pipeline.from_list(plan.to_list()) == plan
    assert plan.to_list()[2] == {"kind": "noise", "share": 1.0, "snr_db": 20.0, "colour": "any"}
    half = Pipeline((PipelineStep(make_transform("gain", gain_db=-6), 0.5),))
    taken = sum(not np.array_equal(half(x[:100], draw(seed)), x[:100]) for seed in range(100))
    assert 30 < taken < 70


def test_pipeline_variants() -> None:
    x, plan = speech(0.3), Pipeline.from_list([{"kind": "noise"}])
    copies = plan.variants(x, "a", 3, seed=2)
    assert copies[0] is x
    assert len({y.tobytes() for y in copies}) == 4
    for y, again in zip(copies, plan.variants(x, "a", 3, seed=2), strict=True):
        np.testing.assert_array_equal(y, again)
    np.testing.assert_array_equal(copies[1], plan.variants(x, "a", 1, seed=2)[1])  # more copies change none
    for other in (plan.variants(x, "b", 1, seed=2), plan.variants(x, "a", 1, seed=3)):
        assert (other[1] != copies[1]).any()


def test_pipeline_errors_name_the_step() -> None:
    with pytest.raises(
        ConfigError, match=r"step 2 of the augmentation: no transform 'nosie'; did you mean 'noise'"
    ):
        Pipeline.from_list([{"kind": "gain"}, {"kind": "nosie"}])
    with pytest.raises(ConfigError, match=r"step 1 .*expected kind"):
        Pipeline.from_list([{"snr_db": 3}])
    with pytest.raises(ConfigError, match="share is 2; expected 0 to 1"):
        Pipeline.from_list([{"kind": "gain", "share": 2}])


def test_rng_per_recording() -> None:
    assert make_rng(1, "a").random() == make_rng(1, "a").random()
    assert len({make_rng(seed, key).random() for seed in (0, 1) for key in ("a", "b")}) == 4


# ------------------------------------------------------------------------------------ real speech


@pytest.mark.corpora
def test_on_real_speech(folder: str) -> None:
    root = os.environ.get("EMOVOX_CORPORA")
    if not root:
        pytest.skip("EMOVOX_CORPORA names no folder")
    from emovox import audio

    files = sorted(Path(root, "emodb", "wav").glob("*.flac"))[::90]
    assert files, "no EMO-DB below EMOVOX_CORPORA"
    for file in files:
        x = audio.read(file)
        for kind in TRANSFORMS:
            y = made(kind, folder)(x, make_rng(0, file.name))
            assert np.isfinite(y).all()
            assert 0 < np.abs(y).max() <= 1, kind
        y = make_transform("stretch", tempo=1.2)(x, draw(0))
        assert len(y) == pytest.approx(len(x) / 1.2, rel=0.01)
        added = make_transform("noise", snr_db=10, colour="pink")(x / 10, draw(0)).astype(np.float64) - x / 10
        assert level_db(x / 10) - level_db(added) == pytest.approx(10, abs=0.5)
