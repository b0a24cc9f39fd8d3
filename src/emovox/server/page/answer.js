// The view of a session: headline, scores, timeline, tables, and playback.

import { clock, percent, ranked, stretch, targetsOf, tone, valuesInWords, warnings, why } from "./emotions.js";
import { complain, element, tell } from "./notices.js";
import { Readout } from "./readout.js";
import { named, Scene, windowAt } from "./scene.js";
import { labels } from "./server.js";
import { Player } from "./sound.js";
import { asCsv, asJson, save, segmentRows, windowRows } from "./tables.js";

const LIVE_SPAN_S = 30; // of the past that is drawn

const $ = (id) => document.getElementById(id);

/** One recording or live session, and what was answered to it so far. */
export class Session {
  duration_s = 0;
  peaks = null;
  sound = null; // Blob
  prediction = null; // of the whole
  segments = [];
  windows = [];
  model = null;
  isOver = false; // nothing more will be answered

  constructor(name, labels, { isLive = false, isOurs = false } = {}) {
    this.name = name;
    this.labels = labels;
    this.isLive = isLive;
    this.isOurs = isOurs; // the sound came from the microphone, so that only we have it
  }

  /** Whether this browser can play it. */
  get canPlay() {
    return this.sound !== null && (this.peaks !== null || this.sound.type.startsWith("audio/"));
  }

  /** Take a window or a segment. */
  add(kind, answer) {
    if (kind === "window") this.windows.push(answer);
    if (kind === "segment") this.segments.push(answer);
    this.duration_s = Math.max(this.duration_s, answer.end_s ?? 0);
  }
}

/** The part of the page that shows the session. */
export class Answer {
  #session = null;
  #player = new Player((seconds) => this.#onTime(seconds));
  #readout = new Readout($("readout"));
  #scene = new Scene($("scene"), { onHear: (segment) => this.#hear(segment), onSeek: (s) => this.#seek(s) });

