// The page: where sound comes from, what is asked of the server, and where its answers go.

import { clock, percent, ranked, stretch, tone, warnings, why } from "./emotions.js";
import { Microphone } from "./microphone.js";
import { Readout } from "./readout.js";
import { named, Scene, windowAt } from "./scene.js";
import { Live, models, predict, Refusal, setKey, timeline } from "./server.js";
import { Peaks, peaksOf, Player, wav } from "./sound.js";
import { asCsv, asJson, save, segmentRows, windowRows } from "./tables.js";

const LIVE_SPAN_S = 30; // of the past that is drawn
const LIVE_HOP_S = 0.5; // from one live answer to the next
const LIVE_KEPT_S = 600; // of live sound that can be heard again

const $ = (id) => document.getElementById(id);
const player = new Player(onTime);
const readout = new Readout($("readout"));
const scene = new Scene($("scene"), { onHear: hear, onSeek: seek });

/** What is on the page: one recording or live session and the answers to it. */
let session = null;
/** What runs now: `{kind: "judging" | "recording" | "live", stop()}`. */
let task = null;
let known = [];

// ------------------------------------------------------------------------------------------ a recording

function newSession(name, { isLive = false } = {}) {
  const labels = chosenLabels();
  const empty = { duration_s: 0, peaks: null, sound: null, prediction: null, segments: [], windows: [], model: null };
  session = { name, labels, isLive, canPlay: false, ...empty };
  readout.labels = labels;
  player.load(null);
  scene.place(null);
  $("result").hidden = true;
  tell("");
  complain(null);
  return session;
}

async function judge(sound, name, { isOurs = false } = {}) {
  await task?.stop();
  const mine = newSession(name);
  const abort = new AbortController();
  task = { kind: "judging", stop: () => abort.abort() };
  const { signal } = abort;
  mine.sound = sound;
  tell(`Judging ${name} …`, true);
  try {
    const drawn = peaksOf(sound).then((peaks) => heardSound(mine, peaks));
    const { predictions, model } = await predict(sound, options(), signal);
    mine.model = model;
    mine.prediction = predictions[0];
    if (mine.prediction.error) throw new Refusal("The server cannot judge this sound.", { detail: mine.prediction.error });
    mine.duration_s = mine.prediction.end_s ?? 0;
    await drawn;
    showResult(mine);
    await followTimeline(mine, signal);
    showResult(mine, { isWhole: true });
    $("save-sound").hidden = !isOurs;
    tell(`Judged ${clock(mine.duration_s)} of sound: ${mine.prediction.label ?? "no answer"}.`);
    $("result").focus({ preventScroll: true });
    $("result").scrollIntoView({ behavior: "auto", block: "start" });
  } catch (error) {
    if (error.name !== "AbortError") {
      tell("");
      complain(error);
    }
  } finally {
    if (task?.kind === "judging" && session === mine) task = null;
  }
}

async function followTimeline(mine, signal) {
  let drawnAt = performance.now();
  for await (const { event, data } of timeline(mine.sound, options(), signal)) {
    if (event === "window") mine.windows.push(data);
    if (event === "segment") mine.segments.push(data);
    if (event === "end") mine.duration_s = data.duration_s;
    if (performance.now() - drawnAt > 400) {
      drawnAt = performance.now();
      showResult(mine);
      tell(`Judged ${clock(mine.windows.at(-1)?.end_s ?? 0)} of ${clock(mine.duration_s)} …`, true);
    }
  }
}

function heardSound(mine, peaks) {
  mine.peaks = peaks;
  mine.canPlay = peaks !== null || mine.sound.type.startsWith("audio/");
  if (session === mine) player.load(mine.canPlay ? mine.sound : null);
}

// ------------------------------------------------------------------------------------------ answers

function showResult(mine, { isWhole = false } = {}) {
  if (session !== mine) return;
  $("result").hidden = false;
  $("name").textContent = mine.isLive ? mine.name : `${mine.name}, ${clock(mine.duration_s)}`;
  showHeadline(mine);
  if (!mine.isLive) showWhole();
  const end_s = Math.max(mine.duration_s, mine.windows.at(-1)?.end_s ?? 0, 0.1);
  scene.show(mine, mine.isLive ? { start_s: Math.max(0, end_s - LIVE_SPAN_S), end_s: Math.max(end_s, LIVE_SPAN_S) } : { start_s: 0, end_s });
  showTables(mine, isWhole);
  $("play").disabled = !mine.canPlay;
  $("play").hidden = mine.isLive;
}

