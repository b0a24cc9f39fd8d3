// Names and colours of emotions; times and shares in words.

export const EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise", "boredom"];

// Of single corpora; they share four colours, as in emovox.report.colours.
export const EXTRAS = [
  "amused", "anxious", "apologetic", "assertive", "breath", "concerned", "disappointed", "encouraging", "excited",
  "pain", "pleasure", "sleepy", "unknown",
];

const REASONS = {
  silence: "the recording is silent",
  no_speech: "no speech was found",
  too_short: "too little sound",
  uncertain: "too uncertain",
};

const WARNINGS = {
  silence: "silent",
  low_level: "very quiet: come closer to the microphone",
  clipping: "too loud: the sound is clipped",
  no_speech: "no speech was found",
  too_short: "very short",
  truncated: "cut off: it ends before its header says",
  damaged: "damaged: parts could not be decoded",
  time_stamps: "its time stamps contradict each other",
  phase: "the channels cancel each other: one was used",
};

/** The class that gives an element the colour of an emotion (style.css). */
export function tone(label) {
  if (EMOTIONS.includes(label)) return `is-${label}`;
  return EXTRAS.includes(label) ? `is-extra-${EXTRAS.indexOf(label) % 4}` : "is-none";
}

/** Why there is no label, in words. */
export function why(reason) {
  return REASONS[reason] ?? "the model abstains";
}

/** What is wrong with the sound, in words. */
export function warnings(quality) {
  return (quality?.warnings ?? []).map((name) => WARNINGS[name] ?? name.replaceAll("_", " "));
}

/** `[label, score]` pairs, most likely first. */
export function ranked(scores) {
  return Object.entries(scores).sort((a, b) => b[1] - a[1]);
}

/** The one sentence of an answer: "Most likely: angry (94 %)", or why there is none. */
export function headline({ label, reason, scores, values }) {
  if (!label && !reason && values) return valuesInWords(values);
  if (label) return `Most likely: ${label} (${percent(scores[label])})`;
  const [first] = ranked(scores);
  const likeliest = reason === "uncertain" && first ? `; most likely ${first[0]} (${percent(first[1])})` : "";
  return `No answer: ${why(reason)}${likeliest}`;
}

/** How far an answer was adapted: "adapted to the speaker, weight 0.50 (12 clips)". */
export function adapted({ weight, n_clips, emotion }) {
  const clips = `${n_clips} ${emotion ?? ""} clip${n_clips === 1 ? "" : "s"}`.replace("  ", " ");
  return `adapted to the speaker, weight ${weight.toFixed(2)} (${clips})`;
}

/** 0.714 -> "71 %", with a no-break space. */
export function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

/** 4.08 -> "4.1 s", 63.25 -> "1:03.3", 3723 -> "1:02:03.0"; `digits` after the point. */
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits;
  const whole = Math.round(Math.max(0, seconds) * unit);
  if (whole < 60 * unit) return `${(whole / unit).toFixed(digits)}\u00a0s`;
  const minutes = Math.floor(whole / (60 * unit));
  const hours = Math.floor(minutes / 60);
  const last = ((whole - minutes * 60 * unit) / unit).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${last}` : `${minutes}:${last}`;
}

/** From when to when: "3.0 to 6.5 s", "58.0 s to 1:01.5". */
export function stretch({ start_s, end_s }, digits = 1) {
  const [start, end] = [clock(start_s, digits), clock(end_s, digits)];
  return `${end.endsWith("s") ? start.slice(0, -2) : start} to ${end}`;
}

/** Values such as arousal, in words; empty for models without them. */
export function valuesInWords(values) {
  return Object.entries(values ?? {}).map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", ");
}

/** The names of the values that the first of these answers has. */
export function targetsOf(answers) {
  return Object.keys(answers.find((each) => each.values)?.values ?? {});
}
