// Whether a picture may be answered: the cheap tests of hf_fracture.inference.appearance, whose rules come with the model,
// and what gate.safetensors holds: the distance of the network's features from those of the training films, and a rule
// against pictures that lie near them all the same.

const BLACK = 5;
const WHITE = 250;
const MEASURED_SIDE = 640;
const SMALL_FEATURE = 0.01;
const STEP = 1 / 16; // of the support vectors, in standard deviations
const MAX_DEVIATION = 127 * STEP;

export function judgeAppearance(film, rules, texts) {
  const measures = measureAppearance(film);
  const reasons = new Map();
  for (const rule of rules) {
    const value = measures[rule.measure];
    const score = (value - rule.ordinary) / (rule.limit - rule.ordinary);
    if (score > 1 && !reasons.has(rule.measure)) reasons.set(rule.measure, texts[rule.code] ?? texts.refused);
  }
  return [...(film.isColoured ? [texts.colour_image] : []), ...reasons.values()];
}

function reduce(film, factor) {
  if (factor === 1) return film;
  const width = Math.ceil(film.width / factor);
  const height = Math.ceil(film.height / factor);
  const data = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      let count = 0;
      for (let v = y * factor; v < Math.min((y + 1) * factor, film.height); v += 1) {
        for (let u = x * factor; u < Math.min((x + 1) * factor, film.width); u += 1) {
          sum += film.data[v * film.width + u];
          count += 1;
        }
      }
      data[y * width + x] = Math.floor(sum / count + 0.5);
    }
  }
  return { data, width, height };
}

function percentile(counts, total, share) {
  const position = share * (total - 1);
  const at = (rank) => {
    let seen = 0;
    for (let level = 0; level < 256; level += 1) {
      seen += counts[level];
      if (seen > rank) return level;
    }
    return 255;
  };
  const low = at(Math.floor(position));
  return low + (at(Math.min(Math.floor(position) + 1, total - 1)) - low) * (position - Math.floor(position));
}

export function measureAppearance(film) {
  const long = Math.max(film.width, film.height);
  const short = Math.min(film.width, film.height);
  const grey = reduce(film, Math.max(1, Math.ceil(long / MEASURED_SIDE)));
  const { data, width, height } = grey;
  const counts = new Float64Array(256);
  for (const level of data) counts[level] += 1;
  let lit = 0;
  let white = 0;
  for (let level = 0; level < 256; level += 1) {
    if (level > BLACK) lit += counts[level];
    if (level >= WHITE) white += counts[level];
  }
  let even = 0;
  let inner = 0;
  for (let y = 0; y + 1 < height; y += 1) {
    for (let x = 0; x + 1 < width; x += 1) {
      const here = data[y * width + x];
      if (here <= BLACK) continue;
      inner += 1;
      if (here === data[y * width + x + 1] && here === data[(y + 1) * width + x]) even += 1;
    }
  }
  return {
    short_side_px: short,
    aspect_ratio: long / short,
    grey_range: percentile(counts, data.length, 0.99) - percentile(counts, data.length, 0.01),
    white_fraction: white / Math.max(1, lit),
    flat_fraction: even / Math.max(1, inner),
    neighbour_correlation: Math.min(correlate(grey, 1, 0), correlate(grey, 0, 1)),
  };
}

// Correlation of each pixel with the next one along an axis; 1 where there is nothing to correlate.
function correlate({ data, width, height }, dx, dy) {
  const columns = width - dx;
  const rows = height - dy;
  if (columns < 1 || rows < 1) return 1;
  const n = columns * rows;
  let [a, b, aa, bb, ab] = [0, 0, 0, 0, 0];
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) {
      const first = data[y * width + x];
      const second = data[(y + dy) * width + x + dx];
      a += first;
      b += second;
      aa += first * first;
      bb += second * second;
      ab += first * second;
    }
  }
  const spread = Math.sqrt((aa / n - (a / n) ** 2) * (bb / n - (b / n) ** 2));
  return spread > 0 ? (ab / n - (a / n) * (b / n)) / spread : 1;
}

// Reads the float32 and int8 tensors of a safetensors file.
export function readTensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    const Numbers = { F32: Float32Array, I8: Int8Array }[entry.dtype];
    if (!Numbers) continue;
    const [from, to] = entry.data_offsets;
    tensors[name] = { shape: entry.shape, data: new Numbers(buffer.slice(8 + length + from, 8 + length + to)) };
  }
  return tensors;
}

// Takes the (1, C, h, w) last feature map; refused above 1.
export function judgeMap(statistics, lastMap) {
  const [, channels, height, width] = lastMap.dims;
  const cells = height * width;
  const summary = new Float64Array(2 * channels); // mean, then largest value of each channel
  for (let c = 0; c < channels; c += 1) {
    const values = lastMap.data.subarray(c * cells, (c + 1) * cells);
    let sum = 0;
    let largest = -Infinity;
    for (const value of values) {
      sum += value;
      largest = Math.max(largest, value);
    }
    summary[c] = sum / cells;
    summary[channels + c] = largest;
  }
  return Math.max(judgeDistance(statistics, summary.subarray(0, channels)), judgeLikeness(statistics, summary));
}

const transform = (value) => Math.sign(value) * Math.log1p(Math.abs(value) / SMALL_FEATURE);

// Mahalanobis distance of pooled features, divided by the limit.
function judgeDistance(statistics, features) {
  const count = features.length;
  const deviations = Float64Array.from(features, (value, i) => transform(value) - statistics.mean.data[i]);
  let squares = 0;
  for (const value of deviations) squares += value * value;
  let along = 0;
  let total = 0;
  statistics.variances.data.forEach((variance, k) => {
    let projected = 0;
    for (let i = 0; i < count; i += 1) projected += deviations[i] * statistics.components.data[k * count + i];
    along += projected * projected;
    total += (projected * projected) / variance;
  });
  total += Math.max(squares - along, 0) / statistics.residual_variance.data[0];
  return Math.sqrt(total / count) / statistics.limit.data[0];
}

// Radial kernels between a film and the support vectors, on the way from an ordinary film's value to the limit.
function judgeLikeness(statistics, summary) {
  const part = (name) => statistics[`discriminant.${name}`]?.data;
  const [centre, scale, supports, weights] = ["centre", "scale", "supports", "weights"].map(part);
  if (!supports) return 0;
  const row = Float64Array.from(summary, (value, i) =>
    Math.min(Math.max((transform(value) - centre[i]) / scale[i], -MAX_DEVIATION), MAX_DEVIATION),
  );
  const [width, offset, ordinary, limit] = ["width", "offset", "ordinary", "limit"].map((name) => part(name)[0]);
  let value = offset;
  weights.forEach((weight, k) => {
    let squares = 0;
    for (let i = 0; i < row.length; i += 1) squares += (row[i] - STEP * supports[k * row.length + i]) ** 2;
    value += weight * Math.exp(-width * squares);
  });
  return Math.max((value - ordinary) / (limit - ordinary), 0);
}
