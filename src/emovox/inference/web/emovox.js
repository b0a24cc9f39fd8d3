// emovox in a browser: the expressed emotion of recordings and live sound, computed on the device.
//
//   import { load } from "./emovox.js";
//   const model = await load();
//   (await model.predict(file)).label                          // a File, bytes, or samples with their rate
//   const stream = model.stream({ sampleRate: 48000 });
//   for (const answer of await stream.push(samples)) console.log(answer);
//
// The answers are those of the Python package: rows of `emovox predict --format jsonl`.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { LevelMeter, Resampler, SAMPLE_RATE, check, decibels, decode, join, loudestPower, mix, rint, round } from "./audio.js";
import { NoVad, confirmSpeech, loadVad } from "./vad.js";
import { MeanPool, SegmentBuilder, Windower } from "./windows.js";

/**
 * Open the model of this folder.
 * @param {string|URL} [folder] where `emovox export --web` wrote it
 * @returns {Promise<Recognizer>}
 */
export async function load(folder = new URL("./", import.meta.url)) {
  const at = (name) => new URL(name, folder);
  ort.env.wasm.numThreads = 1; // threads need headers that a static server does not send
  ort.env.wasm.wasmPaths = at("runtime/").href;
  const [settings, graph, makeVad] = await Promise.all([
    fetchWhole(at("model/settings.json")).then((answer) => answer.json()),
    fetchWhole(at("model/model.onnx")).then((answer) => answer.arrayBuffer()),
    loadVad(),
  ]);
  const session = await ort.InferenceSession.create(new Uint8Array(graph), { executionProviders: ["wasm"] });
  return new Recognizer(settings, session, makeVad);
}

