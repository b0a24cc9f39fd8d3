// What is expressed now? A radar and a bar an emotion; they glide from one answer to the next.

import { radar, svg } from "./drawings.js";
import { percent, ranked, tone } from "./emotions.js";

const SIZE = 320;
const GLIDE_MS = 280;

/** Draws into `root`. */
export class Readout {
  #root;
  #labels = [];
  #shown = {};
  #glide = 0;

  constructor(root) {
    this.#root = root;
  }

  /** The emotions that can be answered; one bar each. */
  set labels(labels) {
    if (labels.join() === this.#labels.join()) return;
    this.#labels = labels;
    this.#shown = {};
    this.#part("bars").replaceChildren(...labels.map(row));
  }

  /** Show scores, which may be empty, under a title. */
  show(title, scores, { aside = "" } = {}) {
    this.#part("title").textContent = title;
    this.#part("aside").textContent = aside;
    const order = ranked(scores);
    const words = order.slice(0, 3).map(([label, p]) => `${label} ${percent(p)}`);
    this.#part("radar").dataset.words = words.join(", ") || "no scores";
    this.#bars(scores, order[0]?.[0]);
    this.#glideTo(scores);
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #bars(scores, best) {
    for (const element of this.#part("bars").children) {
      const p = scores[element.dataset.label];
      element.classList.toggle("best", element.dataset.label === best);
      element.querySelector("dd span").style.transform = `scaleX(${p ?? 0})`;
      element.querySelector("dd b").textContent = p === undefined ? "–" : percent(p);
    }
  }

  #glideTo(scores) {
    cancelAnimationFrame(this.#glide);
    const from = this.#shown;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || !Object.keys(from).length || !Object.keys(scores).length;
    const began = performance.now();
    const step = (now) => {
      const share = calm ? 1 : Math.min(1, Math.max(0, (now - began) / GLIDE_MS));
      const eased = 1 - (1 - share) ** 3;
      this.#shown = Object.fromEntries(
        Object.entries(scores).map(([label, p]) => [label, (from[label] ?? 0) + eased * (p - (from[label] ?? 0))]),
      );
      this.#draw();
      if (share < 1) this.#glide = requestAnimationFrame(step);
    };
    step(began);
  }

  #draw() {
    const root = this.#part("radar");
    root.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
    const words = svg("title", {}, `Radar: ${root.dataset.words}`);
    root.replaceChildren(words, ...radar({ size: SIZE, labels: this.#labels, scores: this.#shown }));
  }
}

function row(label) {
  const element = document.createElement("div");
  element.className = tone(label);
  element.dataset.label = label;
  const name = document.createElement("dt");
  name.textContent = label;
  const value = document.createElement("dd");
  const track = document.createElement("i");
  track.append(document.createElement("span"));
  value.append(track, document.createElement("b"));
  element.append(name, value);
  return element;
}
