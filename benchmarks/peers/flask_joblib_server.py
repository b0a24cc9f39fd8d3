"""The usual server: Flask, 180 features by librosa, a model by scikit-learn that joblib stored; or a net.

    python flask_joblib_server.py MODEL.joblib PORT [--workers 2] [--pyin | --net]

The peer of `benchmarks/serve.py`, answering ``POST /v1/predict`` with a raw body, at its best: the model
is loaded once a process and warm, processes are forked onto one socket as gunicorn does it, nothing is
written to disk, and a process judges one clip at a time, for threads that share librosa only wait for
each other. Flask's own server closes each connection after its answer; the clients then open another.
``--pyin`` adds librosa.pyin between C2 and C7, as librosa's own example calls it and the feature lists
of many projects have it. ``--net``: instead of features and model, a net of the size of wav2vec2-base in
PyTorch, on one thread, in float32 as usual; a longer clip in pieces of 12 s. `librosa_joblib_predict.py`
makes the model; what it answers means nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import socket
import sys
import threading


def main() -> None:
    """Fork the workers, and end them with SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pyin", action="store_true")
    parser.add_argument("--net", action="store_true")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=512) as listener:
        children = []
        for _ in range(options.workers):
            if (child := os.fork()) == 0:
                work(listener, options.model, options.pyin, options.net)
                os._exit(0)
            children.append(child)
        signal.signal(signal.SIGTERM, lambda *_: [os.kill(child, signal.SIGTERM) for child in children])
        for child in children:
            os.waitpid(child, 0)


def work(listener: socket.socket, path: str, with_pyin: bool, with_net: bool) -> None:
    """One process: load, warm up, answer."""
    import joblib
    import librosa
    import numpy as np
    import soundfile
    from flask import Flask, jsonify, request
    from librosa_joblib_predict import features
    from werkzeug.serving import WSGIRequestHandler, make_server

    model, predicting = joblib.load(path), threading.Lock()
    score = load_net() if with_net else None

    def predicted(sound: bytes) -> dict[str, object]:
        if score is not None:
            y, _ = librosa.load(io.BytesIO(sound), sr=16_000)
            return {"scores": score(y)}
        x = features(io.BytesIO(sound))
        if with_pyin:
            y, rate = librosa.load(io.BytesIO(sound), sr=None)
            low, high = librosa.note_to_hz("C2"), librosa.note_to_hz("C7")
            f0, _, _ = librosa.pyin(y, fmin=low, fmax=high, sr=rate)
            assert len(f0)
        scores = model.predict_proba(x[None])[0]
        best = int(scores.argmax())
        return {"label": str(model.classes_[best]), "scores": [round(float(score), 6) for score in scores]}

    warm = io.BytesIO()
    soundfile.write(warm, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="WAV")
    predicted(warm.getvalue())
    app = Flask(__name__)

    @app.get("/healthz")
    def healthz():
        return jsonify(status="ok")

    @app.post("/v1/predict")
    def predict():
        sound = request.get_data()
        with predicting:
            return jsonify(predicted(sound))

    class Handler(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    host, port = listener.getsockname()[:2]
    make_server(host, port, app, threaded=True, request_handler=Handler, fd=listener.fileno()).serve_forever()


def load_net():
    """Return a function from samples at 16 kHz to the scores of a net with random weights."""
    import torch
    from wav2vec2_sized import Wav2Vec2Sized

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Wav2Vec2Sized().eval()

    def score(y):
        pieces = torch.from_numpy(y).split(12 * 16_000)
        with torch.inference_mode():
            scores = torch.cat([net(piece[None]).softmax(1) for piece in pieces if len(piece) > 4000])
        return [round(float(value), 6) for value in scores.mean(0)]

    return score


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
