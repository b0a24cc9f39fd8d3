// The page: a recording or the microphone in, label and probabilities out.

import { load } from "./emovox.js";

const $ = (id) => document.getElementById(id);
const REASONS = {
  silence: "the recording is silent", no_speech: "no speech was found", too_short: "too little sound", uncertain: "too uncertain",
};
let model = null;
let live = null;

function show(name, answer) {
  $("result").hidden = false;
  $("name").textContent = name;
  $("answer").textContent = answer.label
    ? `Most likely: ${answer.label} (${Math.round(100 * answer.scores[answer.label])}\u00a0%)`
    : `No answer: ${REASONS[answer.reason] ?? "the model abstains"}`;
  $("note").textContent = (answer.quality?.warnings ?? []).join(", ").replaceAll("_", " ");
  const rows = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]);
  $("bars").replaceChildren(...rows.flatMap(([label, share]) => {
    const [term, track, bar, value] = ["dt", "dd", "i", "dd"].map((tag) => document.createElement(tag));
    term.textContent = label;
    track.className = "track";
    track.setAttribute("aria-hidden", "true");
    bar.style.width = `${100 * share}%`;
    track.append(bar);
    value.className = "share";
    value.textContent = share.toFixed(2);
    return [term, track, value];
  }));
}

function report(error) {
  const box = document.createElement("p");
  box.className = "alert";
  box.textContent = error?.message ?? String(error);
  $("alert").replaceChildren(box);
}

function state(text) {
  $("state").textContent = text;
}

async function predict(file) {
  $("alert").replaceChildren();
  state(`Predicting ${file.name} …`);
  try {
    const start = performance.now(), answer = await model.predict(file);
    show(file.name, answer);
    state(`${answer.end_s.toFixed(1)} s of sound in ${Math.round(performance.now() - start)} ms.`);
  } catch (error) {
    report(error);
    state("Ready.");
  }
}

async function start() {
  $("alert").replaceChildren();
  // Filters change the voice that is to be classified.
  const wanted = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 } };
  const media = await navigator.mediaDevices.getUserMedia(wanted);
  const context = new AudioContext();
  await context.audioWorklet.addModule("worklet.js");
  const source = context.createMediaStreamSource(media), node = new AudioWorkletNode(context, "capture");
  const stream = model.stream({ sampleRate: context.sampleRate });
  let seconds = 0, done = 0;
  node.port.onmessage = async ({ data }) => {
    seconds += data.length / context.sampleRate;
    $("meter").firstElementChild.style.transform = `scaleX(${Math.min(1, 4 * Math.max(...data.map(Math.abs)))})`;
    try {
      showLive(await stream.push(data));
    } catch (error) {
      report(error);
    }
    done += data.length / context.sampleRate;
    const behind = seconds - done;
    const lag = behind > 2 ? ` This device is too slow for the model, ${behind.toFixed(0)} s behind.` : "";
    if (live) state(`Listening, ${seconds.toFixed(0)} s. Nothing is kept.${lag}`);
  };
  source.connect(node);
  live = async () => {
    live = null;
    media.getTracks().forEach((track) => track.stop());
    node.port.onmessage = null;
    await context.close();
    showLive(await stream.flush());
    state(`Stopped after ${seconds.toFixed(0)} s.`);
  };
}

function showLive(answers) {
  for (const answer of answers) {
    if (answer.type !== "window") continue;
    const [label, confidence] = Object.entries(answer.scores).sort((a, b) => b[1] - a[1])[0] ?? [null, null];
    const isSure = confidence !== null && confidence >= model.spec.abstain.confidence;
    const reason = label === null ? "no_speech" : isSure ? null : "uncertain";
    show(`${answer.start_s.toFixed(0)} to ${answer.end_s.toFixed(0)} s`, { ...answer, label: isSure ? label : null, reason, confidence });
  }
}

async function toggle() {
  $("live").disabled = true;
  try {
    await (live ? live() : start());
  } catch (error) {
    report(error.name === "NotAllowedError" ? new Error("The microphone is not allowed; allow it in the browser's settings.") : error);
  }
  $("live").disabled = false;
  $("live").textContent = live ? "Stop" : "Speak live";
  $("meter").hidden = !live;
}

async function open() {
  if ("serviceWorker" in navigator) await navigator.serviceWorker.register("service-worker.js").catch(report);
  model = await load();
  window.emovox = model; // for the console
  $("file").disabled = $("live").disabled = false;
  state("Ready. Drop a recording here, or speak.");
  $("file").addEventListener("change", async () => {
    for (const file of $("file").files) await predict(file);
    $("file").value = "";
  });
  $("live").addEventListener("click", toggle);
  const drop = $("drop");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("is-over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => event.dataTransfer.files[0] && predict(event.dataTransfer.files[0]));
}

open().catch((error) => {
  report(error);
  state("The model could not be loaded.");
});
