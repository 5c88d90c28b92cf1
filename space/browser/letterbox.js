// The letterbox of hf_fracture.data.transforms, to the bit: Pillow's antialiased bicubic resize of 8-bit grey, the film in
// the top left corner of a square, zeros after normalisation where there is no film; and the way back for maps.

const PRECISION = 1 << 22; // Pillow keeps its weights as integers of 22 fractional bits

function bicubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

// Source: precompute_coeffs and normalize_coeffs_8bpc of Pillow's Resample.c.
export function weighPixels(inSize, outSize) {
  const scale = inSize / outSize;
  const filterScale = Math.max(scale, 1);
  const support = 2 * filterScale;
  const windows = [];
  for (let out = 0; out < outSize; out += 1) {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(inSize, Math.trunc(centre + support + 0.5));
    const weights = [];
    let total = 0;
    for (let i = first; i < last; i += 1) {
      const weight = bicubic((i - centre + 0.5) * (1 / filterScale));
      weights.push(weight);
      total += weight;
    }
    const whole = weights.map((weight) => {
      const share = (total === 0 ? weight : weight / total) * PRECISION;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    windows.push({ first, weights: whole });
  }
  return windows;
}

function clip8(sum) {
  const level = Math.floor((sum + PRECISION / 2) / PRECISION);
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

// Resizes {data, width, height} of one byte a pixel as Image.resize(size, BICUBIC) does: across first, then down.
export function resizeGrey(film, width, height) {
  let source = film;
  if (width !== film.width) {
    const data = new Uint8Array(width * film.height);
    const windows = weighPixels(film.width, width);
    for (let y = 0; y < film.height; y += 1) {
      const row = y * film.width;
      for (let x = 0; x < width; x += 1) {
        const { first, weights } = windows[x];
        let sum = 0;
        for (let i = 0; i < weights.length; i += 1) sum += source.data[row + first + i] * weights[i];
        data[y * width + x] = clip8(sum);
      }
    }
    source = { data, width, height: film.height };
  }
  if (height === film.height) return source === film ? { ...film } : source;
  const data = new Uint8Array(width * height);
  const windows = weighPixels(film.height, height);
  for (let y = 0; y < height; y += 1) {
    const { first, weights } = windows[y];
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1) sum += source.data[(first + i) * width + x] * weights[i];
      data[y * width + x] = clip8(sum);
    }
  }
  return { data, width, height };
}

export function fitLetterbox(width, height, size) {
  const ratio = Math.min(size / height, size / width);
  return { width: Math.max(1, Math.trunc(width * ratio)), height: Math.max(1, Math.trunc(height * ratio)) };
}

// Returns the network's input as Float32Array (3 * size * size) and how the film lies in it.
export function letterboxPixels(film, { size_px: size, mean, std }) {
  const fitted = fitLetterbox(film.width, film.height, size);
  const scaled = resizeGrey(film, fitted.width, fitted.height);
  const pixels = new Float32Array(3 * size * size);
  for (let channel = 0; channel < 3; channel += 1) {
    const table = Float32Array.from({ length: 256 }, (_, level) =>
      Math.fround(Math.fround(Math.fround(level / 255) - Math.fround(mean[channel])) / Math.fround(std[channel])),
    );
    for (let y = 0; y < fitted.height; y += 1) {
      const to = channel * size * size + y * size;
      for (let x = 0; x < fitted.width; x += 1) pixels[to + x] = table[scaled.data[y * fitted.width + x]];
    }
  }
  return { pixels, fitted };
}

// Reads an axis of `grid` cells at the centres of `count` pixels with a cubic B-spline; outer cells count beyond the edge.
function weighCells(count, cells, grid) {
  return Array.from({ length: count }, (_, pixel) => {
    const position = Math.min(Math.max((pixel + 0.5) * (cells / count) - 0.5, 0), grid - 1);
    const lower = Math.floor(position);
    const t = position - lower;
    const taps = [(1 - t) ** 3 / 6, (3 * t ** 3 - 6 * t * t + 4) / 6, (-3 * t ** 3 + 3 * t * t + 3 * t + 1) / 6, t ** 3 / 6];
    return taps.map((weight, i) => [Math.min(Math.max(lower + i - 1, 0), grid - 1), weight]);
  });
}

// Resamples a square map over the padded input at the pixels of a picture of the film, whatever its size.
export function mapToFilm(map, grid, fitted, size, width, height) {
  const across = weighCells(width, (fitted.width * grid) / size, grid);
  const down = weighCells(height, (fitted.height * grid) / size, grid);
  const rows = new Float32Array(grid * width);
  for (let row = 0; row < grid; row += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (const [cell, weight] of across[x]) sum += weight * map[row * grid + cell];
      rows[row * width + x] = sum;
    }
  }
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (const [cell, weight] of down[y]) {
      for (let x = 0; x < width; x += 1) values[y * width + x] += weight * rows[cell * width + x];
    }
  }
  return values;
}
