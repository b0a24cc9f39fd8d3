// Collects the microphone's samples into pieces of about 0.1 s.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(Math.round(sampleRate / 10));
    this.n = 0;
  }

  process([input]) {
    for (const value of input[0] ?? []) {
      this.piece[this.n++] = value;
      if (this.n === this.piece.length) {
        this.port.postMessage(this.piece.slice());
        this.n = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
