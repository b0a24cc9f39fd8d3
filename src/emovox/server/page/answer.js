// The view of a session: headline, scores, timeline, tables, and playback.

import { adapted, clock, headline, percent, ranked, stretch, targetsOf, tone, valuesInWords, warnings } from "./emotions.js";
import { announce, element, showError } from "./notices.js";
import { Readout } from "./readout.js";
import { named, Scene, windowAt } from "./scene.js";
import { labels } from "./server.js";
import { Player } from "./sound.js";
import { asCsv, asJson, save, segmentRows, windowRows } from "./tables.js";

const EXPLAINED_S = 30; // the server explains no longer sound
const LIVE_SPAN_S = 30; // of the past that is drawn
const ENDINGS = { textgrid: "TextGrid", audacity: "txt" }; // of other formats, their names

const $ = (id) => document.getElementById(id);

/** One recording or live session, and what was answered to it so far. */
export class Session {
  duration_s = 0;
  peaks = null;
  decoded = null; // see sound.js
  sound = null; // Blob
  prediction = null; // of the whole
  explanation = null; // of its label
  segments = [];
  windows = [];
  model = null;
  options = null; // of the whole
  isOver = false; // nothing more will be answered

  constructor(name, labels, { credit = "", isLive = false, isOurs = false } = {}) {
    this.name = name;
    this.labels = labels;
    this.credit = credit; // of a sample
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

  /** What was decoded of the sound, for drawings. */
  set drawable(decoded) {
    this.decoded = decoded;
    this.peaks ??= decoded?.peaks ?? null;
  }

  /** The answer in one sentence; null while there is none. */
  get headline() {
    if (this.prediction) return headline(this.prediction);
    const n = this.segments.length;
    if (this.isLive && this.isOver) return `${n} segment${n === 1 ? "" : "s"} in ${clock(this.duration_s)}`;
    const last = this.isLive ? this.windows.at(-1) : null;
    if (!last) return null;
    const { scores, values } = last;
    const label = ranked(scores)[0]?.[0];
    return headline({ label, scores, values, reason: label || values ? null : "no_speech" });
  }
}

/** The part of the page that shows the session. */
export class Answer {
  #session = null;
  #player = new Player((seconds) => this.#onTime(seconds));
  #readout = new Readout($("readout"));
  #scene = new Scene($("scene"), { onPlay: (segment) => this.#playSegment(segment), onSeek: (s) => this.#seek(s) });

