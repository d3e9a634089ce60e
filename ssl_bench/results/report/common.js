"use strict";
// What the tables and plots share: elements, numbers, settings, tooltips, files.

const report = JSON.parse(document.getElementById("content").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Whether a text has all words of a search.
const matches = (text, search) => search.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));
const isNumber = (value) => typeof value === "number";
const cellOf = (row, target, column) => {
  const cell = (row.cells[target] || {})[column];
  return cell && { mean: cell[0], se: cell[1], text: cell[2], values: cell[3].length ? cell[3] : [cell[0]] };
};
const meanOf = (row, target, column) => {
  const cell = cellOf(row, target, column);
  return cell && isNumber(cell.mean) ? cell.mean : null;
};
const headingOf = (column) => (column.unit ? `${column.name} [${column.unit}]` : column.name);
const columnOf = (board, name) => board.columns.find((column) => column.name === name);
const targetName = (target) => target || "mean of the targets with two classes";
// The mean over targets if there are scores of it, else the first target.
const firstTarget = (board) => {
  const scores = board.columns.filter((column) => column.shown && column.better && !column.cost);
  const scored = (target) => board.rows.some((row) => scores.some((column) => cellOf(row, target, column.name)));
  return board.targets.find((target) => target === "" && scored(target)) ?? board.targets.find(scored) ?? "";
};
// Text of a cell with its unit; numbers of parameters and images are whole.
const withUnit = (column, cell) => (column.cost && !column.unit ? Math.round(cell.mean).toLocaleString("en-US") :
  `${cell.text}${column.unit ? ` ${column.unit}` : ""}`);
const familyPlace = (family) => Math.max(0, report.families.indexOf(family));
const familyColour = (family) => `var(--f${familyPlace(family)})`;
const labelOf = (row) => `${row.name}, ${row.epochs} epoch${row.epochs === 1 ? "" : "s"}`;

// Rows that compete for the best: methods with labels only if there are no others.
function competing(rows) {
  const without = rows.filter((row) => row.family !== "supervised");
  return without.length ? without : rows;
}

// A row is among the best if it differs from the best mean by at most one standard error of the difference.
function bestRows(rows, target, column) {
  const known = competing(rows).filter((row) => meanOf(row, target, column.name) !== null);
  if (!column.better || known.length < 2) return new Set();
  const cell = (row) => cellOf(row, target, column.name);
  const count = (row) => cell(row).values.filter((value) => value !== null).length;
  const better = (a, b) => column.better * (cell(b).mean - cell(a).mean) || count(b) - count(a);
  const first = cell([...known].sort(better)[0]);
  return new Set(known.filter((row) => {
    const { mean, se } = cell(row);
    if (se === null || first.se === null) return mean === first.mean;
    return Math.abs(mean - first.mean) <= Math.hypot(se, first.se);
  }));
}

function select(label, options, chosen, change) {
  const box = html("select", { onchange: (event) => change(event.target.value) },
    ...options.map(([value, text]) => html("option", { value, selected: value === chosen }, text)));
  return html("label", {}, label, box);
}

const tooltip = document.getElementById("tooltip");
function showTooltip(text, at) {
  tooltip.textContent = text;
  tooltip.hidden = false;
  const box = at.getBoundingClientRect();
  const left = Math.min(box.right + 8, window.innerWidth - tooltip.offsetWidth - 8);
  tooltip.style.left = `${Math.max(8, left)}px`;
  tooltip.style.top = `${Math.max(8, box.top - tooltip.offsetHeight - 4)}px`;
}
function hideTooltip() { tooltip.hidden = true; }
function withTooltip(element, text) {
  for (const name of ["mouseenter", "focus"]) element.addEventListener(name, () => showTooltip(text, element));
  for (const name of ["mouseleave", "blur"]) element.addEventListener(name, hideTooltip);
  return element;
}
const closeMenus = (but) => {
  for (const menu of document.querySelectorAll(".controls details[open]")) if (!menu.contains(but)) menu.open = false;
};
document.addEventListener("keydown", (event) => { if (event.key === "Escape") { hideTooltip(); closeMenus(null); } });
document.addEventListener("click", (event) => closeMenus(event.target));

function saveCsv(name, rows) {
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = html("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// A link to a run opens it, also a second time and if the search has hidden it.
function openTarget() {
  const run = document.getElementById(location.hash.slice(1));
  if (run && run.tagName === "DETAILS") { run.hidden = false; run.open = true; run.scrollIntoView(); }
}
window.addEventListener("hashchange", openTarget);
document.addEventListener("click", (event) => {
  if (event.target.closest('a[href^="#run-"]')) setTimeout(openTarget);
});
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll(".run, .notes")) details.open = true;
});

document.getElementById("run-search").addEventListener("input", (event) => {
  const runs = [...document.querySelectorAll(".run")];
  for (const run of runs) run.hidden = !matches(run.querySelector("summary").textContent, event.target.value);
  document.getElementById("run-count").textContent = `${runs.filter((run) => !run.hidden).length} of ${runs.length} runs`;
});
