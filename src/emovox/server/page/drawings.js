// How are sound and scores drawn? SVG in pixels, coloured by style.css alone.

import { clock, percent, ranked, tone } from "./emotions.js";

const NS = "http://www.w3.org/2000/svg";
const BAR = 3; // pixels from one bar of the waveform to the next
const TOLD = 0.3; // an emotion that reaches this is named in the curves
const LETTER = 7.2;
const TOP = 8;
const WAIST = 0.36; // of a petal: how far it leans to the next spokes

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * Bars of the loudness from `start_s` to `end_s`, each in the colour of what is said of its middle.
 *
 * `said(seconds)` is a label or null.
 */
export function waveform({ width, height, span, peaks, said }) {
  const paths = new Map();
  const scale = peaks ? 1 / Math.max(0.02, peaks.between(span.start_s, span.end_s)) : 0;
  const per_px = (span.end_s - span.start_s) / width;
  for (let x = 0; x + BAR <= width; x += BAR) {
    const from_s = span.start_s + x * per_px;
    const loud = peaks ? peaks.between(from_s, from_s + BAR * per_px) * scale : 0;
    const half = Math.max(1, 0.5 * loud * (height - 4));
    const kind = tone(said(from_s + 0.5 * BAR * per_px));
    const bar = `M${x + 1} ${(height / 2 - half).toFixed(1)}h2v${(2 * half).toFixed(1)}h-2z`;
    paths.set(kind, (paths.get(kind) ?? "") + bar);
  }
  return [...paths].map(([kind, d]) => svg("path", { class: `bar ${kind}`, d }));
}

/** Axis of time: a line and words every so many seconds. */
export function ticks({ width, height, span }) {
  const long_s = span.end_s - span.start_s;
  const steps = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const step = steps.find((s) => (s / long_s) * width >= 64) ?? 7200;
  const drawn = [];
  for (let k = Math.ceil(span.start_s / step - 1e-9); k * step <= span.end_s + 1e-9; k += 1) {
    const x = ((k * step - span.start_s) / long_s) * width;
    const anchor = x < 12 ? "start" : x > width - 22 ? "end" : "middle";
    drawn.push(svg("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height - 18 }));
    drawn.push(svg("text", { x, y: height - 3, "text-anchor": anchor }, clock(k * step, step < 1 ? 1 : 0)));
  }
  return drawn;
}

/**
 * A line for each emotion through the middles of the windows; windows without scores leave a gap.
 *
 * Emotions that matter are drawn strongly and named where they are highest.
 */
export function curves({ width, height, span, windows, labels }) {
  const base = height - 20;
  const x = (s) => ((s - span.start_s) / (span.end_s - span.start_s)) * width;
  const y = (p) => base - p * (base - TOP);
  const drawn = [0, 0.5, 1].map((p) => svg("line", { class: "grid", x1: 0, x2: width, y1: y(p), y2: y(p) }));
  const seen = windows.filter((w) => w.end_s >= span.start_s && w.start_s <= span.end_s);
  const runs = unbroken(seen);
  const names = [];
  for (const label of labels) {
    const highest = seen.reduce((best, w) => ((w.scores[label] ?? 0) > (best?.scores[label] ?? 0) ? w : best), null);
    const reached = highest?.scores[label] ?? 0;
    const kind = `${tone(label)} ${reached >= TOLD ? "strong" : "faint"}`;
    for (const run of runs) {
      const points = run.map((w) => [x(middle(w)), y(w.scores[label] ?? 0)]);
      if (points.length > 1) {
        drawn.push(svg("polyline", { class: `curve ${kind}`, points: points.map((p) => p.map((v) => v.toFixed(1))).join(" ") }));
      }
      // A short recording has few windows: their places are then worth seeing.
      if (points.length <= 12) {
        drawn.push(...points.map(([cx, cy]) => svg("circle", { class: `dot ${kind}`, cx, cy, r: 3.5 })));
      }
    }
    if (reached >= TOLD) names.push({ label, x: x(middle(highest)), y: y(reached) });
  }
  drawn.push(...[1, 0.5].map((p) => svg("text", { class: "level", x: 4, y: y(p) + 13 }, percent(p))));
  return [...drawn, ...placed(names, width, base)];
}

/**
 * A petal on one spoke an emotion. Its length is the square root of the score, so that small ones show; the rings
 * stand at 10, 50 and 100 %.
 */
export function radar({ size, labels, scores }) {
  const c = size / 2;
  const r = c - 46;
  const at = (k, share) => {
    const angle = (2 * Math.PI * k) / labels.length - Math.PI / 2;
    return [c + r * share * Math.cos(angle), c + r * share * Math.sin(angle)];
  };
  const polygon = (points, kind) =>
    svg("polygon", { class: kind, points: points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") });
  const drawn = [0.1, 0.5, 1].map((share) => polygon(labels.map((_, k) => at(k, Math.sqrt(share))), "grid"));
  for (const k of labels.keys()) drawn.push(polygon([[c, c], at(k, 1)], "grid"));
  for (const [k, label] of labels.entries()) {
    const long = Math.sqrt(scores[label] ?? 0);
    const petal = [[c, c], at(k - WAIST, 0.6 * long), at(k, long), at(k + WAIST, 0.6 * long)];
    if (long > 0.03) drawn.push(polygon(petal, `petal ${tone(label)}`));
  }
  const best = ranked(scores)[0]?.[0];
  for (const [k, label] of labels.entries()) {
    const [x, y] = at(k, 1 + 13 / r);
    const anchor = Math.abs(x - c) < 14 ? "middle" : x > c ? "start" : "end";
    const lower = y > c + 10 ? 9 : y < c - 10 ? 1 : 4;
    drawn.push(svg("text", { x, y: y + lower, "text-anchor": anchor, class: label === best ? "best" : "" }, label));
  }
  return drawn;
}

/** The middle of a window, seconds. */
export function middle(window) {
  return (window.start_s + window.end_s) / 2;
}

function unbroken(windows) {
  const runs = [[]];
  for (const w of windows) {
    if (Object.keys(w.scores).length) runs.at(-1).push(w);
    else if (runs.at(-1).length) runs.push([]);
  }
  return runs;
}

function placed(names, width, base) {
  const boxes = [0.5, 1].map((p) => ({ left: 0, right: 46, y: base - p * (base - TOP) + 13 })); // the words of the levels
  const drawn = [];
  for (const { label, x, y } of names.sort((a, b) => a.y - b.y)) {
    const wide = label.length * LETTER;
    const left = Math.max(4, Math.min(width - wide - 4, x - wide / 2));
    const options = [y - 7, y + 15].filter((v) => v > 11 && v < base);
    const free = options.find((v) => boxes.every((b) => left > b.right || left + wide < b.left || Math.abs(v - b.y) > 14));
    if (free === undefined) continue;
    boxes.push({ left, right: left + wide, y: free });
    drawn.push(svg("text", { class: "named", x: left, y: free }, label));
  }
  return drawn;
}
