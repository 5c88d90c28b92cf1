// The worker: file in, finding and map out. Nothing leaves the machine; the network is asked for the model once, and after
// that not at all.

import * as ort from "./vendor/ort.wasm.min.mjs";
import { Unreadable, readFilm } from "./film.js";
import { judgeAppearance, judgeMap, readTensors } from "./gate.js";
import { letterboxPixels, mapToFilm } from "./letterbox.js";

const MAX_SHOWN = 900; // longest side of the map that is drawn

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more would need headers that a static page cannot set
ort.env.logLevel = "error";

async function load() {
  const model = await (await fetch("model.json")).json();
  const [weights, gate] = await Promise.all([
    fetch(model.weights).then((response) => response.arrayBuffer()),
    model.gate ? fetch(model.gate).then((response) => response.arrayBuffer()) : null,
  ]);
  const session = await ort.InferenceSession.create(new Uint8Array(weights), { executionProviders: ["wasm"] });
  return { model, session, gate: gate && readTensors(gate) };
}

const loaded = load();

export function decide(probability, record) {
  if (!record) return probability >= 0.5 ? "fracture" : "no fracture";
  const { screening, rule_in: ruleIn } = record.triage;
  if (probability >= ruleIn) return "fracture";
  return screening === ruleIn || probability < screening ? "no fracture" : "uncertain";
}

async function examine(blob) {
  const start = performance.now();
  const { model, session, gate } = await loaded;
  const film = await readFilm(blob, model.texts);
  const shown = { width: film.width, height: film.height };
  const refusals = judgeAppearance(film, model.rules, model.texts);
  if (refusals.length) return { decision: "refused", reasons: refusals, ...shown };
  const { pixels, fitted } = letterboxPixels(film, model.preprocessing);
  const size = model.preprocessing.size_px;
  const input = new ort.Tensor("float32", pixels, [1, 3, size, size]);
  const output = await session.run({ pixel_values: input });
  const logits = output.logits.data;
  const difference = logits[model.fractured_index] - logits[1 - model.fractured_index];
  const probability = 1 / (1 + Math.exp(-difference));
  const gateScore = gate ? judgeMap(gate, output.last_map) : 0;
  if (gateScore > 1) return { decision: "refused", reasons: [model.texts.not_a_radiograph], gateScore, ...shown };
  const map = drawMap(model, output.last_map, fitted, film);
  const seconds = (performance.now() - start) / 1000;
  return { decision: decide(probability, model.record), probability, gateScore, reasons: [], map, seconds, ...shown };
}

// The closed form of Grad-CAM: what each position adds to the logit difference.
function drawMap(model, lastMap, fitted, film) {
  if (!model.cam_weights || model.cam_layer_norm) return null;
  const [, channels, height, width] = lastMap.dims;
  const cells = height * width;
  const cam = new Float32Array(cells);
  for (let c = 0; c < channels; c += 1) {
    const weight = model.cam_weights[c] / cells;
    for (let i = 0; i < cells; i += 1) cam[i] += weight * lastMap.data[c * cells + i];
  }
  const factor = Math.min(1, MAX_SHOWN / Math.max(film.width, film.height));
  const shown = [film.width, film.height].map((side) => Math.max(1, Math.round(side * factor)));
  const values = mapToFilm(cam, height, fitted, model.preprocessing.size_px, ...shown);
  let peak = 0;
  let evidence = 0;
  for (const value of values) peak = Math.max(peak, value);
  for (const value of cam) evidence += Math.max(value, 0);
  if (evidence < model.min_evidence_logits || peak <= 0) return { isEmpty: true };
  const scale = Math.max(model.full_scale, peak);
  const rgba = new Uint8ClampedArray(4 * values.length);
  values.forEach((value, i) => {
    const level = Math.round(Math.min(Math.max(value / scale, 0), 1) * 255);
    rgba.set(model.ramp[level], 4 * i);
    rgba[4 * i + 3] = level;
  });
  return { isEmpty: false, width: shown[0], height: shown[1], rgba, cam };
}

self.addEventListener("message", async ({ data: { id, blob } }) => {
  try {
    self.postMessage({ id, finding: blob ? await examine(blob) : { model: (await loaded).model } });
  } catch (error) {
    if (!(error instanceof Unreadable)) console.error(error);
    const sentence = error instanceof Unreadable ? error.message : null;
    self.postMessage({ id, finding: { decision: "error", reasons: sentence ? [sentence] : [] } });
  }
});
