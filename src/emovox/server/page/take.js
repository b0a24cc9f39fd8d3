// Sound from the microphone so far: its samples, level, length, and when each piece came.

import { clock } from "./emotions.js";
import { Peaks, wav } from "./sound.js";

const KEPT_S = 1800; // of audio kept for playback; later audio is processed, and not kept
const REMEMBERED = 400; // pieces whose time of arrival is known

/** One taking of sound, shown on a meter. */
export class Take {
  peaks = null;
  #pieces = [];
  #arrivals = [];
  #meter;
  #rate = 0;

  constructor(meter) {
    this.#meter = meter;
    meter.hidden = false;
  }

  /** Add a piece, `Int16Array` at `rate` Hz. */
  push(samples, rate) {
    this.#rate = rate;
    this.peaks ??= new Peaks(rate);
    this.peaks.push(samples, 32768);
    if (this.peaks.duration_s <= KEPT_S) this.#pieces.push(samples);
    this.#arrivals.push({ end_s: this.peaks.duration_s, at_ms: performance.now() });
    if (this.#arrivals.length > REMEMBERED) this.#arrivals.shift();
    const level = this.peaks.between(this.peaks.duration_s - 0.1, this.peaks.duration_s);
    this.#part("level").style.transform = `scaleX(${Math.sqrt(level)})`;
    this.#part("clock").textContent = clock(this.peaks.duration_s, 0);
  }

  /** Milliseconds since the sound at `end_s` arrived; it may have waited for the end of its piece. */
  age_ms(end_s) {
    const piece = this.#arrivals.find((each) => each.end_s >= end_s - 1e-6);
    return piece ? performance.now() - piece.at_ms + 1000 * (piece.end_s - end_s) : null;
  }

  /** All of it as WAV, or null when nothing came. */
  sound() {
    return this.#pieces.length ? wav(this.#pieces, this.#rate) : null;
  }

  end() {
    this.#meter.hidden = true;
  }

  #part(name) {
    return this.#meter.querySelector(`[data-part="${name}"]`);
  }
}
