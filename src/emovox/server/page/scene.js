// The picture of a session over time: segments, waveform, spectrogram and probabilities, and a position on it.

import { drops, middle, STRIP, strips, svg, waveform } from "./drawings.js";
import { clock, percent, ranked, stretch, tone, valuesInWords, why } from "./emotions.js";
import { element } from "./notices.js";
import { drawSpectrogram } from "./spectrogram.js";

const WAVE_HEIGHT = 64;
const WHY_HEIGHT = 44;
const NAMED_WIDTH = 48; // pixels; narrower segments have no label
const SMALL = 0.05; // emotions that stay below have no strip
const MAX_STOPS = 40; // more segments than this are reached through the table, not by tabbing through the picture

/** Draws into the figure `root`; `onPlay(segment)` and `onSeek(seconds)` are called when the user asks for it. */
export class Scene {
  #root;
  #session = null;
  #span = { start_s: 0, end_s: 1 };
  #position_s = null;
  #isDue = false;
  #drawn = ""; // what the spectrogram shows; drawing it takes longer than the rest

  constructor(root, { onPlay, onSeek }) {
    this.#root = root;
    this.onPlay = onPlay;
    this.#part("place").addEventListener("input", ({ target }) => onSeek(Number(target.value)));
    this.#part("tracks").addEventListener("click", (event) => {
      if (event.target.closest(".stretch")) return;
      const box = event.currentTarget.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      onSeek(this.#span.start_s + share * (this.#span.end_s - this.#span.start_s));
    });
    new ResizeObserver(() => this.show()).observe(root);
    // A canvas does not follow the theme by itself.
    new MutationObserver(() => this.show()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
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
    this.#position_s = seconds;
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
    const { segments, windows, peaks, isOver } = this.#session;
    const span = this.#span;
    const width = Math.max(160, this.#part("wave").clientWidth);
    const shown = segments.filter((each) => each.end_s > span.start_s && each.start_s < span.end_s);
    const labelAt = (s) => shown.find((each) => each.start_s <= s && s < each.end_s)?.label ?? null;
    this.#fill("wave", width, WAVE_HEIGHT, waveform({ width, height: WAVE_HEIGHT, span, peaks, labelAt }));
    this.#drawSpectrogram();
    this.#drawExplanation(width);
    const { rows, small } = rowsOf(this.#session);
    const drawn = strips({ width, span, windows, rows });
    const height = rows.length * STRIP + 20;
    this.#part("strips").style.height = `${height}px`;
    this.#fill("strips", width, height, drawn);
    this.#nameRows(rows);
    this.#lane(shown);
    const input = this.#part("place");
    input.min = String(span.start_s);
    input.max = String(span.end_s);
    input.hidden = !isOver;
    this.#part("summary").textContent = summary(this.#session);
    const notes = [
      !peaks && isOver ? "This browser cannot draw this kind of sound." : "",
      "Each strip is from 0 to 100\u00a0%.",
      whyInWords(this.#session.explanation),
      small.length ? `Always below ${percent(SMALL)}: ${small.join(", ")}.` : "",
    ];
    this.#part("note").textContent = notes.filter(Boolean).join(" ");
    this.place(this.#position_s);
  }

  #fill(name, width, height, drawn) {
    const root = this.#part(name);
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.replaceChildren(svg("title", {}, root.dataset.title), ...drawn);
  }

  #drawExplanation(width) {
    const { explanation } = this.#session;
    this.#part("why").toggleAttribute("hidden", !explanation);
    if (explanation) this.#fill("why", width, WHY_HEIGHT, drops({ width, height: WHY_HEIGHT, span: this.#span, explanation }));
  }

  #drawSpectrogram() {
    const canvas = this.#part("spectrogram");
    const { decoded, isLive, isOver } = this.#session;
    canvas.hidden = !decoded || (isLive && !isOver);
    if (canvas.hidden || !canvas.clientWidth) return; // not shown yet
    const { start_s, end_s } = this.#span;
    const key = [decoded.id, start_s, end_s, canvas.clientWidth, getComputedStyle(canvas).color].join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    drawSpectrogram(canvas, decoded, this.#span);
  }

  #nameRows(rows) {
    const hasSpectrogram = !this.#part("spectrogram").hidden;
    const { explanation } = this.#session;
    const fixed = ["Segments", "Waveform", ...(hasSpectrogram ? ["0–5 kHz"] : []), ...(explanation ? ["Why"] : [])];
    const names = [...fixed, ...rows.map(({ name }) => name)];
    const part = this.#part("names");
    if (names.join() === [...part.children].map((each) => each.textContent).join()) return;
    const kinds = ["of-lane", "of-wave", ...(hasSpectrogram ? ["of-spectrogram"] : []), "of-why"];
    part.replaceChildren(
      ...fixed.map((textContent, k) => element("span", { textContent, className: kinds[k] })),
      ...rows.map(({ name, kind }) => element("span", { textContent: name, className: `of-strip ${kind}` })),
    );
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
      button.textContent = (wide * lane.clientWidth) / 100 < NAMED_WIDTH ? "" : (segment.label ?? ((!segment.reason && valuesInWords(segment.values)) || "?"));
      button.tabIndex = shown.length > MAX_STOPS ? -1 : 0;
      button.disabled = !this.#session.canPlay || !this.#session.isOver;
      return button;
    });
    if (buttons.length !== lane.children.length || buttons.some((button, k) => button !== lane.children[k])) {
      lane.replaceChildren(...buttons);
    }
  }

  #button(segment, key) {
    const title = `${named(segment)}, ${stretch(segment)}`;
    const button = element("button", { type: "button", title, className: `stretch ${tone(segment.label)}` });
    button.dataset.key = key;
    button.setAttribute("aria-label", `${title}: play it`);
    button.addEventListener("click", () => this.onPlay(segment));
    return button;
  }
}

