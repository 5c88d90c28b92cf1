// Paste anywhere puts the file into the one file input of the page, as if it had been chosen there.
document.addEventListener("paste", (event) => {
  const film = [...(event.clipboardData?.files ?? [])][0];
  const input = document.querySelector("#film input[type=file]");
  if (!film || !input) return;
  const transfer = new DataTransfer();
  transfer.items.add(film);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// A button in a text that opens what another control of the page opens: ?view=api in a link does not open the panel.
document.addEventListener("click", (event) => {
  const opened = event.target.closest?.("[data-opens]")?.dataset.opens;
  if (opened) document.querySelector(opened)?.click();
});
