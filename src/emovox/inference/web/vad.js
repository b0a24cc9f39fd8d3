// The voice activity detector of emovox.audio.vad: WebRTC's, with a gain before it and a noise gate behind it.

import makeFvad from "./runtime/fvad.js";
import { SAMPLE_RATE, rint } from "./audio.js";

const FULL_SCALE = 32768;

/** Load WebRTC's detector; detectors are made of it. */
export async function loadVad() {
  const wasm = await makeFvad();
  return (settings) => new Vad(wasm, settings);
}

/** Drop the flags of a window's silence: emovox.audio.vad.confirm_speech. */
export function confirmSpeech(x, flags, settings) {
  const s = settings, size = rint(SAMPLE_RATE * s.frame_s), power = [];
  for (let i = 0; i < flags.length; i++) {
    let sum = 0, squares = 0;
    for (let j = i * size; j < (i + 1) * size; j++) sum += (x[j] ?? 0) * FULL_SCALE;
    const mean = sum / size;
    for (let j = i * size; j < (i + 1) * size; j++) squares += ((x[j] ?? 0) * FULL_SCALE - mean) ** 2;
    power.push(squares / size);
  }
  const found = power.filter((value, i) => flags[i] && value >= s.mute_power).sort((a, b) => a - b);
  if (!found.length) return new Uint8Array(flags.length);
  const noise = power.slice(0, Math.floor(x.length / size)).filter((value) => value >= s.mute_power);
  let least = found[Math.max(0, found.length - 1 - s.n_click)] * 10 ** (-s.range_db / 10);
  if (noise.length) least = Math.max(least, Math.min(...noise) * 10 ** (s.margin_db / 10));
  const hang = rint(s.hang_s / s.frame_s), loud = flags.map((flag, i) => (flag && power[i] > least ? 1 : 0));
  let last = -Infinity; // loud frame that is no click
  return flags.map((flag, i) => {
    const near = loud.subarray(Math.max(0, i - hang), i + hang + 1).reduce((n, value) => n + value, 0);
    if (loud[i] && near > s.n_click) last = i;
    return flag && i - last <= hang ? 1 : 0;
  });
}

class Vad {
  constructor(wasm, settings) {
    const s = this.settings = settings;
    this.wasm = wasm;
    this.frame = rint(SAMPLE_RATE * s.frame_s);
    this.handle = wasm._fvad_new();
    wasm._fvad_set_mode(this.handle, s.mode);
    wasm._fvad_set_sample_rate(this.handle, SAMPLE_RATE);
    this.buffer = wasm._malloc(2 * this.frame);
    this.gain = 10 ** (s.gain_db / 20) * FULL_SCALE;
    this.margin = 10 ** (s.margin_db / 10);
    this.memory = rint(s.memory_s / s.frame_s);
    this.settle = rint(s.settle_s / s.frame_s);
    this.mute = rint(s.mute_s / s.frame_s);
    this.hangFrames = rint(s.hang_s / s.frame_s);
    this.recent = [];
    this.means = [];
    this.nZero = this.nEdge = 0;
    this.wasMuted = false;
    this.speechLevel = null;
    this.hang = -1;
    this.rest = new Float32Array(0);
    this.n = this.nSpeech = 0;
  }

  /** Seconds of speech so far. */
  get speechS() {
    return Math.min(this.nSpeech * this.settings.frame_s, this.n / SAMPLE_RATE);
  }

  /** Take samples; return a flag (0 or 1) for each frame that they complete. */
  push(x) {
    this.n += x.length;
    return this.process(x);
  }

  process(x) {
    const joined = new Float32Array(this.rest.length + x.length);
    joined.set(this.rest);
    joined.set(x, this.rest.length);
    const flags = new Uint8Array(Math.floor(joined.length / this.frame));
    for (let i = 0; i < flags.length; i++) {
      flags[i] = this.flag(joined.subarray(i * this.frame, (i + 1) * this.frame));
      this.nSpeech += flags[i];
    }
    this.rest = joined.slice(flags.length * this.frame);
    return flags;
  }

  /** End the sound; return the flag of a last, partial frame, if there is one. */
  flush() {
    return this.rest.length ? this.process(new Float32Array(this.frame - this.rest.length)) : new Uint8Array(0);
  }

  close() {
    this.wasm._free(this.buffer);
    this.wasm._fvad_free(this.handle);
  }

  /** Whether a frame is speech, or follows it closely. */
  flag(frame) {
    let sum = 0, energy = 0;
    const whole = new Float64Array(this.frame);
    for (let i = 0; i < frame.length; i++) sum += whole[i] = rint(Math.fround(frame[i] * FULL_SCALE));
    const steps = this.offset(sum / this.frame), offset = Math.fround(steps / FULL_SCALE);
    for (const value of whole) energy += (value - steps) ** 2;
    const gain = Math.fround(this.gain);
    const pcm = new Int16Array(this.wasm.HEAP16?.buffer ?? this.wasm.HEAPU8.buffer, this.buffer, this.frame);
    for (let i = 0; i < frame.length; i++) {
      const value = rint(Math.fround(Math.fround(frame[i] - offset) * gain));
      pcm[i] = Math.max(-32768, Math.min(32767, value));
    }
    if (this.isSpeech(energy)) {
      const level = Math.log10(energy), before = this.speechLevel ?? level;
      this.speechLevel = before + (level > before ? 0.2 : 0.02) * (level - before);
      this.hang = this.hangFrames;
      return 1;
    }
    this.hang = Math.max(this.hang - 1, -1);
    return this.hang >= 0 ? 1 : 0;
  }

  isSpeech(energy) {
    const s = this.settings;
    if (energy < s.mute_power * this.frame) {
      this.nZero++;
      return false;
    }
    const found = this.wasm._fvad_process(this.handle, this.buffer, this.frame) === 1;
    if (this.nZero >= this.mute && this.recent.length) {
      this.recent = [];
      this.wasMuted = true;
      this.nEdge = s.n_edge;
    }
    this.nZero = 0;
    if (this.nEdge) {
      this.nEdge--;
      return found && this.isNearSpeech(energy);
    }
    this.recent.push(energy);
    if (this.recent.length > this.memory) this.recent.shift();
    return found && this.isAboveNoise(energy);
  }

  isAboveNoise(energy) {
    if (energy > this.margin * Math.min(...this.recent)) return true;
    return this.recent.length <= this.settle && this.isNearSpeech(energy);
  }

  isNearSpeech(energy) {
    if (!this.wasMuted || this.speechLevel === null) return true;
    return Math.log10(energy) > this.speechLevel - this.settings.unmuted_db / 10;
  }

  /** The median of the last frames' means, in steps of 16 bits. */
  offset(mean) {
    this.means.push(mean);
    if (this.means.length > this.memory) this.means.shift();
    const ranked = Float64Array.from(this.means).sort();
    return rint(ranked[Math.floor(ranked.length / 2)]);
  }
}

/** Takes all sound for speech. */
export class NoVad {
  constructor(settings) {
    this.frame = rint(SAMPLE_RATE * settings.frame_s);
    this.n = 0;
    this.speechS = null;
  }

  push(x) {
    const before = this.n;
    this.n += x.length;
    return new Uint8Array(Math.floor(this.n / this.frame) - Math.floor(before / this.frame)).fill(1);
  }

  flush() {
    return new Uint8Array(this.n % this.frame ? 1 : 0).fill(1);
  }

  close() {}
}