  constructor({ onWhy }) {
    $("why").addEventListener("click", () => onWhy(this.#session));
    $("whole").addEventListener("click", () => this.#showWhole());
    $("play").addEventListener("click", () => (this.#player.isPlaying ? this.#player.pause() : this.#play()));
    $("windows-details").addEventListener("toggle", () => this.#session && this.#showWindows());
    $("save").addEventListener("click", () => this.#save($("format").value));
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
    $("segments").tBodies[0].replaceChildren();
    $("result").hidden = true;
  }

  hide() {
    this.#session = null;
    this.#player.load(null);
    $("result").hidden = true;
    document.body.classList.remove("is-answered");
  }

  /** The session's sound can be played from now on, if this browser can. */
  loadSound() {
    this.#player.load(this.#session.canPlay ? this.#session.sound : null);
  }

  /** Show what the session holds by now. */
  show() {
    const { name, credit, isLive, isOver, isOurs, canPlay } = this.#session;
    $("result").hidden = false;
    document.body.classList.add("is-answered"); // the upload card shrinks
    $("name").textContent = credit ? `${name}: ${credit}` : name;
    this.#showHeadline();
    this.#showWhole();
    this.showTime();
    this.#showTables();
    $("play").hidden = isLive && !isOver;
    $("why").hidden = !this.#canExplain;
    $("play").disabled = !canPlay;
    $("sound-format").hidden = $("sound-format").disabled = !isOurs;
    if (!isOurs && $("format").value === "wav") $("format").value = "json";
    $("save").disabled = !isOver;
  }

  /** Only what moves with the time. */
  showTime() {
    const { isLive, isOver, duration_s } = this.#session;
    const whole = Math.max(duration_s, 0.1);
    const end_s = Math.max(whole, LIVE_SPAN_S);
    this.#scene.show(this.#session, isLive && !isOver ? { start_s: end_s - LIVE_SPAN_S, end_s } : { start_s: 0, end_s: whole });
  }

  get #canExplain() {
    const { prediction, explanation, duration_s, isOver } = this.#session;
    return isOver && Boolean(prediction?.label) && !explanation && duration_s <= EXPLAINED_S;
  }

  /** Go to the answer: it follows the shrunken upload card, at the top. */
  goTo() {
    $("result").focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  #showHeadline() {
    const { prediction, windows, isLive, isOver, headline } = this.#session;
    const label = prediction?.label ?? (isLive && !isOver ? ranked(windows.at(-1)?.scores ?? {})[0]?.[0] : null);
    $("answer").hidden = headline === null;
    $("answer").className = label ? tone(label) : "plainly";
    $("answer").textContent = headline;
    $("facts").replaceChildren(...this.#facts());
  }

  /** Beside the answer: length, speech, adaptation, and what is wrong with the sound. */
  #facts() {
    const { prediction, windows, segments, duration_s, isLive, isOver } = this.#session;
    const facts = [];
    if (isLive && !isOver) {
      const last = windows.at(-1);
      if (last) facts.push(stretch(last), `${percent(last.speech)} speech`);
    } else if (!isLive) facts.push(clock(duration_s)); // of a live session, the headline has it
    const speech_s = prediction?.quality?.speech_s;
    if (typeof speech_s === "number" && duration_s) {
      facts.push(`${clock(speech_s)} of speech (${percent(Math.min(1, speech_s / duration_s))})`);
    }
    if (prediction?.values && prediction.label) facts.push(valuesInWords(prediction.values));
    const last = segments.findLast((each) => each.adaptation);
    if (prediction?.adaptation) facts.push(adapted(prediction.adaptation));
    if (last) facts.push(`timeline ${adapted(last.adaptation)}`);
    const wrong = (prediction?.label ? warnings(prediction.quality) : []).map((text) => [text, "wrong"]);
    return [...facts, ...wrong].map((fact) => {
      const [textContent, className] = [fact].flat();
      return element("li", { textContent, className: className ?? "" });
    });
  }

  #showTables() {
    const { segments, canPlay, isOver } = this.#session;
    const [body] = $("segments").tBodies;
    const isAdapted = segments.some((each) => each.adaptation);
    $("adapted").hidden = !isAdapted;
    if (body.rows.length !== segments.length || isOver) {
      const onPlay = (segment) => this.#playSegment(segment);
      body.replaceChildren(...segmentRows(segments, { canPlay: canPlay && isOver, isAdapted, onPlay }));
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
    const { prediction, windows, labels } = this.#session;
    const last = windows.at(-1);
    $("whole").hidden = true;
    this.#scene.place(null);
    // A model of values alone has no scores, and a silent recording neither.
    $("readout").hidden = !labels.length || (prediction !== null && !Object.keys(prediction.scores).length);
    if (prediction) this.#readout.show("The whole recording", prediction.scores);
    else this.#readout.show("The last seconds", last?.scores ?? {}, { aside: last ? stretch(last) : "" });
  }

  #showMoment(seconds) {
    const window = windowAt(this.#session.windows, seconds);
    const isMute = window && !Object.keys(window.scores).length;
    const title = window ? `From ${stretch(window)}` : `At ${clock(seconds)}`;
    const speech = window ? `${percent(window.speech)} speech` : "";
    this.#scene.place(seconds);
    this.#readout.show(title, window?.scores ?? {}, { aside: isMute ? "too little speech for a prediction" : speech });
    $("whole").hidden = !this.#session.prediction;
  }

  #play(start_s = null, end_s = Infinity) {
    this.#player.play(start_s, end_s).catch(() => showError(new Error("This browser cannot play this sound.")));
  }

  #playSegment(segment) {
    this.#play(segment.start_s, segment.end_s);
    announce(`${named(segment)}, ${stretch(segment)}.`, { isSilent: true });
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

  async #save(format) {
    const { name, sound, duration_s, segments } = this.#session;
    const file = `${name}.emotions.${ENDINGS[format] ?? format}`;
    if (format === "wav") save(sound, "recording.wav");
    else if (format === "json") save(new Blob([asJson(this.#session)], { type: "application/json" }), file);
    else if (format === "csv") save(new Blob([asCsv(this.#session)], { type: "text/csv" }), file);
    else {
      try {
        save(await labels({ file: name, duration_s, segments }, format), file);
      } catch (error) {
        showError(error);
      }
    }
  }
}
