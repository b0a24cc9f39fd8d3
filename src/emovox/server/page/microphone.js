// The microphone, without the filters of the browser.

const UNTOUCHED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

const SENTENCES = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it beside the address, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone is in use by another program, or was switched off.",
};

/** An open microphone. `rate` is in Hz; pieces are `Int16Array` of a twentieth of a second. */
export class Microphone {
  #context;
  #stream;
  #node;

  /** Ask for the microphone; `onPiece(samples, rate)` gets the sound, `onLost()` is called when it is unplugged. */
  static async open({ onPiece, onLost }) {
    const microphone = new Microphone();
    try {
      await microphone.#start(onPiece, onLost);
    } catch (error) {
      await microphone.close();
      throw new Error(SENTENCES[error.name] ?? `The microphone could not be opened (${error.message}).`);
    }
    return microphone;
  }

  get rate() {
    return this.#context.sampleRate;
  }

  /** What the browser distorts although it was asked not to. */
  get distorted() {
    const settings = this.#stream.getAudioTracks()[0].getSettings();
    return Object.keys(UNTOUCHED).filter((name) => settings[name] === true);
  }

  async #start(onPiece, onLost) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("browsers give it only to pages from https:// or localhost");
    }
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: UNTOUCHED });
    // At the microphone's own rate nothing is resampled here, and Firefox joins no two rates.
    const { sampleRate } = this.#stream.getAudioTracks()[0].getSettings();
    this.#context = new AudioContext({ latencyHint: "interactive", ...(sampleRate && { sampleRate }) });
    await this.#context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    this.#node = new AudioWorkletNode(this.#context, "pieces", { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => data && onPiece(data, this.rate);
    this.#stream.getAudioTracks()[0].onended = onLost;
    this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
    await this.#context.resume();
  }

  /** Close the microphone; the last samples have come when it returns. */
  async close() {
    if (this.#node) await this.#drained();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") await this.#context.close();
  }

  #drained() {
    const { port } = this.#node;
    const onMessage = port.onmessage;
    return new Promise((resolve) => {
      port.onmessage = (message) => (message.data ? onMessage(message) : resolve());
      port.postMessage("end");
    });
  }
}
