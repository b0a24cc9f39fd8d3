// The page: where sound comes from, what the server is asked for, and where its answers go.

import { Answer, Session } from "./answer.js";
import { clock, stretch } from "./emotions.js";
import { Microphone } from "./microphone.js";
import { announce, showError } from "./notices.js";
import { labelsWanted, options, prepareOptions, timelineOptions } from "./options.js";
import { named } from "./scene.js";
import { explain, Live, predict, Refusal, timeline } from "./server.js";
import { decode } from "./sound.js";
import { Take } from "./take.js";

const LIVE_HOP_S = 0.5; // from one live answer to the next
const DRAWN_MS = 400; // from one drawing of a long recording to the next
const OF_THE_SOUND = [400, 413, 415, 422]; // errors that name the file
const SAMPLE = {
  name: "sample.opus",
  credit: "an actor, clip 03-01-01-01-02-03-30 of BanglaSER (Das et al., 2022; CC BY 4.0)", // in full: LICENSE-WEIGHTS.md
};
const THEMES = ["system", "light", "dark"];

const $ = (id) => document.getElementById(id);
const answer = new Answer({ onWhy: explainSession });

/** Stops the current prediction or recording. */
let stop = async () => {};

// ------------------------------------------------------------------------------------------ a recording

async function predictSound(sound, name, more = {}) {
  await stop();
  const abort = new AbortController();
  stop = async () => abort.abort();
  const session = new Session(name, labelsWanted(), more);
  session.sound = sound;
  answer.open(session);
  document.querySelector(".options").open = false;
  showError(null);
  announce(`Processing ${name} …`, { isBusy: true });
  try {
    await predictSession(session, abort.signal);
    announce(`${session.headline}.`, { isSilent: true });
    answer.goTo();
  } catch (error) {
    abort.abort(); // the other request, too
    if (!answer.shows(session) || error.name === "AbortError") return;
    answer.hide();
    announce("");
    if (OF_THE_SOUND.includes(error.status)) error.message = `${name}: ${error.message}`;
    showError(error);
  }
}

/** The whole and its timeline are requested side by side: of a long recording the timeline is there at once. */
async function predictSession(session, signal) {
  const drawn = decode(session.sound).then((decoded) => {
    session.drawable = decoded;
    if (answer.shows(session)) answer.loadSound();
  });
  session.options = options();
  await Promise.all([predictWhole(session, session.options, signal), followTimeline(session, timelineOptions(), signal), drawn]);
  signal.throwIfAborted();
  session.isOver = true;
  answer.show();
}

async function predictWhole(session, wanted, signal) {
  const { predictions, model } = await predict(session.sound, wanted, signal);
  if (predictions[0].error) throw new Refusal(predictions[0].error, { status: 422 });
  session.model = model;
  session.prediction = predictions[0];
  session.duration_s = session.prediction.end_s ?? 0;
}

async function followTimeline(session, wanted, signal) {
  let at_ms = performance.now();
  for await (const { event, data } of timeline(session.sound, wanted, signal)) {
    session.add(event, data);
    if (event === "end") session.duration_s = data.duration_s;
    if (performance.now() - at_ms < DRAWN_MS) continue;
    at_ms = performance.now();
    answer.show();
    announce(`${clock(session.windows.at(-1)?.end_s ?? 0, 0)} processed …`, { isBusy: true });
  }
}

/** Which seconds decided: the model is run some 150 times, so only when it is asked for. */
async function explainSession(session) {
  const { label } = session.prediction;
  const { model, vad } = session.options;
  $("why").disabled = true;
  showError(null);
  announce(`Finding what decided for ${label} …`, { isBusy: true });
  try {
    const { explanation } = await explain(session.sound, { model, vad, label });
    session.explanation = explanation;
    announce("");
    if (answer.shows(session)) answer.show();
  } catch (error) {
    announce("");
    if (answer.shows(session)) showError(error);
  } finally {
    $("why").disabled = false;
  }
}

async function predictSample() {
  try {
    const file = await fetch(new URL("sample.opus", import.meta.url));
    await predictSound(await file.blob(), SAMPLE.name, { credit: SAMPLE.credit });
  } catch {
    showError(new Error("The sample could not be loaded. Is the server still running?"));
  }
}

// ------------------------------------------------------------------------------------------ the microphone

/** Take sound until the button is pressed again: `onPiece` gets it, `onEnd` the whole. */
async function take(button, { onPiece = () => {}, onEnd }) {
  await stop();
  showError(null);
  const taken = new Take($("meter"));
  let ended = null;
  const end = () => {
    ended ??= (async () => {
      await (await microphone)?.close();
      stop = async () => {};
      taken.end();
      press(button, false);
      await onEnd(taken);
    })();
    return ended;
  };
  stop = end;
  press(button, true);
  const onSamples = (samples, rate) => {
    taken.push(samples, rate);
    onPiece(samples, rate, taken);
  };
  const microphone = Microphone.open({ onPiece: onSamples, onLost: end }).catch((error) => {
    showError(error);
    return null;
  });
  const opened = await microphone;
  if (!opened) await end();
  else if (opened.distorted.length) {
    showError(new Error("This browser filters the microphone although it was asked not to: trust the answers less."));
  }
}

