// A spectrogram, as Praat draws it: 0 to 5 kHz, pre-emphasised, the loudest 60 dB, dark is loud.

const SIZE = 256; // samples of a frame: 25.6 ms at 10 kHz
const FRAMES = 4; // of a column, at most: of a long recording, others are skipped
const EMPHASIS = 0.97;
const RANGE_DB = 60;
const QUIET_DB = -20; // softer sound is drawn paler, and silence not at all; a full-scale sine has 36 dB
const HANN = Float64Array.from({ length: SIZE }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE));
const SIN = Float64Array.from({ length: SIZE }, (_, n) => Math.sin((2 * Math.PI * n) / SIZE));

/**
 * The level in dB of each column and bin, `columns * 128` values; a column is the loudest of its frames.
 *
 * `sound` is `{samples, rate}`, `span` the seconds that the columns divide.
 */
export function levels(sound, span, columns) {
  const { samples, rate } = sound;
  const bins = SIZE / 2;
  const found = new Float32Array(columns * bins);
  const step = ((span.end_s - span.start_s) * rate) / columns;
  const frames = Math.min(FRAMES, Math.max(1, Math.round((2 * step) / SIZE)));
  const re = new Float64Array(SIZE);
  const im = new Float64Array(SIZE);
  for (let column = 0; column < columns; column += 1) {
    for (let frame = 0; frame < frames; frame += 1) {
      const middle = span.start_s * rate + (column + (frame + 0.5) / frames) * step;
      const first = Math.round(middle) - SIZE / 2;
      for (let n = 0; n < SIZE; n += 1) {
        re[n] = HANN[n] * ((samples[first + n] ?? 0) - EMPHASIS * (samples[first + n - 1] ?? 0));
      }
      im.fill(0);
      transform(re, im);
      for (let bin = 0; bin < bins; bin += 1) {
        const at = column * bins + bin;
        found[at] = Math.max(found[at], re[bin] ** 2 + im[bin] ** 2);
      }
    }
  }
  return found.map((power) => 10 * Math.log10(power + 1e-12));
}

/** Draw a stretch of a sound into a canvas, in its CSS colour. */
export function drawSpectrogram(canvas, sound, span) {
  const bins = SIZE / 2;
  const columns = canvas.clientWidth;
  Object.assign(canvas, { width: columns, height: bins });
  const [red, green, blue] = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  const found = levels(sound, span, columns);
  const top = found.reduce((a, b) => Math.max(a, b), QUIET_DB);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, bins);
  for (let column = 0; column < columns; column += 1) {
    for (let bin = 0; bin < bins; bin += 1) {
      const share = Math.max(0, 1 + (found[column * bins + bin] - top) / RANGE_DB);
      image.data.set([red, green, blue, 255 * share], 4 * ((bins - 1 - bin) * columns + column));
    }
  }
  context.putImageData(image, 0, 0);
}

/** The discrete Fourier transform of `SIZE` complex numbers, in place (Cooley and Tukey, radix 2). */
function transform(re, im) {
  for (let n = 1, m = 0; n < SIZE; n += 1) {
    let bit = SIZE >> 1;
    for (; m & bit; bit >>= 1) m ^= bit;
    m ^= bit;
    if (n < m) {
      [re[n], re[m]] = [re[m], re[n]];
      [im[n], im[m]] = [im[m], im[n]];
    }
  }
  for (let half = 1; half < SIZE; half *= 2) {
    const turn = SIZE / (2 * half);
    for (let start = 0; start < SIZE; start += 2 * half) {
      for (let k = 0; k < half; k += 1) {
        const [a, b] = [start + k, start + k + half];
        const cos = SIN[(k * turn + SIZE / 4) % SIZE];
        const sin = -SIN[k * turn];
        const x = cos * re[b] - sin * im[b];
        const y = sin * re[b] + cos * im[b];
        [re[b], im[b]] = [re[a] - x, im[a] - y];
        [re[a], im[a]] = [re[a] + x, im[a] + y];
      }
    }
  }
}
