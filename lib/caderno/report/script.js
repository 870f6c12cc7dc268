
// Opens or closes the code of all cells. Without it, the page is complete: each cell opens by itself.
(() => {
  const bar = document.querySelector("[data-code-switch]");
  const cells = document.querySelectorAll("details.code");
  if (!bar || cells.length === 0) return;
  bar.hidden = false;
  bar.querySelector("input").addEventListener("change", (event) => {
    for (const cell of cells) cell.open = event.target.checked;
  });
})();