async function record() {
  if (isOn($("record"))) return stop();
  announce("Recording.", { isSilent: true });
  await take($("record"), {
    onEnd: async (taken) => {
      announce("");
      if (taken.sound()) predictSound(taken.sound(), "recording.wav", { isOurs: true });
    },
  });
}

async function goLive() {
  if (isOn($("go-live"))) return stop();
  const session = new Session("Live", labelsWanted(), { isLive: true, isOurs: true });
  const delays = [];
  let live = null;
  let taken = null;

  const onAnswer = ({ type, ...data }) => {
    if (type === "ready") session.model = data.model;
    if (type !== "window" && type !== "segment") return;
    session.add(type, data);
    if (type === "window" && isOn($("go-live"))) showDelay(delays, taken.age_ms(data.end_s));
    if (type === "segment") announce(`${named(data)}, ${stretch(data)}.`, { isSilent: true });
    if (answer.shows(session)) answer.show();
  };
  const onOver = async (refusal) => {
    live = null;
    if (refusal) showError(refusal);
    if (refusal && !session.windows.length) answer.hide();
    if (isOn($("go-live"))) await stop();
    else finish();
  };
  const finish = () => {
    if (!answer.shows(session) || session.isOver) return;
    session.isOver = true;
    session.sound = taken?.sound() ?? null;
    if (!session.sound) return;
    answer.loadSound();
    answer.show();
    announce(`${session.headline}.`, { isSilent: true });
    answer.goTo();
    decode(session.sound).then((decoded) => {
      session.drawable = decoded;
      if (answer.shows(session)) answer.showTime();
    });
  };

  document.body.classList.add("is-live");
  announce("Live.", { isSilent: true });
  await take($("go-live"), {
    onPiece: (samples, rate, all) => {
      if (!taken) {
        taken = all;
        answer.open(session);
        live = new Live({ rate, options: { ...timelineOptions(), hop: LIVE_HOP_S }, onAnswer, onEnd: onOver });
        answer.show();
      }
      session.peaks = all.peaks;
      session.duration_s = all.peaks.duration_s;
      if (live && !live.push(samples)) onOver(new Refusal("The connection is too slow for live sound."));
      if (answer.shows(session)) answer.showTime();
    },
    onEnd: async () => {
      document.body.classList.remove("is-live");
      if (live) live.finish(); // what is still to come comes before its end
      else finish();
    },
  });
}

function showDelay(delays, delay_ms) {
  if (delay_ms === null) return;
  delays.push(delay_ms);
  const sorted = delays.slice(-60).sort((a, b) => a - b);
  const median = Math.round(sorted[sorted.length >> 1]);
  $("latency").hidden = false;
  $("latency").dataset.ms = String(median);
  $("latency").textContent = `Answers come ${median} ms after their sound.`;
}

function press(button, isPressed) {
  button.classList.toggle("is-on", isPressed);
  button.querySelector("[data-part=words]").textContent = isPressed ? "Stop" : button.dataset.words;
}

function isOn(button) {
  return button.classList.contains("is-on");
}

// ------------------------------------------------------------------------------------------ the page itself

function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
}

/** A browser that keeps nothing shows a chosen theme until the page is left. */
function keptTheme() {
  try {
    return THEMES.find((name) => name === localStorage.getItem("theme")) ?? "system";
  } catch {
    return "system";
  }
}

function nextTheme() {
  const name = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  setTheme(name);
  try {
    localStorage.setItem("theme", name);
  } catch {
    // See keptTheme.
  }
}

/** A file may be dropped anywhere. */
function prepareDrop() {
  const field = $("drop");
  const on = (name, is) => document.addEventListener(name, (event) => {
    event.preventDefault();
    field.classList.toggle("is-over", is);
  });
  on("dragenter", true);
  on("dragover", true);
  on("dragleave", false);
  on("drop", false);
  document.addEventListener("drop", ({ dataTransfer }) => {
    predictFirst(dataTransfer.files);
  });
}

function predictFirst(files) {
  if (files.length) predictSound(files[0], files[0].name);
}

$("theme").addEventListener("click", nextTheme);
$("record").addEventListener("click", record);
$("go-live").addEventListener("click", goLive);
$("sample").addEventListener("click", predictSample);
$("file").addEventListener("change", ({ target }) => {
  predictFirst([...target.files]);
  target.value = ""; // the same file may be chosen again
});
setTheme(keptTheme());
prepareDrop();
prepareOptions();
