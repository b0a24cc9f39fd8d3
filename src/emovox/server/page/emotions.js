// How are emotions, times and shares named and coloured?

export const EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise", "boredom"];

// Of single corpora; they share four colours, as in emovox.report.colours.
export const EXTRAS = [
  "amused", "anxious", "apologetic", "assertive", "breath", "concerned", "disappointed", "encouraging", "excited",
  "pain", "pleasure", "sleepy", "unknown",
];

const REASONS = {
  silence: "The recording is silent.",
  no_speech: "No speech was found.",
  too_short: "There is too little audio for a prediction.",
  uncertain: "The model is not sure enough to name one emotion.",
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

/** Why there is no label, as a sentence. */
export function why(reason) {
  return REASONS[reason] ?? "The model gives no answer.";
}

/** What is wrong with the sound, in words. */
export function warnings(quality) {
  return (quality?.warnings ?? []).map((name) => WARNINGS[name] ?? name.replaceAll("_", " "));
}

/** `[label, score]` pairs, most likely first. */
export function ranked(scores) {
  return Object.entries(scores).sort((a, b) => b[1] - a[1]);
}

/** 0.714 -> "71 %", with a no-break space. */
export function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

/** 63.25 -> "1:03.3", or "1:03" without the fraction. */
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits;
  const whole = Math.round(seconds * unit);
  const minutes = Math.floor(whole / (60 * unit));
  return `${minutes}:${((whole - minutes * 60 * unit) / unit).toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
}

/** A stretch of time: "0:03.0 to 0:06.5". */
export function stretch({ start_s, end_s }) {
  return `${clock(start_s)} to ${clock(end_s)}`;
}

/** Values such as arousal, in words; empty for models without them. */
export function valuesInWords(values) {
  return Object.entries(values ?? {}).map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", ");
}

/** The names of the values that the first of these answers has. */
export function targetsOf(answers) {
  return Object.keys(answers.find((each) => each.values)?.values ?? {});
}
