// The server: HTTP, server-sent events and the live socket, and a sentence when it refuses.

const MAX_WAITING_S = 5; // of live sound that the network has not taken yet

// Where a sentence of the page helps more than the server's own.
const SENTENCES = {
  401: "This server requires an API key",
  429: "Too many requests: the server takes only so many a minute.",
  503: "The server is busy.",
};

const CLOSES = {
  1008: "The server does not allow this.",
  1009: "The server got more sound at once than it takes.",
  1011: "Something went wrong on the server.",
  1013: "The server is busy with other live sessions. Try again in a moment.",
  4001: "No sound arrived at the server for too long.",
  4002: "The server ends a live session after a while. Start again whenever you like.",
};

let key = "";

/** A request that failed; `message` is for people. */
export class Refusal extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.status = status;
  }
}

/** Sent with every request from now on; kept in this page only. */
export function setKey(text) {
  key = text.trim();
}

/** `{models: [...], default}`. */
export async function models() {
  return (await request("v1/models")).json();
}

/** The answer on a whole recording: `{model, predictions: [...]}`. */
export async function predict(sound, options, signal) {
  return (await send("v1/predict", sound, options, signal)).json();
}

/** `{event, data}` of a recording while it is processed: windows, segments, then `end`. */
export async function* timeline(sound, options, signal) {
  const answer = await send("v1/timeline", sound, { ...options, format: "sse", windows: "true" }, signal);
  for await (const each of events(answer.body)) {
    if (each.event === "error") throw new Refusal((each.data.error ?? each.data).message, { status: 422 });
    yield each;
    if (each.event === "end") return;
  }
  throw new Refusal("The connection ended before the answer did.");
}

/** What in a recording decided for a label: `{model, explanation}`. */
export async function explain(sound, options, signal) {
  return (await send("v1/explain", sound, options, signal)).json();
}

/** Segments as a file of another tool: `srt`, `vtt`, `textgrid`, `eaf`, `audacity` or `rttm`. */
export async function labels(segments, format) {
  const rest = { method: "POST", body: JSON.stringify(segments), headers: { "Content-Type": "application/json" } };
  return (await request(`v1/labels?format=${format}`, rest)).blob();
}

/** Server-sent events of a body of bytes. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [, name, rest] = line.match(/^(\w+): ?(.*)$/) ?? [];
        if (name === "event") fields.event = rest;
        if (name === "data") fields.data += rest;
      }
      if (fields.data) yield { event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

/**
 * A live session: PCM16 goes up, windows and segments come down.
 *
 * `onAnswer(message)` gets every message of the server; `onEnd(refusal)` is called once when the session is
 * over, with `null` when that was asked for.
 */
export class Live {
  #socket;
  #rate;
  #early = []; // samples that came before the socket was open
  #isAsked = false;

  constructor({ rate, options, onAnswer, onEnd }) {
    const url = new URL("v1/stream", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    this.#rate = rate;
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      const start = { type: "start", rate, encoding: "pcm16", ...options };
      this.#socket.send(JSON.stringify(key ? { ...start, api_key: key } : start));
      for (const samples of this.#early) this.#socket.send(samples);
      this.#early = null;
      if (this.#isAsked) this.finish();
    };
    let refused = {}; // by the server, in words
    this.#socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "error") refused = message.error;
      if (message.type === "flushed") this.#socket.send('{"type":"stop"}');
      onAnswer(message);
    };
    this.#socket.onclose = ({ code, reason }) => {
      const status = refused.code === "unauthorized" ? 401 : 0;
      const words = SENTENCES[status] ?? CLOSES[code] ?? refused.message ?? (reason || "The connection to the server was lost.");
      onEnd(this.#isAsked && code === 1000 ? null : new Refusal(words, { status }));
    };
  }

  /** Send samples, `Int16Array`; false when the network is too slow to go on. */
  push(samples) {
    if (this.#early) {
      this.#early.push(samples);
      return true;
    }
    if (this.#socket.readyState !== WebSocket.OPEN) return true; // onEnd tells why
    if (this.#socket.bufferedAmount > MAX_WAITING_S * this.#rate * 2) return false;
    this.#socket.send(samples);
    return true;
  }

  /** Ask for the rest; the session ends by itself then. */
  finish() {
    this.#isAsked = true;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send('{"type":"flush"}');
  }
}

function send(path, sound, options, signal) {
  const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value !== null));
  const type = sound.type && !sound.type.startsWith("multipart/") ? sound.type : "application/octet-stream";
  return request(`${path}?${query}`, { method: "POST", body: sound, headers: { "Content-Type": type }, signal });
}

async function request(path, { headers = {}, ...rest } = {}) {
  const all = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), { ...rest, headers: all });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached. Is it still running?");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  const detail = await answer.json().then((body) => body.error?.message ?? "", () => "");
  const wait = Number(answer.headers.get("Retry-After"));
  const again = wait ? ` Try again in ${wait} s.` : "";
  const words = SENTENCES[answer.status] ?? (detail || "Something went wrong on the server.");
  return new Refusal(words + again, { status: answer.status });
}
