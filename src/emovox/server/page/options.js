// What does the person want of the server: which model, which emotions, speech only?

import { complain, element } from "./notices.js";
import { models, setKey } from "./server.js";

const $ = (id) => document.getElementById(id);
let known = [];

/** What a request asks for; null is as the server has it. */
export function options() {
  const labels = labelsWanted();
  const isAll = labels.length === model()?.labels.length;
  return {
    model: $("which").value || null,
    labels: isAll ? null : labels.join(","),
    vad: $("options").elements.vad.checked ? "on" : "off",
  };
}

/** The emotions that may be answered: at least two, else all. */
export function labelsWanted() {
  const wanted = [...$("labels").querySelectorAll(":checked")].map((box) => box.value);
  return wanted.length > 1 ? wanted : (model()?.labels ?? []);
}

/** Ask the server for its models, once now and again when a key was typed in. */
export function prepareOptions() {
  $("which").addEventListener("change", showModel);
  $("options").addEventListener("submit", (event) => event.preventDefault());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value);
    $("key").value = "";
    complain(null);
    learn();
  });
  learn();
}

async function learn() {
  try {
    const told = await models();
    known = told.models;
    $("which").replaceChildren(...known.map(({ name }) => new Option(name, name, false, name === told.default)));
    $("key-form").hidden = true;
    showModel();
  } catch (error) {
    complain(error);
  }
}

function model() {
  return known.find(({ name }) => name === $("which").value) ?? known[0];
}

function showModel() {
  const { name, labels, targets, description } = model();
  const predicted = [...(labels.length ? [`${labels.length} emotions`] : []), ...(targets ?? [])];
  $("model").textContent = `${name}, ${predicted.join(", ")}`;
  $("about").textContent = description ?? "";
  const boxes = labels.map((label) => element("input", { type: "checkbox", value: label, checked: true }));
  $("labels").replaceChildren(...boxes.map((box) => element("label", {}, box, box.value)));
}
