"""The usual script: 180 features by librosa (40 MFCC, 12 chroma, 128 mel means), a model by scikit-learn.

    python librosa_joblib_predict.py train MODEL.joblib     # a small MLP on invented numbers
    python librosa_joblib_predict.py MODEL.joblib CLIP.wav

Written for `cold_start.py` in the manner of many public projects; what it answers means nothing.
"""

import sys

import joblib
import numpy as np

LABELS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]


def features(path: str) -> np.ndarray:
    """(180,): the means over time."""
    import librosa

    x, rate = librosa.load(path, sr=None)
    spectrum = np.abs(librosa.stft(x))
    mfcc = librosa.feature.mfcc(y=x, sr=rate, n_mfcc=40)
    chroma = librosa.feature.chroma_stft(S=spectrum, sr=rate)
    mel = librosa.feature.melspectrogram(y=x, sr=rate)
    return np.hstack([part.mean(axis=1) for part in (mfcc, chroma, mel)])


def train(path: str) -> None:
    """Fit the kind of model such projects ship, and store it."""
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    model = MLPClassifier(hidden_layer_sizes=(300,), batch_size=256, max_iter=20, early_stopping=True)
    joblib.dump(model.fit(rng.normal(size=(1440, 180)), rng.choice(LABELS, 1440)), path)


def main() -> None:
    """Train, or answer one clip."""
    if sys.argv[1] == "train":
        train(sys.argv[2])
    else:
        model = joblib.load(sys.argv[1])
        print(model.predict(features(sys.argv[2])[None])[0])


if __name__ == "__main__":
    main()
