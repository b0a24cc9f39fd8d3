// From the bytes of a file to mono samples at 16 kHz, as emovox.audio does it.

export const SAMPLE_RATE = 16000;

/** Round half to even, as numpy.rint does. */
export function rint(x) {
  const down = Math.floor(x), rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

/**
 * Read a file. WAV is read here, sample by sample; other formats by the browser, at 48 kHz.
 * @param {ArrayBuffer} bytes
 * @returns {Promise<{channels: Float32Array[], sampleRate: number}>}
 */
export async function decode(bytes) {
  const wav = readWav(bytes);
  if (wav) return wav;
  const context = new OfflineAudioContext(1, 1, 48000);
  let buffer;
  try {
    buffer = await context.decodeAudioData(bytes.slice(0));
  } catch {
    throw new Error("not audio that this browser can read; expected wav, mp3, flac, ogg, opus or m4a");
  }
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) => buffer.getChannelData(i));
  return { channels, sampleRate: buffer.sampleRate };
}

function readWav(bytes) {
  const view = new DataView(bytes);
  const name = (at) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  if (bytes.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= bytes.byteLength; ) {
    const size = view.getUint32(at + 4, true), start = at + 8;
    if (name(at) === "fmt " && start + 16 <= bytes.byteLength) {
      let code = view.getUint16(start, true);
      if (code === 0xfffe && size >= 40) code = view.getUint16(start + 24, true); // extensible
      format = { code, n: view.getUint16(start + 2, true), rate: view.getUint32(start + 4, true), bits: view.getUint16(start + 14, true) };
    } else if (name(at) === "data" && format) {
      const end = Math.min(start + size, bytes.byteLength);
      return readSamples(view, start, end, format);
    }
    at = start + size + (size % 2);
  }
  return null;
}

function readSamples(view, start, end, { code, n, rate, bits }) {
  const readers = {
    "1/8": (at) => (view.getUint8(at) - 128) / 128,
    "1/16": (at) => view.getInt16(at, true) / 32768,
    "1/24": (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608,
    "1/32": (at) => view.getInt32(at, true) / 2147483648,
    "3/32": (at) => view.getFloat32(at, true),
    "3/64": (at) => view.getFloat64(at, true),
  };
  const read = readers[`${code}/${bits}`];
  if (!read || !n || !rate) return null; // the browser may know it
  const step = bits / 8, frames = Math.floor((end - start) / (step * n));
  const channels = Array.from({ length: n }, () => new Float32Array(frames));
  for (let i = 0, at = start; i < frames; i++) for (let c = 0; c < n; c++, at += step) channels[c][i] = read(at);
  return { channels, sampleRate: rate };
}

/** Refuse what is no sound: no samples, or samples that are not finite. */
export function check(x) {
  if (!x.length) throw new Error("it holds no samples; expected a recording with sound");
  for (const value of x) if (!Number.isFinite(value)) throw new Error("a sample is not finite; expected numbers in [-1, 1]");
}

/**
 * Average channels; where they cancel, the louder one is used (emovox.audio.mixing).
 * @param {Float32Array[]} channels
 */
export function mix(channels, sampleRate) {
  if (channels.length === 1) return channels[0];
  const n = channels[0].length, block = Math.max(1, rint(0.02 * sampleRate)), out = new Float32Array(n);
  const totals = channels.map(() => 0), recent = [];
  for (let start = 0; start < n; start += block) {
    const end = Math.min(n, start + block);
    for (let i = start; i < end; i++) {
      let sum = 0;
      for (const x of channels) sum = Math.fround(sum + x[i]);
      out[i] = sum / channels.length;
    }
    const mixed = energy(out, start, end), each = channels.map((x) => energy(x, start, end));
    recent.push([mixed, each]);
    if (recent.length > 51) recent.shift();
    each.forEach((value, c) => { totals[c] += value; });
    const count = Math.min(recent.length, 51);
    const mean = recent.reduce((sum, [, values]) => sum + values.reduce((a, b) => a + b), 0) / channels.length;
    const whole = recent.reduce((sum, [value]) => sum + value, 0);
    if (whole < 0.01 * mean && mean > 10 ** -6.5 * block * count) {
      const loudest = totals.indexOf(Math.max(...totals));
      out.set(channels[loudest].subarray(start, end), start);
    }
    if (recent.length > 50) recent.shift();
  }
  return out;
}

function energy(x, start, end) {
  let sum = 0, squares = 0;
  for (let i = start; i < end; i++) sum += x[i];
  const mean = sum / (end - start);
  for (let i = start; i < end; i++) squares += (x[i] - mean) ** 2;
  return squares;
}

/**
 * Resamples sound that arrives in chunks to 16 kHz: a windowed sinc (Kaiser, 120 dB), pass band to 0.913 of half of the lower
 * rate, linear phase, no delay in the result. soxr, which emovox uses, has the same pass band.
 */
export class Resampler {
  constructor(rateIn, rateOut = SAMPLE_RATE) {
    this.rateIn = rateIn;
    const gcd = (a, b) => (b ? gcd(b, a % b) : a), divisor = gcd(rateIn, rateOut);
    this.up = rateOut / divisor; // of so many phases
    this.down = rateIn / divisor;
    this.isCopy = rateIn === rateOut;
    const lower = Math.min(1, rateOut / rateIn);
    this.cutoff = lower * (0.913 + 1) / 2; // of half of the input's rate
    const width = lower * (1 - 0.913) / 2; // in cycles a sample
    this.beta = 0.1102 * (120 - 8.7);
    this.half = Math.ceil((120 - 7.95) / (14.36 * width) / 2);
    this.phases = new Map();
    this.held = new Float32Array(this.half); // zeros before the start
    this.first = -this.half; // index of its first sample in the input
    this.nIn = 0;
    this.nOut = 0;
  }

  taps(phase) {
    let taps = this.phases.get(phase);
    if (!taps) {
      taps = new Float64Array(2 * this.half);
      for (let i = 0; i < taps.length; i++) {
        const t = i - this.half + 1 - phase / this.up, share = t / this.half;
        if (Math.abs(share) >= 1) continue;
        const x = Math.PI * this.cutoff * t;
        const window = bessel(this.beta * Math.sqrt(1 - share * share)) / bessel(this.beta);
        taps[i] = (x === 0 ? 1 : Math.sin(x) / x) * this.cutoff * window;
      }
      this.phases.set(phase, taps);
    }
    return taps;
  }

  /** Take samples; return what is ready. */
  push(x) {
    if (this.isCopy) return Float32Array.from(x, clip);
    const joined = new Float32Array(this.held.length + x.length);
    joined.set(this.held);
    joined.set(x, this.held.length);
    this.nIn += x.length;
    const out = [];
    for (;;) {
      const position = this.nOut * this.down, at = Math.floor(position / this.up), begin = at - this.half + 1 - this.first;
      if (begin + 2 * this.half > joined.length) break;
      const taps = this.taps(position % this.up);
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * joined[begin + i];
      out.push(clip(Math.fround(sum)));
      this.nOut++;
    }
    const next = Math.floor((this.nOut * this.down) / this.up) - this.half + 1 - this.first;
    this.held = joined.slice(next);
    this.first += next;
    return Float32Array.from(out);
  }

  /** End the sound; return the rest. n samples become n * rateOut / rateIn, rounded. */
  flush() {
    if (this.isCopy) return new Float32Array(0);
    const total = rint((this.nIn * this.up) / this.down), before = this.nOut;
    return this.push(new Float32Array(2 * this.half + 1)).subarray(0, Math.max(0, total - before));
  }
}

const clip = (x) => Math.max(-1, Math.min(1, x));

/** The modified Bessel function of the first kind and order 0, by its power series. */
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-18 * sum; k++) {
    term *= (x / 2 / k) ** 2;
    sum += term;
  }
  return sum;
}

