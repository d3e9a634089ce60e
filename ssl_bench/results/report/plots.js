"use strict";
// The plots of one data set, which is chosen for all of them.

const plotState = { board: 0, y: null, cost: null, curve: null, target: null, metric: null, projection: null };

const scoreColumns = (board) => board.columns.filter((column) => column.better && !column.cost);
const costColumns = (board) => board.columns.filter((column) => column.cost);
const firstOf = (wanted, names) => (names.includes(wanted) ? wanted : names[0]);
const shade = (share) => `background: rgba(var(--accent), ${(0.45 * share).toFixed(3)})`;
const options = (columns) => columns.map((column) => [column.name, headingOf(column)]);
const named = (column) => (column.cost && column.name.startsWith("seconds/fit") ? "training time [s]" : headingOf(column));

function familySeries(board, pointOf) {
  return report.families.map((family, place) => ({
    name: family, colour: familyColour(family), shape: SHAPES[place],
    points: board.rows.filter((row) => row.family === family).map(pointOf).filter((point) => point !== null),
  })).filter((one) => one.points.length);
}

const plots = {
  cost(board, { controls, summary, place }) {
    const scores = scoreColumns(board);
    const costs = costColumns(board);
    const y = columnOf(board, firstOf(plotState.y, scores.map((column) => column.name)));
    const x = columnOf(board, firstOf(plotState.cost || "seconds/fit", costs.map((column) => column.name)));
    if (!x || !y) return false;
    controls.replaceChildren(
      select("Score", options(scores), y.name, (name) => { plotState.y = name; plotAll(); }),
      select("Cost", options(costs), x.name, (name) => { plotState.cost = name; plotAll(); }));
    const target = firstTarget(board);
    const scored = board.rows.filter((row) => meanOf(row, target, y.name) !== null);
    const ofTraining = x.name === "seconds/fit"; // which networks without training do not have
    const known = scored.filter((row) => meanOf(row, "", x.name) !== null && (row.epochs || !ofTraining));
    const series = familySeries(board, (row) => (known.includes(row) ? {
      x: meanOf(row, "", x.name), y: meanOf(row, target, y.name), link: `#run-${row.runs[0]}`,
      text: `${labelOf(row)}\n${y.name}: ${withUnit(y, cellOf(row, target, y.name))}\n${x.name}: ${withUnit(x, cellOf(row, "", x.name))}`,
    } : null));
    chart(place, { series, x: named(x), y: headingOf(y), logX: true, title: `${y.name} against ${x.name} on ${board.data}` });
    summary.textContent = "";
    if (y.unit === "%" && known.length > 1) {
      const top = Math.max(...competing(scored).map((row) => meanOf(row, target, y.name)));
      const near = competing(known).filter((row) => meanOf(row, target, y.name) >= top - 2);
      const cheapest = near.sort((a, b) => meanOf(a, "", x.name) - meanOf(b, "", x.name))[0];
      const left = scored.length - known.length;
      const labels = scored.some((row) => row.family === "supervised") ? "Of methods without labels, the lowest" : "Lowest";
      const single = near.some((row) => cellOf(row, target, y.name).se === null) ? " With one seed, differences may be due to chance." : "";
      summary.textContent = (cheapest ? `${labels} ${x.name} within 2 points of the best ${y.name}: ${labelOf(cheapest)} ` +
        `(${withUnit(y, cellOf(cheapest, target, y.name))}, ${withUnit(x, cellOf(cheapest, "", x.name))}).` :
        `No setting within 2 points of the best ${y.name} has ${x.name}.`) +
        single + (left ? ` ${left} of ${scored.length} settings do not have ${x.name}.` : "");
    }
    return true;
  },

  curves(board, { controls, place }) {
    const runs = board.rows.flatMap((row) => row.runs.map((run, i) => ({ row, run, seed: row.seeds[i] })));
    const names = [...new Set(runs.flatMap(({ run }) => Object.keys(report.curves[run] || {})))];
    if (!names.length) return false;
    const name = firstOf(plotState.curve || "validation/knn_5/accuracy", names);
    controls.replaceChildren(select("Metric", names.map((one) => [one, one]), name, (one) => { plotState.curve = one; plotAll(); }));
    const unit = name.endsWith("accuracy") ? " [%]" : "";
    const series = runs.filter(({ run }) => (report.curves[run] || {})[name]).map(({ row, run, seed }) => {
      const line = board.rows.indexOf(row);
      const title = row.runs.length > 1 ? `${row.name}, seed ${seed}` : row.name;
      return {
        name: title, legend: row.name, colour: lineColour(line), dash: lineDash(line), shape: SHAPES[line % SHAPES.length],
        points: report.curves[run][name].map(([epoch, value]) => ({ x: epoch, y: value, 
          text: `${title}\nepoch ${epoch}: ${unit ? `${value.toFixed(1)} %` : +value.toPrecision(5)}` })),
      };
    });
    chart(place, { series, x: "epoch", y: name + unit, lines: true, title: `${name} against epochs on ${board.data}` });
    return true;
  },

  heat(board, { place }) {
    const target = firstTarget(board);
    const columns = board.main.map((name) => columnOf(board, name));
    if (!columns.length) return false;
    const first = (row) => meanOf(row, target, columns[0].name) ?? -Infinity;
    const rows = [...board.rows].sort((a, b) => first(b) - first(a));
    const ranges = columns.map((column) => {
      const values = competing(board.rows).map((row) => meanOf(row, target, column.name)).filter((value) => value !== null);
      return [Math.min(...values), Math.max(...values)];
    });
    place.replaceChildren(html("table", { class: "heat" },
      html("caption", {}, `Scores on ${board.data}, in percent`),
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "method"),
        ...columns.map((column) => html("th", { scope: "col" }, column.name.split("/")[0])))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, html("th", { scope: "row" }, labelOf(row)),
        ...columns.map((column, i) => {
          const value = meanOf(row, target, column.name);
          if (value === null) return html("td", { class: "missing" }, "–");
          const [low, high] = ranges[i];
          return html("td", { style: shade(high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0) }, value.toFixed(1));
        }))))));
    return true;
  },

  agreement(board, { place }) {
    if (board.main.length < 2 || !board.agreement.some((row, i) => row.some((one, j) => i !== j && one.rho !== null))) return false;
    const names = board.main.map((name) => name.split("/")[0]);
    const cell = ({ rho, n }) => (rho === null ? html("td", { class: "missing" }, `– (n = ${n})`) :
      html("td", { style: shade(Math.abs(rho)) }, `${rho.toFixed(2)} (n = ${n})`));
    place.replaceChildren(html("table", { class: "heat" },
      html("caption", {}, `Spearman's correlation over n methods on ${board.data}`),
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "protocol"), ...names.map((name) => html("th", { scope: "col" }, name)))),
      html("tbody", {}, ...board.agreement.map((row, i) => html("tr", {}, html("th", { scope: "row" }, names[i]), ...row.map(cell))))));
    return true;
  },

  content(board, { controls, place }) {
    const targets = board.targets.filter((target) => target);
    if (targets.length < 2) return false;
    const target = firstOf(plotState.target || "gender", targets);
    const columns = scoreColumns(board).filter((column) => column.name.endsWith("accuracy") &&
      board.rows.some((row) => meanOf(row, target, column.name) !== null));
    if (!columns.length) return false;
    const column = columns.find(({ name }) => name === plotState.metric) || columns[0];
    controls.replaceChildren(
      select("Target", targets.map((name) => [name, name]), target, (name) => { plotState.target = name; plotAll(); }),
      select("Score", options(columns), column.name, (name) => { plotState.metric = name; plotAll(); }));
    const series = familySeries(board, (row) => {
      const y = meanOf(row, target, column.name);
      const others = targets.filter((name) => name !== target).map((name) => meanOf(row, name, column.name)).filter((value) => value !== null);
      if (y === null || !others.length) return null;
      const x = others.reduce((sum, value) => sum + value, 0) / others.length;
      return { x, y, link: `#run-${row.runs[0]}`, text: `${labelOf(row)}\n${target}: ${y.toFixed(1)}\nother targets: ${x.toFixed(1)}` };
    });
    chart(place, { series, x: `${column.name} of the other targets [%]`, y: `${column.name} of ${target} [%]`, title: `Content and style on ${board.data}` });
    return true;
  },

  layers(board, { place }) {
    const target = firstTarget(board);
    const number = (column) => (/^layer_probe_(\d+)\/accuracy$/.exec(column.name) || [])[1];
    const columns = board.columns.filter(number).sort((a, b) => number(a) - number(b));
    if (!columns.length) return false;
    const series = board.rows.map((row, line) => ({
      name: row.name, colour: lineColour(line), dash: lineDash(line), shape: SHAPES[line % SHAPES.length],
      points: columns.map((column) => ({ x: Number(number(column)), y: meanOf(row, target, column.name) }))
        .filter((point) => point.y !== null)
        .map((point) => ({ ...point, text: `${labelOf(row)}\nlayer ${point.x}: ${point.y.toFixed(1)} %` })),
    })).filter((one) => one.points.length);
    chart(place, { series, x: "layer", y: "layer_probe/accuracy [%]", lines: true, title: `Accuracy of each layer on ${board.data}` });
    return true;
  },

  maps(board, { controls, place }) {
    const rows = new Map(board.rows.flatMap((row) => row.runs.map((run) => [run, row])));
    const maps = report.maps.filter((one) => rows.has(one.run));
    if (!maps.length) return false;
    const kind = (one) => one.name.replace(/ \(.*/, "");
    const names = [...new Set(maps.map(kind))];
    const name = firstOf(plotState.projection || "t-SNE", names);
    controls.replaceChildren(select("Projection", names.map((one) => [one, one]), name, (one) => { plotState.projection = one; plotAll(); }));
    const shown = maps.filter((one) => kind(one) === name);
    const { classes, target } = shown[0];
    const legend = classes.length <= 20 ? html("ul", { class: "legend", "aria-label": target }, ...classes.map((label, i) =>
      html("li", {}, html("span", { class: "dot", style: `background: ${classColour(shown[0], i)}` }), label))) : "";
    place.replaceChildren(html("div", { class: "maps" }, ...shown.map((one) => {
      const row = rows.get(one.run);
      const canvas = html("canvas", { width: 480, height: 480, role: "img", "aria-label": `${one.name} of ${row.name}` });
      plotMap(canvas, one);
      const alone = one.aligned === null && one !== shown[0] ? " (other images, not aligned)" : "";
      return html("figure", {}, canvas, html("figcaption", {}, html("a", { href: `#run-${one.run}` }, row.name), `, ${one.name}${alone}`));
    })), legend);
    return true;
  },
};

