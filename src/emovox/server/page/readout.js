// Scores of one answer: a radar and a bar for each emotion; they glide from one answer to the next.

import { radar, svg } from "./drawings.js";
import { percent, ranked, tone } from "./emotions.js";
import { element } from "./notices.js";

const SIZE = 320;
const GLIDE_MS = 280;

/** Draws into `root`. */
export class Readout {
  #root;
  #labels = [];
  #scores = null;
  #shown = {}; // on its way to the scores
  #glide = 0;

  constructor(root) {
    this.#root = root;
  }

  /** The emotions that can be answered; one bar each. */
  set labels(labels) {
    if (labels.join() === this.#labels.join()) return;
    this.#labels = labels;
    this.#scores = null;
    this.#shown = {};
    this.#part("bars").replaceChildren(...labels.map(row));
  }

  /** Show scores, which may be empty, under a title. */
  show(title, scores, { aside = "" } = {}) {
    if (scores === this.#scores && title === this.#part("title").textContent) return;
    this.#scores = scores;
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
    for (const line of this.#part("bars").children) {
      const p = scores[line.dataset.label];
      line.classList.toggle("best", line.dataset.label === best);
      line.querySelector("dd span").style.transform = `scaleX(${p ?? 0})`;
      line.querySelector("dd b").textContent = p === undefined ? "–" : percent(p);
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
  const track = element("i", {}, element("span"));
  const made = element("div", { className: tone(label) }, element("dt", {}, label), element("dd", {}, track, element("b")));
  made.dataset.label = label;
  return made;
}