function showHeadline({ prediction, windows, segments, isLive }) {
  const scores = prediction?.scores ?? windows.at(-1)?.scores ?? {};
  const order = ranked(scores);
  const label = prediction ? prediction.label : isLive ? order[0]?.[0] : segments.at(-1)?.label;
  const answer = $("answer");
  answer.className = tone(label ?? null);
  const share = document.createElement("small");
  share.textContent = label && scores[label] !== undefined ? percent(scores[label]) : "";
  answer.replaceChildren(label ?? (isLive ? "…" : "No answer"), share);
  $("explained").textContent = explained(prediction, order, isLive);
  const wrong = label || isLive ? warnings(prediction?.quality) : [];
  $("warnings").replaceChildren(...wrong.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function explained(prediction, order, isLive) {
  if (isLive) return order.length ? "expressed in the last seconds" : "Nothing to judge in the last seconds.";
  if (!prediction) return "";
  const next = order.slice(prediction.label ? 1 : 0, 3).map(([name, p]) => `${name} ${percent(p)}`).join(", ");
  if (prediction.label) return `is the emotion expressed, most likely${next ? `; then ${next}` : ""}.`;
  return why(prediction.reason) + (next ? ` Most likely would be ${next}.` : "");
}

function showTables(mine, isWhole) {
  $("segments").tBodies[0].replaceChildren(...segmentRows(mine.segments, { canPlay: mine.canPlay && !mine.isLive, onHear: hear }));
  $("segments").hidden = !mine.segments.length;
  $("no-segments").hidden = mine.segments.length > 0 || !isWhole;
  for (const id of ["save-json", "save-csv"]) $(id).disabled = !isWhole;
  $("save-sound").hidden = true;
  if ($("windows-details").open || !isWhole) showWindows(mine);
}

function showWindows({ windows, labels }) {
  if (!$("windows-details").open) return;
  const heads = ["from", "to", "speech", ...labels];
  const row = document.createElement("tr");
  row.append(...heads.map((text) => Object.assign(document.createElement("th"), { scope: "col", textContent: text })));
  $("windows").tHead.replaceChildren(row);
  $("windows").tBodies[0].replaceChildren(...windowRows(windows, labels));
}

function showWhole() {
  $("whole").hidden = true;
  scene.place(null);
  if (session.prediction) {
    readout.show("The whole recording", session.prediction.scores);
  } else {
    const last = session.windows.at(-1);
    readout.show("The last seconds", last?.scores ?? {}, { aside: last ? stretch(last) : "" });
  }
}

function showMoment(seconds) {
  const window = windowAt(session.windows, seconds);
  const aside = window && !Object.keys(window.scores).length ? "too little speech to judge" : "";
  scene.place(seconds);
  readout.show(window ? `From ${stretch(window)}` : `At ${clock(seconds)}`, window?.scores ?? {}, { aside });
  $("whole").hidden = !session.prediction;
}

// ------------------------------------------------------------------------------------------ hearing

function hear(segment) {
  player.play(segment.start_s, segment.end_s).catch(() => complain(new Error("This browser cannot play this sound.")));
  showMoment((segment.start_s + segment.end_s) / 2);
  tell(`${named(segment)}, ${stretch(segment)}.`);
}

function seek(seconds) {
  if (!session || session.isLive) return;
  if (session.canPlay) player.seek(seconds);
  showMoment(seconds);
}

function onTime(seconds) {
  $("play").querySelector("[data-part=words]").textContent = player.isPlaying ? "Pause" : "Play";
  if (player.isPlaying && session && !session.isLive) showMoment(seconds);
}

// ------------------------------------------------------------------------------------------ the microphone

/** Sound that comes in: its pieces, its peaks, how long and how loud it is. */
class Take {
  pieces = [];
  arrivals = []; // when each piece had come, ms
  peaks = null;

  constructor(meter) {
    this.meter = meter;
    meter.hidden = false;
  }

  push(samples, rate) {
    this.peaks ??= new Peaks(rate);
    this.peaks.push(samples, 32768);
    if (this.peaks.duration_s <= LIVE_KEPT_S) this.pieces.push(samples);
    this.arrivals.push({ end_s: this.peaks.duration_s, at_ms: performance.now() });
    if (this.arrivals.length > 600) this.arrivals.shift();
    const level = this.peaks.between(this.peaks.duration_s - 0.1, this.peaks.duration_s);
    this.meter.querySelector("[data-part=level]").style.transform = `scaleX(${Math.sqrt(level)})`;
    this.meter.querySelector("[data-part=clock]").textContent = clock(this.peaks.duration_s, 0);
  }

  /** Milliseconds since the sound at `end_s` was heard; it may have waited for the end of its piece. */
  age(end_s) {
    const piece = this.arrivals.find((each) => each.end_s >= end_s - 1e-6);
    return piece ? performance.now() - piece.at_ms + 1000 * (piece.end_s - end_s) : null;
  }

  end() {
    this.meter.hidden = true;
  }
}

async function openMicrophone(button, take, onPiece, onLost) {
  const microphone = await Microphone.open({ onPiece, onLost });
  if (microphone.distorted.length) {
    complain(new Error("This browser changes the voice all the same (noise suppression or the like): trust the answers less."));
  }
  press(button, true);
  return microphone;
}

async function record() {
  if (task?.kind === "recording") return task.stop();
  await task?.stop();
  complain(null);
  const take = new Take($("record-meter"));
  let microphone = null;
  const stop = async () => {
    task = null;
    await microphone?.close();
    press($("record"), false, "Record");
    take.end();
    if (take.pieces.length) judge(wav(take.pieces, microphone.rate), "recording.wav", { isOurs: true });
  };
  task = { kind: "recording", stop };
  try {
    microphone = await openMicrophone($("record"), take, (samples, rate) => take.push(samples, rate), stop);
    press($("record"), true, "Stop");
    tell("Recording.");
  } catch (error) {
    task = null;
    take.end();
    complain(error);
  }
}

async function goLive() {
  if (task?.kind === "live") return task.stop();
  await task?.stop();
  const take = new Take($("live-meter"));
  const mine = newSession("Live", { isLive: true });
  const delays = [];
  let microphone = null;
  let live = null;
  let isOver = false;

  const stop = async () => {
    if (isOver) return;
    isOver = true;
    await microphone?.close();
    live?.finish();
    press($("go-live"), false, "Start");
    take.end();
  };
  const onEnd = async (refusal) => {
    await stop();
    if (task?.stop === stop) task = null;
    if (refusal) complain(refusal);
    endLive(mine, take, microphone);
  };
  const onAnswer = (message) => {
    if (message.type === "ready") mine.model = message.model;
    if (message.type === "window") {
      mine.windows.push(message);
      if (!isOver) showLatency(delays, take.age(message.end_s));
    }
    if (message.type === "segment") mine.segments.push(message);
    if (message.type === "window" || message.type === "segment") {
      showResult(mine);
      showWhole();
    }
    if (message.type === "segment") tell(`${named(message)}, ${stretch(message)}.`);
  };
  const onPiece = (samples, rate) => {
    take.push(samples, rate);
    mine.peaks = take.peaks;
    mine.duration_s = take.peaks.duration_s;
    if (!live.push(samples)) onEnd(new Refusal("The connection is too slow for live sound."));
    showLiveScene(mine);
  };

  task = { kind: "live", stop };
  try {
    // The samples of the moment before the socket is open wait in `early`.
    const early = [];
    microphone = await openMicrophone($("go-live"), take, (...piece) => (live ? onPiece(...piece) : early.push(piece)), stop);
    press($("go-live"), true, "Stop");
    live = new Live({ rate: microphone.rate, options: { ...options(), hop: LIVE_HOP_S }, onAnswer, onEnd });
    early.forEach((piece) => onPiece(...piece));
    tell("Listening.");
    showResult(mine);
    showWhole();
  } catch (error) {
    isOver = true;
    task = null;
    take.end();
    complain(error);
  }
}

function showLiveScene(mine) {
  const end_s = Math.max(mine.duration_s, LIVE_SPAN_S);
  if (session === mine) scene.show(mine, { start_s: end_s - LIVE_SPAN_S, end_s });
}

function showLatency(delays, delay_ms) {
  if (delay_ms === null) return;
  delays.push(delay_ms);
  const sorted = delays.slice(-60).sort((a, b) => a - b);
  $("latency").hidden = false;
  $("latency").textContent = `Answers come ${Math.round(sorted[sorted.length >> 1])} ms after their sound.`;
  $("latency").dataset.ms = String(Math.round(sorted[sorted.length >> 1]));
}

/** The live session is over: its sound can be heard again, as far as it was kept. */
function endLive(mine, take, microphone) {
  if (session !== mine || !take.peaks) return;
  mine.isLive = false;
  mine.sound = wav(take.pieces, microphone.rate);
  mine.canPlay = true;
  player.load(mine.sound);
  showResult(mine, { isWhole: true });
  $("save-sound").hidden = false;
  tell(`Heard ${clock(mine.duration_s)}: ${mine.segments.length} segment${mine.segments.length === 1 ? "" : "s"}.`);
}

function press(button, isOn, words = null) {
  button.classList.toggle("is-on", isOn);
  document.body.classList.toggle("is-live", isOn && button.id === "go-live");
  if (words) button.querySelector("[data-part=words]").textContent = words;
}

// ------------------------------------------------------------------------------------------ words

function tell(text, isBusy = false) {
  $("status").textContent = text;
  $("status").classList.toggle("is-busy", isBusy);
}

function complain(error) {
  $("alert").replaceChildren();
  if (!error) return;
  if (error.status === 401) $("key-form").hidden = false;
  const box = document.createElement("div");
  box.className = "alert";
  box.append(Object.assign(document.createElement("p"), { textContent: error.message }));
  if (error.detail) {
    box.append(Object.assign(document.createElement("p"), { className: "quiet", textContent: error.detail }));
  }
  $("alert").append(box);
}

// ------------------------------------------------------------------------------------------ options

function options() {
  const form = new FormData($("options"));
  const labels = chosenLabels();
  const all = model()?.labels.length === labels.length;
  return { model: form.get("model"), labels: all ? null : labels.join(","), vad: form.get("vad") ? "on" : "off" };
}

function model() {
  return known.find((each) => each.name === $("which").value) ?? known[0];
}

function chosenLabels() {
  const all = model()?.labels ?? [];
  const chosen = all.filter((label) => $("labels").querySelector(`[value="${label}"]`)?.checked);
  return chosen.length > 1 ? chosen : all;
}

function showLabels() {
  $("about").textContent = model()?.description ?? "";
  $("labels").replaceChildren(
    ...(model()?.labels ?? []).map((label) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: label, checked: true });
      const chip = document.createElement("label");
      chip.append(box, label);
      return chip;
    }),
  );
}

