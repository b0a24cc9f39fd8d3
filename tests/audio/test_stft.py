"""The transform agrees with a second implementation and with what a tone must give."""

from __future__ import annotations

import numpy as np
import pytest

from emovox.audio.stft import frames, log_mel, mel_filters, power


def test_every_sample_is_in_a_frame() -> None:
    x = np.arange(1, 1001, dtype=np.float32)
    for n_fft, hop in ((256, 64), (256, 256), (1000, 1), (2000, 10), (999, 7)):
        cut = frames(x, n_fft, hop)
        assert cut.shape[1] == n_fft
        assert set(np.unique(cut)) - {0} == set(x)
        assert (len(cut) - 1) * hop + n_fft >= 1000
        assert len(cut) == 1 or (len(cut) - 2) * hop + n_fft < 1000, "a frame too many"
    with pytest.raises(ValueError, match="non-empty"):
        frames(np.zeros(0), 10, 5)
    with pytest.raises(ValueError, match="hop 0"):
        frames(x, 10, 0)


@pytest.mark.filterwarnings("ignore")
def test_equals_librosa() -> None:
    import librosa

    x = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    ours = power(x, n_fft=512, hop=160)
    theirs = np.abs(librosa.stft(x, n_fft=512, hop_length=160, center=False)).T ** 2 / 256**2
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-3, atol=1e-9)
    for n_mels, low, high in ((64, 50, 8000), (24, 100, 3600)):
        bands = librosa.filters.mel(
            sr=16000, n_fft=512, n_mels=n_mels, fmin=low, fmax=high, htk=True, norm=None
        )
        np.testing.assert_allclose(mel_filters(16000, 512, n_mels, low, high), bands, atol=1e-5)


def test_a_tone_stands_where_it_should() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    spectrum = power(tone, n_fft=512, hop=160)[10]
    assert spectrum.argmax() == 32
    assert spectrum.max() == pytest.approx(0.25, rel=1e-3)
    loud, soft = log_mel(tone), log_mel(tone * 0.1)
    assert (loud[10].argmax(), loud.shape[1]) == (soft[10].argmax(), 64)
    assert loud[10].max() - soft[10].max() == pytest.approx(20, abs=1e-3)
    assert (log_mel(np.zeros(1000), floor_db=-80) == -80).all()
    with pytest.raises(ValueError, match="half the rate"):
        mel_filters(16000, 512, 24, 100, 9000)
