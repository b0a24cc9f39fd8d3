// Sound from the microphone, as 16-bit samples, in pieces of a twentieth of a second. Runs in the audio thread.

const PIECE_S = 0.05;

class Pieces extends AudioWorkletProcessor {
  #piece = new Int16Array(Math.round(PIECE_S * sampleRate));
  #n = 0;
  #isOver = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#isOver = true;
      this.#post();
      this.port.postMessage(null);
    };
  }

  process([channels]) {
    const n = channels[0]?.length ?? 0;
    for (let at = 0; at < n && !this.#isOver; at += 1) {
      let x = 0;
      for (const channel of channels) x += channel[at] / channels.length;
      // Full scale is 32768, as it is when the server reads the samples again.
      this.#piece[this.#n] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
      this.#n += 1;
      if (this.#n === this.#piece.length) this.#post();
    }
    return !this.#isOver;
  }

  #post() {
    if (this.#n) this.port.postMessage(this.#piece.slice(0, this.#n));
    this.#n = 0;
  }
}

registerProcessor("pieces", Pieces);
