// From a file to an upright film of one byte a pixel, as hf_fracture.data.radiographs reads 8-bit pictures. What a
// browser would change silently (16-bit PNG) or cannot read (DICOM, TIFF) is refused in a sentence.

export const MAX_PIXELS = 40_000_000; // a phone's memory ends sooner than a server's

export class Unreadable extends Error {}

function name(bytes) {
  const text = (from, to) => String.fromCharCode(...bytes.slice(from, to));
  if (text(128, 132) === "DICM") return "dicom";
  if (text(1, 4) === "PNG") return "png";
  if (["II*\0", "MM\0*"].includes(text(0, 4))) return "tiff";
  return "other";
}

export async function readFilm(blob, texts) {
  const bytes = new Uint8Array(await blob.slice(0, 256).arrayBuffer());
  if (bytes.length === 0) throw new Unreadable(texts.empty);
  const kind = name(bytes);
  if (kind === "dicom" || kind === "tiff") throw new Unreadable(texts.format);
  if (kind === "png" && bytes[24] === 16) throw new Unreadable(texts.deep);
  let bitmap;
  try {
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
    bitmap = await createImageBitmap(blob, options);
  } catch {
    throw new Unreadable(texts.unreadable);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Unreadable(texts.large);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  return { ...toGrey(rgba, width, height), isColoured: isColoured(rgba, width, height) };
}

// Pillow's convert("L"), which returns the channel itself where all three are equal; what is transparent becomes black.
export function toGrey(rgba, width, height) {
  const data = new Uint8Array(width * height);
  for (let i = 0, p = 0; i < data.length; i += 1, p += 4) {
    const alpha = rgba[p + 3] / 255;
    const [r, g, b] = alpha === 1 ? [rgba[p], rgba[p + 1], rgba[p + 2]] : [0, 1, 2].map((c) => Math.round(rgba[p + c] * alpha));
    data[i] = r === g && g === b ? r : (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
  }
  return { data, width, height };
}

const VISIBLE_SPREAD = 24;
const COLOURED_FRACTION = 0.05;
const MAX_TINT = 0.4;
const TINT_LEVELS = 32;

// More than a twentieth of a small copy differs visibly between its channels, and not by one hue that follows the grey
// level, as in the tinted scan of a film.
export function isColoured(rgba, width, height) {
  const pixels = shrink(rgba, width, height);
  const spreads = pixels.map((pixel) => Math.max(...pixel) - Math.min(...pixel));
  const share = (values, limit) => values.filter((value) => value > limit).length / values.length;
  if (share(spreads, VISIBLE_SPREAD) <= COLOURED_FRACTION) return false;
  const total = (values) => values.reduce((sum, value) => sum + value, 0);
  const saturation = total(spreads) / Math.max(1, total(pixels.map((pixel) => Math.max(...pixel))));
  return saturation > MAX_TINT || share(leaveTint(pixels), VISIBLE_SPREAD / 2) > COLOURED_FRACTION;
}

// How far each pixel's channels lie from the mean of those of its grey level.
function leaveTint(pixels) {
  const greys = pixels.map((pixel) => (pixel[0] + pixel[1] + pixel[2]) / 3);
  const sums = Array.from({ length: TINT_LEVELS }, () => [0, 0, 0, 0]);
  const level = (grey) => Math.min(TINT_LEVELS - 1, Math.trunc((grey * TINT_LEVELS) / 256));
  pixels.forEach((pixel, i) => {
    const sum = sums[level(greys[i])];
    for (let c = 0; c < 3; c += 1) sum[c] += pixel[c] - greys[i];
    sum[3] += 1;
  });
  return pixels.map((pixel, i) => {
    const sum = sums[level(greys[i])];
    return Math.max(...pixel.map((value, c) => Math.abs(value - greys[i] - sum[c] / sum[3])));
  });
}

// The picture at no more than 256 pixels a side: the mean colour of each block.
function shrink(rgba, width, height) {
  const step = Math.max(1, Math.ceil(Math.max(width, height) / 256));
  const pixels = [];
  for (let top = 0; top < height; top += step) {
    for (let left = 0; left < width; left += step) {
      const sums = [0, 0, 0];
      let count = 0;
      for (let y = top; y < Math.min(top + step, height); y += 1) {
        for (let x = left; x < Math.min(left + step, width); x += 1) {
          const p = 4 * (y * width + x);
          for (let c = 0; c < 3; c += 1) sums[c] += rgba[p + c];
          count += 1;
        }
      }
      pixels.push(sums.map((sum) => sum / count));
    }
  }
  return pixels;
}
