// What was expressed when? Segments, waveform and curves over one axis of time, and a place on it.

import { curves, middle, svg, ticks, waveform } from "./drawings.js";
import { clock, percent, ranked, stretch, tone, valuesInWords, why } from "./emotions.js";
import { element } from "./notices.js";

const CURVES_HEIGHT = 168;
const WAVE_HEIGHT = 88;
const LETTER = 8; // pixels, about
const MAX_STOPS = 40; // more segments than this are reached through the table, not by tabbing through the picture

/** Draws into the figure `root`; `onHear(segment)` and `onSeek(seconds)` tell what was asked for. */
export class Scene {
  #root;
  #session = null;
  #span = { start_s: 0, end_s: 1 };
  #place_s = null;
  #isDue = false;

  constructor(root, { onHear, onSeek }) {
    this.#root = root;
    this.onHear = onHear;
    this.#part("place").addEventListener("input", ({ target }) => onSeek(Number(target.value)));
    this.#part("wave").addEventListener("click", (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      onSeek(this.#span.start_s + share * (this.#span.end_s - this.#span.start_s));
    });
    new ResizeObserver(() => this.show()).observe(root);
  }

  /** Show a session (see answer.js) over a stretch of time; drawn at the next frame. */
  show(session = this.#session, span = this.#span) {
    this.#session = session;
    this.#span = span;
    if (this.#isDue || !session) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  /** Put the cursor at a time, or nowhere. */
  place(seconds) {
    this.#place_s = seconds;
    const { start_s, end_s } = this.#span;
    const cursor = this.#part("cursor");
    cursor.hidden = seconds === null;
    const input = this.#part("place");
    input.value = String(seconds ?? 0);
    if (seconds === null) return;
    cursor.style.left = `${(100 * (seconds - start_s)) / (end_s - start_s)}%`;
    const window = this.#session && windowAt(this.#session.windows, seconds);
    input.setAttribute("aria-valuetext", `${clock(seconds)}, ${window ? inWords(window) : "no answer"}`);
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #draw() {
    const { segments, windows, peaks, labels, isOver } = this.#session;
    const span = this.#span;
    const width = Math.max(240, this.#part("wave").clientWidth);
    const shown = segments.filter((each) => each.end_s > span.start_s && each.start_s < span.end_s);
    const said = (s) => shown.find((each) => each.start_s <= s && s < each.end_s)?.label ?? null;
    this.#fill("wave", width, WAVE_HEIGHT, waveform({ width, height: WAVE_HEIGHT, span, peaks, said }));
    const drawn = [
      ...ticks({ width, height: CURVES_HEIGHT, span }),
      ...curves({ width, height: CURVES_HEIGHT, span, windows, labels }),
    ];
    this.#fill("curves", width, CURVES_HEIGHT, drawn);
    this.#lane(shown);
    const input = this.#part("place");
    input.min = String(span.start_s);
    input.max = String(span.end_s);
    input.hidden = !isOver;
    this.#part("summary").textContent = summary(this.#session);
    this.#part("note").textContent = !peaks && isOver ? "This browser cannot draw this kind of sound." : "";
    this.place(this.#place_s);
  }

  #fill(name, width, height, drawn) {
    const root = this.#part(name);
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.replaceChildren(svg("title", {}, root.dataset.title), ...drawn);
  }

  #lane(shown) {
    const { start_s, end_s } = this.#span;
    const share = (s) => (100 * (Math.min(end_s, Math.max(start_s, s)) - start_s)) / (end_s - start_s);
    const lane = this.#part("lane");
    // Buttons are kept while their segment stays, so that the focus does.
    const kept = new Map([...lane.children].map((button) => [button.dataset.key, button]));
    const buttons = shown.map((segment) => {
      const key = `${segment.start_s}-${segment.end_s}-${segment.label}`;
      const button = kept.get(key) ?? this.#button(segment, key);
      button.style.left = `${share(segment.start_s)}%`;
      const wide = share(segment.end_s) - share(segment.start_s);
      button.style.width = `${wide}%`;
      const name = segment.label ?? ((!segment.reason && valuesInWords(segment.values)) || "?");
      button.textContent = (wide * lane.clientWidth) / 100 > LETTER * name.length + 12 ? name : "";
      button.tabIndex = shown.length > MAX_STOPS ? -1 : 0;
      button.disabled = !this.#session.canPlay || !this.#session.isOver;
      return button;
    });
    if (buttons.length !== lane.children.length || buttons.some((button, k) => button !== lane.children[k])) {
      lane.replaceChildren(...buttons);
    }
  }

  #button(segment, key) {
    const button = element("button", { type: "button", className: `stretch ${tone(segment.label)}` });
    button.dataset.key = key;
    button.setAttribute("aria-label", `${named(segment)}, ${stretch(segment)}: play it`);
    button.addEventListener("click", () => this.onHear(segment));
    return button;
  }
}

/** The window whose middle is nearest to a time that it holds. */
export function windowAt(windows, seconds) {
  let best = null;
  for (const window of windows) {
    if (window.start_s > seconds || window.end_s < seconds) continue;
    if (!best || Math.abs(middle(window) - seconds) < Math.abs(middle(best) - seconds)) best = window;
  }
  return best;
}

/** The label of a segment and how sure it is, or that there is none. */
export function named(segment) {
  if (segment.label) return `${segment.label}, ${percent(segment.confidence)}`;
  return (!segment.reason && valuesInWords(segment.values)) || `no answer (${why(segment.reason)})`;
}

function inWords({ scores, values }) {
  const [first] = ranked(scores);
  return first ? `${first[0]} ${percent(first[1])}` : valuesInWords(values) || "no answer";
}

function summary({ segments, windows, duration_s, isLive, isOver }) {
  if (isLive && !isOver) return windows.length ? "Listening; the last half minute is shown." : "Listening for the first sounds.";
  const told = segments.slice(0, 12).map((each) => `${named(each)} from ${stretch(each)}`);
  const more = segments.length > 12 ? `; and ${segments.length - 12} more, all in the table below` : "";
  const heard = told.length ? `${told.join("; ")}${more}.` : "No segment of speech was found.";
  return `${clock(duration_s ?? 0)} of sound. ${heard}`;
}