const classColour = (map, label) => map.colours[label] || "#cccccc";

function plotMap(canvas, map) {
  const pen = canvas.getContext("2d");
  map.points.forEach(([x, y], i) => {
    pen.fillStyle = classColour(map, map.labels[i]);
    pen.globalAlpha = 0.85;
    pen.beginPath();
    pen.arc(240 + x * 0.23, 240 - y * 0.23, 4, 0, 2 * Math.PI);
    pen.fill();
  });
}

function plotAll() {
  hideTooltip();
  const board = report.boards[plotState.board];
  for (const section of document.querySelectorAll(".plot")) {
    const [controls, summary, place] = [".controls", ".summary", ".scroll"].map((name) => section.querySelector(name));
    const focused = document.activeElement && controls.contains(document.activeElement) ?
      [...controls.querySelectorAll("select")].indexOf(document.activeElement) : -1;
    controls.replaceChildren();
    summary.textContent = "";
    section.hidden = !plots[section.dataset.plot](board, { controls, summary, place });
    if (focused >= 0) controls.querySelectorAll("select")[focused]?.focus();
  }
}

if (report.boards.length > 1) {
  document.getElementById("plot-data").append(select("Data set", report.boards.map((board, i) => [String(i), board.data]), "0",
    (value) => { plotState.board = Number(value); plotAll(); }));
}
plotAll();
openTarget();
