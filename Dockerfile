# emovox serve, as a container (docs/deploy.md). Options of `emovox serve` are given after the image's name.
#
#     docker build -t emovox .
#     docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 emovox
#
# scripts/image runs these steps where there is no container engine.

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE LICENSE-WEIGHTS.md ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist .

FROM python:3.11-slim
WORKDIR /emovox
# The wheel is looked at while it is installed, and lies in no layer.
RUN --mount=type=bind,from=build,source=/source/dist,target=/emovox/dist \
    pip install --no-cache-dir "$(echo dist/emovox-*.whl)[serve]"
# One thread a judgement: the server has threads of its own. No home is written to.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 HOME=/tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as H; h = H('127.0.0.1', 8000, timeout=4); h.request('GET', '/healthz'); raise SystemExit(h.getresponse().status != 200)"]
ENTRYPOINT ["emovox", "serve", "--host", "0.0.0.0", "--port", "8000"]
