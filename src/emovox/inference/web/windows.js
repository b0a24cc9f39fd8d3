// Windows of a stream, and what is made of their scores: emovox.inference.windows and segments.

import { SAMPLE_RATE, join } from "./audio.js";

const joinFlags = (a, b) => {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
};
const mean = (flags) => (flags.length ? flags.reduce((a, b) => a + b, 0) / flags.length : 0);

/** Cuts a stream into windows; see emovox.inference.windows for cells. */
export class Windower {
  constructor({ window, hop, least, frame, newShare, confirm }) {
    Object.assign(this, { window, hop, least, frame, newShare, confirm });
    this.n = 0;
    this.held = new Float32Array(0);
    this.due = hop;
    this.flags = new Uint8Array(0);
    this.firstFlag = 0;
    this.cell = 0;
  }

  push(x, flags) {
    this.flags = joinFlags(this.flags, flags);
    const windows = [];
    for (let at = 0; at < x.length; ) {
      const size = Math.min(x.length - at, this.due - this.n);
      this.held = join([this.held, x.subarray(at, at + size)]);
      this.n += size;
      at += size;
      if (this.n === this.due) {
        windows.push(this.make(false));
        this.due += this.hop;
        this.dropOld();
      }
    }
    return windows;
  }

  flush(flags) {
    this.flags = joinFlags(this.flags, flags);
    const before = this.due - this.hop, isNew = this.n - before;
    if (isNew && (!before || isNew >= this.newShare * this.hop)) return [this.make(true)];
    const rest = this.confirmed(Math.max(0, this.n - this.window), this.flags.length).slice(this.cell - this.firstFlag);
    if (!rest.length) return [];
    return [{ start: Math.max(0, before - this.window), end: before, sound: null, speech: 0, firstFrame: this.cell, flags: rest }];
  }

  make(isLast) {
    const end = this.n, start = Math.max(0, this.n - this.window), { frame, firstFlag } = this;
    const sound = this.held.slice(this.held.length - (end - start));
    const first = Math.ceil(start / frame) - firstFlag;
    const stop = isLast ? this.flags.length : Math.floor(end / frame) - firstFlag;
    const known = this.confirmed(start, stop), inside = known.subarray(first, stop), speech = mean(inside);
    let span = [0, end - start]; // of the speech, counted from the window's start
    if (speech) {
      const offset = (firstFlag + first) * frame - start;
      span = [offset + inside.indexOf(1) * frame, Math.min(end - start, offset + (inside.lastIndexOf(1) + 1) * frame)];
    }
    let cellEnd;
    if (isLast) cellEnd = firstFlag + this.flags.length;
    else if (end - start < this.least) cellEnd = this.cell;
    else {
      const nextEnd = end + this.hop;
      cellEnd = Math.floor((start + end + Math.max(0, nextEnd - this.window) + nextEnd) / (4 * frame));
    }
    const firstFrame = this.cell, flags = known.slice(this.cell - firstFlag, Math.max(0, cellEnd - firstFlag));
    this.cell = cellEnd;
    return { start, end, sound, speech, firstFrame, flags, span };
  }

  /** The flags that are held, those of the frames from the sample `start` to `stop` confirmed. */
  confirmed(start, stop) {
    const flags = this.flags.slice(), at = Math.ceil(start / this.frame), first = at - this.firstFlag;
    if (stop > first) {
      const x = this.held.subarray(this.held.length - (this.n - at * this.frame));
      flags.set(this.confirm(x, flags.subarray(first, stop)), first);
    }
    return flags;
  }

  dropOld() {
    this.held = this.held.slice(Math.max(0, this.held.length - this.window));
    // The next window begins at the earliest one window before the newest sample: the stream may end there.
    const oldest = Math.min(Math.floor(Math.max(0, this.n - this.window) / this.frame), this.cell);
    this.flags = this.flags.slice(oldest - this.firstFlag);
    this.firstFlag = oldest;
  }
}

/** The scores of a long recording: the mean of its windows', weighted by speech. */
export class MeanPool {
  constructor() {
    this.sum = this.last = null;
  }

  push(window, scores) {
    if (window.sound) this.last = scores;
    const n = window.flags.reduce((a, b) => a + b, 0);
    if (this.last && n) this.sum = this.last.map((p, i) => n * p + (this.sum ? this.sum[i] : 0));
  }

  get scores() {
    if (!this.sum) return null;
    const total = this.sum.reduce((a, b) => a + b);
    return this.sum.map((p) => p / total);
  }
}

/** Builds segments from windows: smoothed, with hysteresis, merged, speech only. */
export class SegmentBuilder {
  constructor(settings, { hopS, threshold, frame, toScores }) {
    Object.assign(this, { settings, threshold, frame, toScores });
    this.gain = -Math.expm1(-hopS / settings.smoothing_s);
    this.scores = this.label = this.open = this.next = null;
  }

  push(window, scores) {
    if (window.sound) {
      if (scores && this.scores) scores = this.scores.map((old, i) => old + this.gain * (scores[i] - old));
      this.scores = scores;
      this.label = scores ? this.choose(scores) : null;
    }
    const final = [];
    if (this.scores) {
      let start = -1;
      for (let i = 0; i <= window.flags.length; i++) {
        if (window.flags[i] && start < 0) start = i;
        if (!window.flags[i] && start >= 0) {
          final.push(...this.addSpeech(window.firstFrame + start, window.firstFrame + i));
          start = -1;
        }
      }
    }
    return [...final, ...this.closeAfterPause(window.firstFrame + window.flags.length)];
  }

  flush(n) {
    return this.close(n);
  }

  choose(scores) {
    const top = scores.indexOf(Math.max(...scores)), { hysteresis } = this.settings;
    const stays = this.label !== null && scores[this.label] >= Math.max(scores[top], this.threshold) - hysteresis;
    return stays ? this.label : scores[top] >= this.threshold ? top : null;
  }

  isShort(span) {
    return span.nSpeech * this.settings.frame_s < this.settings.min_segment_s;
  }

  addSpeech(start, end) {
    const final = this.closeAfterPause(start), n = end - start;
    const span = { start, end, label: this.label, nSpeech: n, total: this.scores.map((p) => n * p) };
    if (!this.open) this.open = span;
    else if (span.label === this.open.label) {
      this.absorbNext();
      append(this.open, span);
    } else if (this.isShort(this.open)) {
      append(this.open, span);
      this.open.label = span.label;
    } else {
      if (this.next) {
        append(this.next, span);
        this.next.label = span.label;
      } else this.next = span;
      if (!this.isShort(this.next)) {
        const changed = this.next;
        this.next = null;
        final.push(...this.close());
        this.open = changed;
      }
    }
    return final;
  }

  absorbNext() {
    if (this.open && this.next) append(this.open, this.next);
    this.next = null;
  }

  closeAfterPause(until) {
    if (!this.open) return [];
    const { end } = this.next ?? this.open;
    return (until - end) * this.settings.frame_s > this.settings.gap_s ? this.close() : [];
  }

  close(n = null) {
    this.absorbNext();
    const span = this.open;
    this.open = null;
    if (!span) return [];
    const total = span.total.reduce((a, b) => a + b), scores = span.total.map((p) => p / total);
    const end = n === null ? span.end * this.frame : Math.min(span.end * this.frame, n);
    return [this.toScores(span, scores, (span.start * this.frame) / SAMPLE_RATE, end / SAMPLE_RATE)];
  }
}

function append(span, later) {
  span.end = later.end;
  span.nSpeech += later.nSpeech;
  span.total = span.total.map((p, i) => p + later.total[i]);
}