  constructor() {
    $("whole").addEventListener("click", () => this.#showWhole());
    $("play").addEventListener("click", () => (this.#player.isPlaying ? this.#player.pause() : this.#play()));
    $("windows-details").addEventListener("toggle", () => this.#session && this.#showWindows());
    $("save-json").addEventListener("click", () => this.#save(asJson, "json", "application/json"));
    $("save-csv").addEventListener("click", () => this.#save(asCsv, "csv", "text/csv"));
    $("save-labels").addEventListener("click", () => this.#saveLabels());
    $("save-sound").addEventListener("click", () => save(this.#session.sound, "recording.wav"));
  }

  /** Whether it is this session that is shown. */
  shows(session) {
    return this.#session === session;
  }

  /** Turn to a new session, of which nothing is known yet. */
  open(session) {
    this.#session = session;
    this.#player.load(null);
    this.#scene.place(null);
    this.#readout.labels = session.labels;
    $("readout").hidden = !session.labels.length; // of a model of values alone
    $("segments").tBodies[0].replaceChildren();
    $("result").hidden = true;
  }

  /** There is no answer to show. */
  hide() {
    $("result").hidden = true;
  }

  /** Make its sound what is played. */
  hearable() {
    this.#player.load(this.#session.canPlay ? this.#session.sound : null);
  }

  /** Show what the session holds by now. */
  show() {
    const { name, isLive, isOver, isOurs, duration_s, canPlay } = this.#session;
    $("result").hidden = false;
    $("name").textContent = isLive && !isOver ? name : `${name}, ${clock(duration_s)}`;
    this.#showHeadline();
    this.#showWhole();
    this.showTime();
    this.#showTables();
    $("play").hidden = isLive && !isOver;
    $("play").disabled = !canPlay;
    $("save-sound").hidden = !(isOurs && isOver);
    for (const id of ["save-json", "save-csv", "save-labels"]) $(id).disabled = !isOver;
  }

  /** Only what moves with the time. */
  showTime() {
    const { isLive, isOver, duration_s } = this.#session;
    const whole = Math.max(duration_s, 0.1);
    const end_s = Math.max(whole, LIVE_SPAN_S);
    this.#scene.show(this.#session, isLive && !isOver ? { start_s: end_s - LIVE_SPAN_S, end_s } : { start_s: 0, end_s: whole });
  }

  /** Bring it into sight. */
  goTo() {
    $("result").focus({ preventScroll: true });
    $("result").scrollIntoView({ block: "start" });
  }

  #showHeadline() {
    const { prediction, windows, segments, isLive, isOver } = this.#session;
    const scores = prediction?.scores ?? windows.at(-1)?.scores ?? {};
    const order = ranked(scores);
    const words = element("span");
    const measured = valuesInWords(prediction ? prediction.values : windows.at(-1)?.values);
    let label = null;
    if (prediction) {
      label = prediction.label;
      words.textContent = label ?? ((!prediction.reason && measured) || "No answer");
      $("explained").textContent = aboutPrediction(prediction, order, measured);
    } else if (isLive && isOver) {
      words.textContent = "Heard live";
      $("explained").textContent = `${segments.length} segment${segments.length === 1 ? "" : "s"}; press one to play it again.`;
    } else if (isLive) {
      label = order[0]?.[0] ?? null;
      words.textContent = label ?? (measured || "…");
      const spoken = label ? `expressed in the last seconds${measured ? `; ${measured}` : ""}` : "in the last seconds";
      $("explained").textContent = label || measured ? spoken : "No speech in the last seconds.";
    } else {
      words.textContent = "…";
      $("explained").textContent = "The prediction for the whole follows at the end.";
    }
    const share = element("small", { textContent: label ? percent(scores[label]) : "" });
    $("answer").className = isLive && isOver ? "plainly" : tone(label);
    $("answer").replaceChildren(words, share);
    const wrong = prediction?.label ? warnings(prediction.quality) : [];
    $("warnings").replaceChildren(...wrong.map((textContent) => element("li", { textContent })));
  }

  #showTables() {
    const { segments, canPlay, isOver } = this.#session;
    const [body] = $("segments").tBodies;
    if (body.rows.length !== segments.length || isOver) {
      const rows = segmentRows(segments, { canPlay: canPlay && isOver, onHear: (segment) => this.#hear(segment) });
      body.replaceChildren(...rows);
    }
    $("segments").hidden = !segments.length;
    $("no-segments").hidden = segments.length > 0 || !isOver;
    this.#showWindows();
  }

  #showWindows() {
    if (!$("windows-details").open) return; // there may be thousands
    const { windows, labels } = this.#session;
    const targets = targetsOf(windows);
    const heads = ["time", "speech", ...labels, ...targets].map((textContent) => element("th", { scope: "col", textContent }));
    $("windows").tHead.replaceChildren(element("tr", {}, ...heads));
    $("windows").tBodies[0].replaceChildren(...windowRows(windows, labels, targets));
  }

  #showWhole() {
    const { prediction, windows } = this.#session;
    const last = windows.at(-1);
    $("whole").hidden = true;
    this.#scene.place(null);
    if (prediction) this.#readout.show("The whole recording", prediction.scores);
    else this.#readout.show("The last seconds", last?.scores ?? {}, { aside: last ? stretch(last) : "" });
  }

  #showMoment(seconds) {
    const window = windowAt(this.#session.windows, seconds);
    const isMute = window && !Object.keys(window.scores).length;
    const title = window ? `From ${stretch(window)}` : `At ${clock(seconds)}`;
    this.#scene.place(seconds);
    this.#readout.show(title, window?.scores ?? {}, { aside: isMute ? "too little speech for a prediction" : "" });
    $("whole").hidden = !this.#session.prediction;
  }

  #play(start_s = null, end_s = Infinity) {
    this.#player.play(start_s, end_s).catch(() => complain(new Error("This browser cannot play this sound.")));
  }

  #hear(segment) {
    this.#play(segment.start_s, segment.end_s);
    tell(`${named(segment)}, ${stretch(segment)}.`);
  }

  #seek(seconds) {
    if (!this.#session?.isOver) return;
    if (this.#session.canPlay) this.#player.seek(seconds);
    this.#showMoment(seconds);
  }

  #onTime(seconds) {
    $("play").querySelector("[data-part=words]").textContent = this.#player.isPlaying ? "Pause" : "Play";
    if (this.#player.isPlaying) this.#showMoment(seconds);
  }

  async #saveLabels() {
    const [{ value, dataset }] = $("labels-format").selectedOptions;
    const { name, duration_s, segments } = this.#session;
    try {
      save(await labels({ file: name, duration_s, segments }, value), `${name}.emotions.${dataset.ending}`);
    } catch (error) {
      complain(error);
    }
  }

  #save(form, ending, type) {
    save(new Blob([form(this.#session)], { type }), `${this.#session.name}.emotions.${ending}`);
  }
}

function aboutPrediction({ label, reason }, order, measured) {
  const next = order.slice(label ? 1 : 0, 3).map(([name, p]) => `${name} ${percent(p)}`).join(", ");
  const values = measured ? ` Values: ${measured}.` : "";
  if (label) return `is the emotion expressed, most likely${next ? `; then ${next}` : ""}.${values}`;
  if (!reason && measured) return "predicted for the whole recording.";
  return why(reason) + (next ? ` Most likely would be ${next}.` : "");
}
