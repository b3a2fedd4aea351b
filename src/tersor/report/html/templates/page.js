"use strict";
(() => {
  const number = (cell) => {
    const text = cell.dataset.v || cell.textContent;
    return text === "" ? NaN : Number(text);
  };
  const words = new Intl.Collator("en", { numeric: true });

  // Numbers by value before words, and what is missing last, whichever way.
  const compare = (way) => (a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing;
    const both = !isNaN(a.number) && !isNaN(b.number);
    if (both) return way * (a.number - b.number);
    if (isNaN(a.number) !== isNaN(b.number)) return isNaN(a.number) ? 1 : -1;
    return way * words.compare(a.text, b.text);
  };

  const sort = (heading) => {
    const table = heading.closest("table");
    const way = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const place = heading.cellIndex;
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => {
      const cell = row.cells[place];
      const text = cell.textContent;
      return { row, text, missing: text === "–" || text === "", number: number(cell) };
    });
    keyed.sort(compare(way));
    body.append(...keyed.map((one) => one.row));
    for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
  };

  // A button, so that keyboards and screen readers find it; without a script there is none.
  for (const heading of document.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }

  document.addEventListener("pointerover", (event) => {
    const cell = event.target instanceof Element && event.target.closest("[data-v]");
    if (cell && !cell.title) cell.title = cell.dataset.v;
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
  });
})();
