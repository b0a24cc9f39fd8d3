// The answers as rows: a table to read, JSON and CSV to keep.

import { percent, ranked, stretch, targetsOf, tone, valuesInWords } from "./emotions.js";
import { element } from "./notices.js";
import { named } from "./scene.js";

/** Rows of segments; `onPlay(segment)` plays one. */
export function segmentRows(segments, { canPlay, isAdapted, onPlay }) {
  return segments.map((segment) => {
    const play = element("button", { type: "button", className: "play", disabled: !canPlay });
    play.setAttribute("aria-label", `Play ${named(segment)}, ${stretch(segment)}`);
    play.addEventListener("click", () => onPlay(segment));
    const measured = valuesInWords(segment.values);
    const expressed = segment.label ?? ((!segment.reason && measured) || "no answer");
    const label = element("span", { className: `swatch ${tone(segment.label)}` }, expressed);
    const second = ranked(segment.scores).find(([name]) => name !== segment.label);
    const sure = segment.label ? percent(segment.confidence) : "–";
    const rest = [second ? `${second[0]} ${percent(second[1])}` : "", segment.label ? measured : ""];
    const next = rest.filter(Boolean).join("; ") || "–";
    const row = tableRow([play, stretch(segment, 2), label, sure, next]);
    row.cells[4].className = "next";
    if (isAdapted) row.insertCell().append(segment.adaptation ? percent(segment.adaptation.weight) : "–");
    return row;
  });
}

/** Rows of windows: their scores in the order of `labels`, their values in that of `targets`. */
export function windowRows(windows, labels, targets) {
  return windows.map((window) => {
    const scores = labels.map((label) => (label in window.scores ? percent(window.scores[label]) : "–"));
    const values = targets.map((name) => window.values?.[name]?.toFixed(3) ?? "–");
    return tableRow([stretch(window), percent(window.speech), ...scores, ...values]);
  });
}

/** All that was answered, as JSON text. */
export function asJson({ name, model, duration_s, prediction, explanation, segments, windows }) {
  const about = { file: name, model, duration_s, expressed_emotion: true };
  return `${JSON.stringify({ ...about, prediction, ...(explanation && { explanation }), segments, windows }, null, 2)}\n`;
}

/** The segments with the columns of `emovox predict --timeline --format csv`. */
export function asCsv({ name, labels, segments }) {
  const heads = ["file", "channel", "start_s", "end_s", "label", "reason", "confidence"];
  const targets = targetsOf(segments);
  const rows = segments.map((each) => [
    ...[name, each.channel, each.start_s, each.end_s, each.label, each.reason, each.confidence],
    ...labels.map((label) => each.scores[label]),
    ...targets.map((target) => each.values?.[target]),
    null,
  ]);
  const scores = [...labels.map((label) => `${label}_prob`), ...targets.map((target) => `${target}_value`)];
  const lines = [[...heads, ...scores, "error"], ...rows];
  return lines.map((cells) => `${cells.map(cell).join(",")}\n`).join("");
}

/** Let the browser save a blob under a name. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function tableRow(cells) {
  const row = document.createElement("tr");
  for (const content of cells) row.insertCell().append(content);
  return row;
}

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