async function fetchWhole(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname} cannot be loaded (${answer.status}); export the page again`);
  return answer;
}

export class Recognizer {
  constructor(settings, session, makeVad) {
    Object.assign(this, { settings, session, makeVad });
    this.spec = settings.spec;
    this.labels = this.spec.labels;
    this.queue = Promise.resolve(); // a session runs once at a time
  }

  /**
   * Predict one recording.
   * @param {Blob|ArrayBuffer|{samples: Float32Array|Float32Array[], sampleRate: number}} source
   * @param {{labels?: string[], vad?: boolean}} [options]
   */
  async predict(source, { labels = null, vad = true } = {}) {
    const columns = this.columns(labels), spec = this.spec;
    const { channels, sampleRate } = await open(source);
    channels.forEach(check);
    const resampler = new Resampler(sampleRate), mono = mix(channels, sampleRate);
    const x = join([resampler.push(mono), resampler.flush()]);
    const meter = new LevelMeter(), detector = this.detector(vad);
    meter.push(x);
    const quality = (speechS) => meter.measure(this.settings.level, { speechS, minS: spec.min_s });
    try {
      const flags = detector.push(x), last = detector.flush();
      const found = quality(detector.speechS);
      let reason = ["silence", "too_short", "no_speech"].find((why) => found.warnings.includes(why)) ?? null;
      let scores = null;
      if (reason === "silence" || reason === "too_short") {
        // nothing to score
      } else if (x.length > Math.ceil(spec.clip_s * SAMPLE_RATE)) {
        scores = await this.pool(x, flags, last, columns, vad);
      } else {
        const cut = spec.speech && vad ? this.cut(x, join8(flags, last)) : x;
        const scored = await this.score(cut, columns, vad);
        ({ scores } = scored);
        reason ??= scored.isSpeech ? null : "no_speech";
      }
      const confidence = scores && Math.max(...scores);
      if (reason === null && confidence === null) reason = "no_speech";
      if (reason === null && confidence < spec.abstain.confidence) reason = "uncertain";
      return {
        label: scores && reason === null ? columns.names[scores.indexOf(confidence)] : null,
        reason, confidence, scores: this.named(columns, scores), start_s: 0, end_s: round(x.length / SAMPLE_RATE, 3), quality: found,
      };
    } finally {
      detector.close();
    }
  }

  /**
   * Open a stream of sound that arrives in chunks.
   * @param {{sampleRate: number, windowS?: number, hopS?: number, labels?: string[], vad?: boolean}} options
   */
  stream(options) {
    return new Stream(this, options);
  }

  // --- as emovox.inference.scorer ---

  columns(labels) {
    const unknown = (labels ?? []).filter((name) => !this.labels.includes(name));
    if (unknown.length) throw new Error(`this model cannot answer ${unknown.join(", ")}; it knows ${this.labels.join(", ")}`);
    const names = labels?.length ? [...new Set(labels)] : this.labels;
    return { names, at: names.map((name) => this.labels.indexOf(name)) };
  }

  named({ names }, scores) {
    return scores ? Object.fromEntries(names.map((name, i) => [name, scores[i]])) : {};
  }

  detector(vad) {
    return vad ? this.makeVad(this.settings.vad) : new NoVad(this.settings.vad);
  }

  windower(windowS, hopS, vad) {
    const { spec, settings } = this;
    return new Windower({
      window: rint(windowS * SAMPLE_RATE), hop: rint(hopS * SAMPLE_RATE), least: Math.ceil(spec.min_s * SAMPLE_RATE),
      frame: rint(settings.vad.frame_s * SAMPLE_RATE), newShare: settings.windows.new_share,
      confirm: vad ? (x, flags) => confirmSpeech(x, flags, settings.vad) : (x, flags) => flags,
    });
  }

  /** Cut a clip to its speech and a margin: emovox.inference.clip.cut_to_speech. */
  cut(x, flags) {
    const first = flags.indexOf(1), last = flags.lastIndexOf(1);
    if (first < 0) return x;
    const margin = rint(this.settings.windows.margin_s * SAMPLE_RATE), frame = rint(this.settings.vad.frame_s * SAMPLE_RATE);
    const cut = x.subarray(Math.max(0, first * frame - margin), (last + 1) * frame + margin);
    const { edge, grid } = this.settings.clips, energy = new Float64Array(grid);
    const least = edge * cut.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    let start = 0, end = cut.length;
    while (start < end && Math.abs(cut[start]) <= least) start++;
    while (start < end && Math.abs(cut[end - 1]) <= least) end--;
    if (start === end) return cut;
    for (let i = start; i < end; i++) energy[(i - start) % grid] += cut[i] ** 2;
    let re = 0, im = 0; // the circular mean of the energy is at the start
    for (let i = 0; i < grid; i++) {
      re += energy[i] * Math.cos((2 * Math.PI * i) / grid);
      im += energy[i] * Math.sin((2 * Math.PI * i) / grid);
    }
    start += (rint((Math.atan2(im, re) / (2 * Math.PI)) * grid) + grid) % grid;
    return end - start >= Math.ceil(this.spec.min_s * SAMPLE_RATE) ? cut.subarray(start, end) : cut;
  }

  /**
   * Scores of one sound, in float64, and whether the model takes it for speech.
   *
   * With `span`, the frames that are averaged, the sound continues the one that left `memory`, and there is a
   * memory for the sound after it; `length` is then of what is scored.
   */
  async score(x, columns, vad, { memory = null, span = null, length = x.length } = {}) {
    const feeds = {
      waveform: new ort.Tensor("float32", Float32Array.from(x), [1, x.length]),
      lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(x.length)), [1]),
    };
    const { offset_size: offset, memory_size: memorySize } = this.settings;
    if (offset) feeds.offset = new ort.Tensor("float32", new Float32Array(offset), [1, offset]);
    if (memorySize) {
      feeds.memory = memory ?? new ort.Tensor("float32", new Float32Array(0), [1, 0, memorySize]);
      feeds.span = new ort.Tensor("int64", BigInt64Array.from(span ?? [0, 2 ** 40], BigInt), [1, 2]);
    }
    const names = span ? ["logits", "speech", "next_memory"] : ["logits", "speech"];
    const wanted = this.session.outputNames.filter((name) => names.includes(name));
    const run = this.queue.then(() => this.session.run(feeds, wanted));
    this.queue = run.catch(() => {});
    const output = await run, logits = output.logits.data;
    const z = columns.at.map((i) => logits[i] / this.spec.temperature), most = Math.max(...z);
    const e = z.map((value) => Math.exp(value - most)), total = e.reduce((a, b) => a + b);
    let threshold = vad && this.spec.speech ? this.spec.speech.threshold : 0;
    const { short_s: shortS, short_threshold: shortThreshold } = this.settings.speech;
    if (length < shortS * SAMPLE_RATE) threshold = Math.min(threshold, shortThreshold);
    const speech = output.speech ? 0.5 + 0.5 * Math.tanh(0.5 * output.speech.data[0]) : 1;
    return { scores: e.map((value) => value / total), isSpeech: speech >= threshold, memory: output.next_memory };
  }

  /** Scores of a window; null when it holds too little sound or speech. */
  async scoreWindow(window, columns, vad) {
    if (!this.isScored(window)) return null;
    const [start, end] = this.scoredSpan(window);
    const scored = await this.score(window.sound.subarray(start, end), columns, vad);
    return scored.isSpeech ? scored.scores : null;
  }

  /** Scores of a window of which the graph remembers all but the end, and the memory for the window after. */
  async continueWindow(window, memory, columns, vad) {
    if (!this.isScored(window)) return { scores: null, memory: null };
    const { block_s: blockS, frames_per_s: framesPerS } = this.spec.stream;
    if (memory && window.end - memory.end !== rint(blockS * SAMPLE_RATE)) {
      return { scores: await this.scoreWindow(window, columns, vad), memory: null };
    }
    const frame = rint(SAMPLE_RATE / framesPerS), [start, end] = this.scoredSpan(window), n = window.sound.length;
    const nNew = memory ? window.end - memory.end : Math.min(n, Math.ceil((n - start) / frame) * frame);
    const first = n - nNew - (memory ? memory.rows.dims[1] * frame : 0);
    const span = [Math.max(0, Math.floor((start - first) / frame)), Math.ceil((end - first) / frame)];
    const options = { memory: memory?.rows, span, length: end - start };
    const scored = await this.score(window.sound.subarray(n - nNew), columns, vad, options);
    return { scores: scored.isSpeech ? scored.scores : null, memory: { rows: scored.memory, end: window.end } };
  }

  isScored(window) {
    const { windows, level } = this.settings, x = window.sound;
    if (!x || window.speech < windows.min_speech_share || x.length < Math.ceil(this.spec.min_s * SAMPLE_RATE)) return false;
    const loudest = decibels(loudestPower(x));
    return loudest !== null && loudest >= level.silence_dbfs;
  }

  /** First sample of a window that is scored, and the one past its last. */
  scoredSpan(window) {
    const n = window.sound.length;
    if (!this.spec.speech) return [0, n];
    const margin = rint(this.settings.windows.margin_s * SAMPLE_RATE), [start, end] = window.span;
    return [Math.max(0, start - margin), Math.min(n, end + margin)];
  }

  sharesFrames(windower) {
    const { stream } = this.spec;
    if (!stream) return false;
    const block = rint(stream.block_s * SAMPLE_RATE), memory = rint(stream.memory_s * SAMPLE_RATE);
    return windower.hop === block && block < windower.window && windower.window <= block + memory;
  }

  /** The scores of a long recording: of windows side by side. */
  async pool(x, flags, last, columns, vad) {
    const pool = new MeanPool(), windower = this.windower(this.spec.window_s, this.spec.window_s, vad);
    for (const window of [...windower.push(x, flags), ...windower.flush(last)]) {
      pool.push(window, await this.scoreWindow(window, columns, vad));
    }
    return pool.scores;
  }
}

/** Sound that arrives in chunks; answers are `{type: "window", ...}` at every hop and `{type: "segment", ...}` when final. */
export class Stream {
  constructor(model, { sampleRate, windowS = null, hopS = null, labels = null, vad = true }) {
    const { spec, settings } = model;
    windowS ??= spec.window_s;
    hopS ??= Math.min(spec.hop_s, windowS);
    if (!(spec.min_s <= windowS && windowS <= spec.clip_s && hopS >= 0.1 && hopS <= windowS)) {
      throw new Error(`window ${windowS} s and hop ${hopS} s; expected a window of ${spec.min_s} to ${spec.clip_s} s, and a hop of 0.1 s to it`);
    }
    if (!(sampleRate > 0)) throw new Error(`sampleRate is ${sampleRate}; expected Hz, such as 48000`);
    Object.assign(this, { model, vad, columns: model.columns(labels), isOver: false, turn: Promise.resolve() });
    this.resampler = new Resampler(sampleRate);
    this.detector = model.detector(vad);
    this.windower = model.windower(windowS, hopS, vad);
    this.sharesFrames = model.sharesFrames(this.windower);
    this.memory = null;
    this.builder = new SegmentBuilder({ ...settings.segments, frame_s: settings.vad.frame_s }, {
      hopS: this.windower.hop / SAMPLE_RATE, threshold: spec.abstain.confidence, frame: this.windower.frame,
      toScores: (span, scores, startS, endS) => ({
        type: "segment", start_s: round(startS, 3), end_s: round(endS, 3),
        label: span.label === null ? null : this.columns.names[span.label], reason: span.label === null ? "uncertain" : null,
        confidence: span.label === null ? Math.max(...scores) : scores[span.label], scores: model.named(this.columns, scores),
      }),
    });
  }

  /** Take samples (-1 to 1) of one channel; return what became known. Calls may overlap; they take turns. */
  push(samples) {
    return this.inTurn(async () => {
      if (this.isOver) throw new Error("this stream was flushed; open a new one");
      if (samples.length) check(samples);
      return this.process(this.resampler.push(samples));
    });
  }

  /** End the stream; return the rest. */
  flush() {
    return this.inTurn(async () => {
      if (this.isOver) return [];
      this.isOver = true;
      const answers = await this.process(this.resampler.flush());
      answers.push(...(await this.scoreAll(this.windower.flush(this.detector.flush()))));
      this.detector.close();
      return [...answers, ...this.builder.flush(this.windower.n)];
    });
  }

  inTurn(work) {
    const done = this.turn.then(work);
    this.turn = done.catch(() => {});
    return done;
  }

  process(x) {
    return this.scoreAll(this.windower.push(x, this.detector.push(x)));
  }

  async scoreAll(windows) {
    const answers = [];
    for (const window of windows) {
      let scores;
      if (this.sharesFrames) {
        ({ scores, memory: this.memory } = await this.model.continueWindow(window, this.memory, this.columns, this.vad));
      } else scores = await this.model.scoreWindow(window, this.columns, this.vad);
      if (window.sound) {
        answers.push({
          type: "window", start_s: round(window.start / SAMPLE_RATE, 3), end_s: round(window.end / SAMPLE_RATE, 3),
          speech: round(window.speech, 4), scores: this.model.named(this.columns, scores),
        });
      }
      answers.push(...this.builder.push(window, scores));
    }
    return answers;
  }
}

async function open(source) {
  if (source instanceof Blob) source = await source.arrayBuffer();
  if (source instanceof ArrayBuffer) return decode(source);
  if (source?.samples && source.sampleRate > 0) {
    const { samples, sampleRate } = source;
    return { channels: Array.isArray(samples) ? samples : [samples], sampleRate };
  }
  throw new Error("expected a File, an ArrayBuffer, or {samples, sampleRate}");
}

function join8(a, b) {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
