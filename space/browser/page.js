// The page: a film in, the answer first, then the film with its map. All words come from model.json.

const worker = new Worker("reader.js", { type: "module" });
const waiting = new Map();
let number = 0;

worker.addEventListener("message", ({ data: { id, finding } }) => {
  waiting.get(id)?.(finding);
  waiting.delete(id);
});

function ask(blob) {
  return new Promise((resolve) => {
    number += 1;
    waiting.set(number, resolve);
    worker.postMessage({ id: number, blob });
  });
}

// For tests, and for whoever embeds the page.
window.examineFilm = ask;

const byId = (id) => document.getElementById(id);

function write(parent, tag, text, className) {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  parent.append(node);
  return node;
}

function formatProbability(probability) {
  if (probability < 0.001) return "below 0.1%";
  if (probability > 0.999) return "above 99.9%";
  const decimals = probability < 0.0995 || probability > 0.9905 ? 1 : 0;
  return `${(100 * probability).toFixed(decimals)}%`;
}

function showAnswer(finding, model) {
  const answer = byId("answer");
  const tones = { fracture: "fracture", uncertain: "uncertain", "no fracture": "none" };
  answer.className = `sheet answer ${tones[finding.decision] ?? "refused"}`;
  answer.replaceChildren();
  write(answer, "h2", model.words[finding.decision], "word");
  for (const reason of finding.reasons) write(answer, "p", reason, "why");
  if (finding.probability === undefined) return;
  const line = write(answer, "p", `${model.texts.probability} `, "probability");
  write(line, "b", formatProbability(finding.probability));
  write(answer, "p", model.texts.points, "soft");
  write(answer, "p", `${model.name} (${model.revision}), ${finding.seconds.toFixed(1)} s`, "by");
}

function showFilm(file, finding, model) {
  const stack = byId("stack");
  const film = byId("film-picture");
  if (film.src) URL.revokeObjectURL(film.src);
  stack.hidden = finding.width === undefined;
  byId("empty").hidden = !stack.hidden;
  byId("look").hidden = stack.hidden;
  if (stack.hidden) return film.removeAttribute("src");
  film.src = URL.createObjectURL(file);
  stack.style.aspectRatio = `${finding.width} / ${finding.height}`;
  stack.style.maxWidth = `calc(62vh * ${finding.width / finding.height})`;
  const canvas = byId("map");
  canvas.hidden = !finding.map || finding.map.isEmpty;
  byId("map-note").textContent = finding.map?.isEmpty ? model.texts.map_empty : finding.map ? model.texts.map_worth : "";
  if (canvas.hidden) return undefined;
  canvas.width = finding.map.width;
  canvas.height = finding.map.height;
  canvas.getContext("2d").putImageData(new ImageData(finding.map.rgba, canvas.width, canvas.height), 0, 0);
  return undefined;
}

async function take(file) {
  if (!file) return;
  const { model } = await ready;
  byId("answer").setAttribute("aria-busy", "true");
  byId("status").textContent = model.texts.reading;
  const finding = await ask(file);
  byId("answer").setAttribute("aria-busy", "false");
  byId("status").textContent = "";
  showAnswer(finding, model);
  showFilm(file, finding, model);
}

const ready = ask(null).then((finding) => {
  const { model } = finding;
  document.querySelectorAll("[data-text]").forEach((node) => {
    node.textContent = model.texts[node.dataset.text];
  });
  document.querySelectorAll("[data-html]").forEach((node) => {
    node.innerHTML = model.html[node.dataset.html]; // written by the build from the model's own measurements
  });
  byId("status").textContent = "";
  document.body.dataset.ready = "yes";
  return finding;
});

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = "";
  });
}
byId("opacity").addEventListener("input", (event) => {
  document.body.style.setProperty("--evidence", event.target.value / 100);
});
const zone = byId("zone");
for (const kind of ["dragover", "drop"]) {
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])][0]));
if ("serviceWorker" in navigator) navigator.serviceWorker.register("worker.js");
