// A click on a heading sorts its table: numbers by value, the rest as text; empty cells come last.
const NUMBER = /^[<=+]*\s*([-\u2212]?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i;
const number = text => {
  const found = NUMBER.exec(text);
  return found ? parseFloat(found[1].replaceAll(",", "").replace("\u2212", "-")) : NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].textContent.trim();
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map(row => value(row, column)).filter(text => text && text !== "–");
    // Words among numbers, such as "varies" or "not planned", do not make a text of a column.
    const numbers = texts.filter(text => !Number.isNaN(number(text)));
    const numeric = numbers.length > 0 && numbers.length * 2 >= texts.length;
    const key = row => numeric ? number(value(row, column)) : value(row, column) || NaN;
    rows.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
    });
    heads.forEach(one => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }));
}
// A link to a row's settings opens them, also when it is followed once more; paper has no clicks, so that
// all is open there.
const open = link => document.getElementById(link.hash.slice(1))?.closest("details")?.setAttribute("open", "");
addEventListener("click", event => {
  const link = event.target.closest("a[href^='#']");
  if (link) open(link);
});
addEventListener("hashchange", () => open(location));
open(location);
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach(one => one.open = true);
});
addEventListener("afterprint", () => closed.forEach(one => one.open = false));
