// Drawings of sound and scores: SVG in pixels, coloured by style.css alone.

import { clock, ranked, tone } from "./emotions.js";

const NS = "http://www.w3.org/2000/svg";
const BAR = 3; // pixels from one bar of the waveform to the next
const AXIS = 20; // pixels below the strips
const WAIST = 0.36; // of a petal: how far it leans to the next spokes

/** Height of a strip, pixels. */
export const STRIP = 26;

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * Bars of the loudness from `start_s` to `end_s`, each in the colour of the label at its middle.
 *
 * `labelAt(seconds)` is a label or null.
 */
export function waveform({ width, height, span, peaks, labelAt }) {
  const paths = new Map();
  const scale = peaks ? 1 / Math.max(0.02, peaks.between(span.start_s, span.end_s)) : 0;
  const per_px = (span.end_s - span.start_s) / width;
  for (let x = 0; x + BAR <= width; x += BAR) {
    const from_s = span.start_s + x * per_px;
    const loud = peaks ? peaks.between(from_s, from_s + BAR * per_px) * scale : 0;
    const half = Math.max(1, 0.5 * loud * (height - 4));
    const kind = tone(labelAt(from_s + 0.5 * BAR * per_px));
    const bar = `M${x + 1} ${(height / 2 - half).toFixed(1)}h2v${(2 * half).toFixed(1)}h-2z`;
    paths.set(kind, (paths.get(kind) ?? "") + bar);
  }
  return [...paths].map(([kind, d]) => svg("path", { class: `bar ${kind}`, d }));
}

/** Axis of time: a line and a time every so many seconds. */
function ticks({ width, height, span }) {
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
 * A small chart for each row, one below the other, from 0 to 100 % over the same time.
 *
 * A row is `{kind, value}`: the class that colours it, and `value(window)`, undefined where a window has none.
 */
export function strips({ width, span, windows, rows }) {
  const drawn = ticks({ width, height: rows.length * STRIP + AXIS, span });
  const shown = windows.filter((w) => w.end_s >= span.start_s && w.start_s <= span.end_s);
  for (const [k, { kind, value }] of rows.entries()) {
    const base = (k + 1) * STRIP - 1;
    drawn.push(svg("line", { class: "grid", x1: 0, x2: width, y1: base, y2: base }));
    drawn.push(svg("path", { class: `strip ${kind}`, d: steps(columns({ width, span, shown, value }), base) }));
  }
  return drawn;
}

/**
 * The drops of an explanation over time, from a line in the middle: up, a part speaks for the label; down, against it.
 */
export function drops({ width, height, span, explanation }) {
  const { label, times_s, time_drops } = explanation;
  const x = (s) => ((s - span.start_s) / (span.end_s - span.start_s)) * width;
  const middle = height / 2;
  const scale = (middle - 2) / Math.max(0.1, ...time_drops.map(Math.abs));
  const drawn = [svg("line", { class: "grid", x1: 0, x2: width, y1: middle, y2: middle })];
  for (const [k, drop] of time_drops.entries()) {
    const high = Math.abs(drop) * scale;
    if (high < 0.3) continue;
    const [from, to] = [x(times_s[k]), x(times_s[k + 1])];
    const box = { x: from.toFixed(1), width: Math.max(1, to - from - 1).toFixed(1), height: high.toFixed(1) };
    const isFor = drop > 0;
    drawn.push(svg("rect", { class: isFor ? `for ${tone(label)}` : "against", y: (isFor ? middle - high : middle).toFixed(1), ...box }));
  }
  return drawn;
}

/** The value over each pixel: that of the window whose middle is nearest; of several, the highest. */
function columns({ width, span, shown, value }) {
  const found = new Array(width).fill(undefined);
  const x = (s) => ((s - span.start_s) / (span.end_s - span.start_s)) * width;
  for (const [k, window] of shown.entries()) {
    const score = value(window);
    if (score === undefined) continue;
    const [before, after] = [shown[k - 1], shown[k + 1]];
    const from = before ? Math.max(window.start_s, (middle(before) + middle(window)) / 2) : window.start_s;
    const to = after ? Math.min(window.end_s, (middle(window) + middle(after)) / 2) : window.end_s;
    const last = Math.min(width, Math.max(Math.round(x(to)), Math.round(x(from)) + 1));
    for (let at = Math.max(0, Math.round(x(from))); at < last; at += 1) found[at] = Math.max(found[at] ?? 0, score);
  }
  return found;
}

/** The path of an area of steps; where nothing is known there is a gap. */
function steps(values, base) {
  let path = "";
  for (let at = 0; at < values.length; ) {
    let end = at + 1;
    while (end < values.length && values[end] === values[at]) end += 1;
    const high = (values[at] ?? 0) * (STRIP - 5);
    if (high >= 0.2) path += `M${at} ${base}v${-high.toFixed(1)}H${end}V${base}z`;
    at = end;
  }
  return path;
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