/** What an explanation says, in words; empty without one. */
function whyInWords(explanation) {
  if (!explanation) return "";
  const { label, main_span_s: span, main_band_hz: band } = explanation;
  const where = [
    span ? stretch({ start_s: span[0], end_s: span[1] }) : "",
    band ? `${Math.round(band[0])} to ${Math.round(band[1])}\u00a0Hz` : "",
  ].filter(Boolean);
  const found = where.length ? `mostly ${where.join(", ")}` : "spread over the whole recording";
  return `Why ${label}: ${found}. Up, a part speaks for it; down (outlined), against it. This is what the model used, not why a person sounds so.`;
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

/** The label of a segment and its probability, or why there is none. */
export function named(segment) {
  if (segment.label) return `${segment.label}, ${percent(segment.confidence)}`;
  return (!segment.reason && valuesInWords(segment.values)) || `no answer (${why(segment.reason)})`;
}

/** The strips of a session, and the emotions that are too improbable for one; while it runs, all have one. */
function rowsOf({ windows, labels, isOver }) {
  const highest = (label) => windows.reduce((top, { scores }) => Math.max(top, scores[label] ?? 0), 0);
  const low = isOver ? labels.filter((label) => highest(label) < SMALL) : [];
  const kept = labels.filter((label) => !low.includes(label));
  const small = kept.length ? low : []; // without scores, none is low
  const rows = kept.map((label) => ({ name: label, kind: tone(label), value: ({ scores }) => scores[label] }));
  return { rows: [{ name: "speech", kind: "of-speech", value: ({ speech }) => speech }, ...rows], small };
}

function inWords({ scores, values }) {
  const [first] = ranked(scores);
  return first ? `${first[0]} ${percent(first[1])}` : valuesInWords(values) || "no answer";
}

function summary({ segments, windows, duration_s, isLive, isOver }) {
  if (isLive && !isOver) return windows.length ? "Live; the last half minute is shown." : "Live; waiting for sound.";
  const first = segments.slice(0, 12).map((each) => `${named(each)} from ${stretch(each)}`);
  const more = segments.length > 12 ? `; and ${segments.length - 12} more, all in the table below` : "";
  const found = first.length ? `${first.join("; ")}${more}.` : "No speech was found.";
  return `${clock(duration_s ?? 0)} of sound. ${found}`;
}
