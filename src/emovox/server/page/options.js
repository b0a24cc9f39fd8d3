// The options of the user: model, emotions, speech detection, adaptation.

import { element, showError } from "./notices.js";
import { models, setKey } from "./server.js";

const $ = (id) => document.getElementById(id);
let known = [];
let newestLoad = 0;

/** Options of `v1/predict`; null is the server's default. */
export function options() {
  const labels = labelsWanted();
  const isAll = labels.length === model()?.labels.length;
  return {
    model: $("which").value || null,
    labels: isAll ? null : labels.join(","),
    vad: $("options").elements.vad.checked ? "on" : "off",
  };
}

/** Options of what is answered over time: as for a whole recording, and adaptation, which needs time. */
export function timelineOptions() {
  const isAdapting = Boolean(model()?.takes_profile) && $("options").elements.adapt.checked;
  return isAdapting ? { ...options(), adapt: true } : options();
}

/** The emotions that may be answered: at least two, else all. */
export function labelsWanted() {
  const wanted = [...$("labels").querySelectorAll(":checked")].map((box) => box.value);
  return wanted.length > 1 ? wanted : (model()?.labels ?? []);
}

/** Load the models of the server, once now and again when a key was typed in. */
export function prepareOptions() {
  $("which").addEventListener("change", showModel);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value);
    $("key").value = "";
    showError(null);
    loadModels();
  });
  loadModels();
}

async function loadModels() {
  const load = ++newestLoad;
  try {
    const listed = await models();
    if (load !== newestLoad) return;
    known = listed.models;
    $("which").replaceChildren(...known.map(({ name }) => new Option(name, name, false, name === listed.default)));
    $("key-form").hidden = true;
    showModel();
  } catch (error) {
    if (load === newestLoad) showError(error); // else a refused key that has been replaced since
  }
}

function model() {
  return known.find(({ name }) => name === $("which").value) ?? known[0];
}

function showModel() {
  const { name, labels, targets, description, takes_profile } = model();
  const predicted = [...(labels.length ? [`${labels.length} emotions`] : []), ...(targets ?? [])];
  $("model").textContent = `${name}, ${predicted.join(", ")}`;
  $("about").textContent = description ?? "";
  $("adapt-line").hidden = !takes_profile;
  const boxes = labels.map((label) => element("input", { type: "checkbox", value: label, checked: true }));
  $("labels").replaceChildren(...boxes.map((box) => element("label", {}, box, box.value)));
}
