// Sound in the browser: decoded for drawings, kept as WAV, played.

const PEAKS_A_SECOND = 100;
const MAX_DECODED = 100 * 2 ** 20; // bytes; larger files are processed, but not drawn
const DRAWN_RATE = 10_000; // Hz: the spectrogram ends at 5 kHz, as in Praat

/** The loudest sample in each hundredth of a second, 0 to 1. */
export class Peaks {
  values = [];
  #rate;
  #n = 0;

  constructor(rate) {
    this.#rate = rate;
  }

  /** Add samples; `full` is what full scale is in them. */
  push(samples, full = 1) {
    for (const x of samples) {
      const at = Math.floor((this.#n * PEAKS_A_SECOND) / this.#rate);
      this.values[at] = Math.max(this.values[at] ?? 0, Math.abs(x) / full);
      this.#n += 1;
    }
  }

  /** Seconds so far. */
  get duration_s() {
    return this.#n / this.#rate;
  }

  /** The loudest between two times. */
  between(start_s, end_s) {
    const first = Math.max(0, Math.floor(start_s * PEAKS_A_SECOND));
    const last = Math.min(this.values.length, Math.max(first + 1, Math.floor(end_s * PEAKS_A_SECOND)));
    let top = 0;
    for (let at = first; at < last; at += 1) top = Math.max(top, this.values[at]);
    return top;
  }
}

let decodings = 0;

/** A recording as `{id, samples, rate, peaks}`, the mean of its channels; null when this browser cannot decode it. */
export async function decode(blob) {
  if (blob.size > MAX_DECODED) return null;
  try {
    const context = new OfflineAudioContext(1, 1, DRAWN_RATE);
    const decoded = await context.decodeAudioData(await blob.arrayBuffer());
    const peaks = new Peaks(decoded.sampleRate);
    const samples = mean(decoded); // as the server does: speech may be on one channel only
    peaks.push(samples);
    decodings += 1;
    return { id: decodings, samples, rate: decoded.sampleRate, peaks };
  } catch {
    return null;
  }
}

/** The mean of all channels. */
function mean(decoded) {
  const sum = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel += 1) {
    const samples = decoded.getChannelData(channel);
    for (let n = 0; n < sum.length; n += 1) sum[n] += samples[n] / decoded.numberOfChannels;
  }
  return sum;
}

/** Pieces of 16-bit samples as a WAV file, bit for bit. */
export function wav(pieces, rate) {
  const n = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const word = (at, text) => [...text].forEach((letter, k) => head.setUint8(at + k, letter.charCodeAt(0)));
  word(0, "RIFF");
  head.setUint32(4, 36 + n, true);
  word(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); // PCM
  head.setUint16(22, 1, true); // mono
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  word(36, "data");
  head.setUint32(40, n, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}

/** Plays a recording or a stretch of it; `onTime(seconds)` is called while it plays and when it stops. */
export class Player {
  #audio = new Audio();
  #end_s = Infinity;
  #onTime;

  constructor(onTime) {
    this.#onTime = onTime;
    for (const name of ["play", "pause", "seeked"]) this.#audio.addEventListener(name, () => this.#tick());
  }

  /** Make `blob` what is played; null for nothing. */
  load(blob) {
    this.#audio.pause();
    if (this.#audio.src) URL.revokeObjectURL(this.#audio.src);
    if (blob) this.#audio.src = URL.createObjectURL(blob);
    else this.#audio.removeAttribute("src");
    this.#end_s = Infinity;
  }

  get isPlaying() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  get time_s() {
    return this.#audio.currentTime;
  }

  seek(seconds) {
    this.#end_s = Infinity;
    this.#audio.currentTime = seconds;
  }

  /** Play from `start_s`, or from where it stands, to `end_s`. */
  async play(start_s = null, end_s = Infinity) {
    if (start_s !== null) this.#audio.currentTime = start_s;
    this.#end_s = end_s;
    await this.#audio.play();
  }

  pause() {
    this.#audio.pause();
  }

  #tick() {
    if (this.#audio.currentTime >= this.#end_s) {
      this.#audio.pause();
      this.#end_s = Infinity;
    }
    this.#onTime(this.#audio.currentTime);
    if (this.isPlaying) requestAnimationFrame(() => this.#tick());
  }
}