/** Level, clipping and warnings, as emovox.audio.level measures them. */
export class LevelMeter {
  constructor() {
    this.parts = [];
    this.n = 0;
  }

  push(x) {
    this.parts.push(x);
    this.n += x.length;
  }

  measure(limits, { speechS, minS }) {
    const x = join(this.parts), n = x.length, frame = SAMPLE_RATE / 10;
    let sum = 0, squares = 0, peak = 0, rail = 0;
    for (const value of x) {
      sum += value;
      squares += value * value;
      peak = Math.max(peak, Math.abs(value));
      if (Math.abs(value) >= limits.rail) rail++;
    }
    const loudest = loudestPower(x), loudestDb = decibels(loudest), durationS = n / SAMPLE_RATE;
    const isSilent = loudestDb === null || loudestDb < limits.silence_dbfs;
    const found = {
      silence: isSilent,
      low_level: !isSilent && loudestDb < limits.low_dbfs,
      clipping: n > 0 && rail / n > limits.clipped_share,
      no_speech: speechS !== null && speechS < Math.min(limits.no_speech_s, durationS / 3),
      too_short: durationS < minS,
    };
    const mean = sum / n, meanSquare = squares / n;
    return {
      level_dbfs: meanSquare > mean * mean * (1 + 1e-9) ? round(decibels(meanSquare - mean * mean), 2) : null,
      peak_dbfs: round(decibels(peak * peak), 2),
      clipped: round(n ? rail / n : 0, 6),
      speech_s: round(speechS, 3),
      warnings: Object.keys(found).filter((name) => found[name]),
    };
  }
}

/** The largest mean power of the tenths of a second, each without its mean. */
export function loudestPower(x) {
  const frame = SAMPLE_RATE / 10;
  if (x.length && x.length < 16) return x.reduce((sum, value) => sum + value * value, 0) / x.length;
  if (x.length < frame) return x.length ? energy(x, 0, x.length) / x.length : 0;
  let most = 0;
  for (let start = 0; start + frame <= x.length; start += frame) most = Math.max(most, energy(x, start, start + frame) / frame);
  return most;
}

export const decibels = (power) => (power > 0 ? 10 * Math.log10(power) : null);
export const round = (x, digits) => (x === null ? null : Number(x.toFixed(digits)));

export function join(parts) {
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}