async function learnModels() {
  try {
    const told = await models();
    known = told.models;
    $("which").replaceChildren(...known.map(({ name }) => new Option(name, name, false, name === told.default)));
    $("model").textContent = `${told.default} · ${known.find(({ name }) => name === told.default)?.labels.length ?? 0} emotions`;
    $("key-form").hidden = true;
    showLabels();
  } catch (error) {
    complain(error);
  }
}

// ------------------------------------------------------------------------------------------ the page itself

const THEMES = ["system", "light", "dark"];

function setTheme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // A browser that keeps nothing shows the chosen theme until the page is left.
  }
}

function choose(tab) {
  for (const each of document.querySelectorAll("[role=tab]")) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
  if (task?.kind !== "judging") task?.stop();
}

function listen() {
  $("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowRight" && key !== "ArrowLeft") return;
      const other = tabs[1 - tabs.indexOf(tab)];
      choose(other);
      other.focus();
    });
  }
  $("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) judge(file, file.name);
  });
  $("record").addEventListener("click", record);
  $("go-live").addEventListener("click", goLive);
  $("whole").addEventListener("click", showWhole);
  $("play").addEventListener("click", () => {
    if (player.isPlaying) player.pause();
    else player.play().catch(() => complain(new Error("This browser cannot play this sound.")));
  });
  $("which").addEventListener("change", showLabels);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("windows-details").addEventListener("toggle", () => session && showWindows(session));
  $("save-json").addEventListener("click", () => save(asJson(session), `${session.name}.emotions.json`, "application/json"));
  $("save-csv").addEventListener("click", () => save(asCsv(session), `${session.name}.emotions.csv`, "text/csv"));
  $("save-sound").addEventListener("click", () => save(session.sound, session.name.endsWith(".wav") ? session.name : `${session.name}.wav`));
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value);
    $("key").value = "";
    complain(null);
    learnModels();
  });
  const drop = $("recording");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("is-over");
    });
  }
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => drop.classList.remove("is-over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (!file) return;
    choose($("tab-recording"));
    judge(file, file.name);
  });
}

try {
  setTheme(localStorage.getItem("theme") ?? "system");
} catch {
  setTheme("system");
}
listen();
learnModels();
