// What the page does in the browser alone: paste, photograph, look closer, sort, save. No request leaves it from here.

// Gives a file to a drop zone as if it had been chosen there.
function giveFile(zone, file) {
  const input = zone?.querySelector("input[type=file]");
  if (!file || !input) return;
  const transfer = new DataTransfer();
  transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

// Paste anywhere puts the file into the drop zone of the tab that is open.
document.addEventListener("paste", (event) => {
  const film = [...(event.clipboardData?.files ?? [])][0];
  const zone = [...document.querySelectorAll(".drop")].find((drop) => drop.offsetParent !== null);
  giveFile(zone, film);
});

// How the film is looked at. Everything hangs on variables of the page, so the next film is shown alike.
window.filmViewer = {
  set(name, value) {
    document.querySelector(".gradio-container").style.setProperty(name, value);
  },
  show(kind) {
    this.set("--with-map", kind === "plain" ? "none" : "block");
    this.set("--alone", kind === "overlay" ? "none" : "block");
  },
  setWindow(centre, width) {
    const slope = 1 / Math.max(width, 0.02);
    for (const part of document.querySelectorAll("#film-window feComponentTransfer > *")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", 0.5 - centre * slope);
    }
    this.set("--window", centre === 0.5 && width === 1 ? "none" : "url(#film-window)");
  },
};

// The film alone, beside the film with its map, is the same picture: it is sent once and shown twice.
function fillFrames() {
  for (const copy of document.querySelectorAll(".frame.alone img.film:not([src])")) {
    const film = copy.closest(".frames").querySelector(".frame.with-map img.film");
    if (film) copy.src = film.src;
  }
}

// A drop zone is called what is written on it; Gradio gives it another name, which voice control cannot find.
function nameDropZones() {
  for (const zone of document.querySelectorAll(".drop button[aria-dropeffect]")) {
    const words = zone.innerText.replace(/\s+/g, " ").trim();
    if (words && zone.getAttribute("aria-label") !== words) zone.setAttribute("aria-label", words);
  }
}

new MutationObserver(() => {
  fillFrames();
  nameDropZones();
}).observe(document.documentElement, { childList: true, subtree: true });

// The arrow keys move between tabs, as screen readers announce.
document.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || event.target.getAttribute?.("role") !== "tab") return;
  const tabs = [...event.target.parentElement.querySelectorAll("[role=tab]")].filter((tab) => tab.offsetParent !== null);
  const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
  next?.focus();
  next?.click();
});

// Sorts the table of films; unanswered films come last by probability, and equal rows keep their order.
function sortTable(button) {
  const head = button.closest("th");
  const falling = head.getAttribute("aria-sort") !== "descending" && button.dataset.sort === "probability";
  const up = !falling && head.getAttribute("aria-sort") !== "ascending";
  const body = button.closest("table").querySelector("tbody");
  const key = button.dataset.sort;
  const read = (row) => (key === "name" ? row.dataset.name : Number(row.dataset[key]));
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(read(a), read(b)) || a.dataset.index - b.dataset.index);
  for (const other of head.parentElement.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
}

// Hands a file that came inside the page to the browser's downloads.
function save(button) {
  const bytes = Uint8Array.from(atob(button.dataset.content), (letter) => letter.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: button.dataset.type }));
  link.download = button.dataset.download;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Opens the rear camera of a phone, or else the files.
function photograph(button) {
  const input = document.createElement("input");
  Object.assign(input, { type: "file", accept: "image/*" });
  input.setAttribute("capture", "environment");
  input.addEventListener("change", () => giveFile(document.querySelector(button.dataset.camera), input.files[0]));
  input.click();
}

document.addEventListener("click", (event) => {
  const find = (selector) => event.target.closest?.(selector);
  // A button in a text that opens what another control of the page opens: a link with ?view=api does not.
  if (find("[data-opens]")) document.querySelector(find("[data-opens]").dataset.opens)?.click();
  if (find("button[data-sort]")) sortTable(find("button[data-sort]"));
  if (find("button[data-download]")) save(find("button[data-download]"));
  if (find("button[data-camera]")) photograph(find("button[data-camera]"));
});
