"use strict";
// Leaderboards: sort, search, filter by family, choose columns, save as CSV.

function leaderboard(section) {
  const board = report.boards[section.dataset.board];
  const families = report.families.filter((family) => board.rows.some((row) => row.family === family));
  const withScores = board.columns.filter((column) => column.shown && column.better);
  const state = {
    target: firstTarget(board),
    columns: new Set(board.columns.filter((column) => column.shown).map((column) => column.name)),
    families: new Set(families),
    words: "",
    sort: withScores.length ? withScores[0].name : "method",
    down: withScores.length ? withScores[0].better > 0 : false,
  };
  const controls = section.querySelector(".controls");
  const place = section.querySelector(".scroll");
  const summary = section.querySelector(".summary");

  const shownColumns = () => board.columns.filter((column) => state.columns.has(column.name));

  function shownRows() {
    const rows = board.rows.filter((row) => state.families.has(row.family) && matches(`${row.name} ${row.family}`, state.words));
    const key = (row) => {
      if (state.sort === "method") return row.name.toLowerCase();
      if (state.sort === "family") return row.family;
      if (state.sort === "epochs") return row.epochs;
      if (state.sort === "seeds") return row.runs.length;
      const target = columnOf(board, state.sort).cost ? "" : state.target;
      return meanOf(row, target, state.sort);
    };
    // Rows without the score are last in both directions.
    return rows.map((row) => [key(row), row]).sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * (state.down ? -1 : 1);
    }).map(([, row]) => row);
  }

  function heading(name, lines, attributes = {}) {
    const sorted = state.sort === name;
    const column = columnOf(board, name);
    const click = () => {
      const first = column ? column.better >= 0 : false; // the better end first
      state.down = sorted ? !state.down : first;
      state.sort = name;
      update();
      place.querySelector(`th[data-column="${CSS.escape(name)}"] button`).focus();
    };
    const sort = sorted ? (state.down ? "descending" : "ascending") : null;
    return html("th", { scope: "col", "aria-sort": sort, "data-column": name, ...attributes },
      html("button", { type: "button", onclick: click }, ...lines.map((line) => html("span", {}, line))));
  }

  function table(rows) {
    const columns = shownColumns();
    const best = new Map(columns.map((column) =>
      [column.name, column.cost ? new Set() : bestRows(rows, state.target, column)]));
    const head = html("tr", {}, heading("method", ["method"]), heading("family", ["family"], { class: "wide text" }),
      heading("epochs", ["epochs"], { class: "wide" }), heading("seeds", ["seeds"]),
      ...columns.map((column) => {
        const [first, ...rest] = column.name.split("/");
        return heading(column.name, [first, ...(rest.length ? [rest.join("/")] : []), ...(column.unit ? [`[${column.unit}]`] : [])]);
      }));
    const body = rows.map((row) => html("tr", {},
      html("th", { scope: "row" },
        html("span", { class: "dot", style: `background: ${familyColour(row.family)}` }),
        html("a", { href: `#run-${row.runs[0]}` }, row.name)),
      html("td", { class: "wide text" }, row.family), html("td", { class: "wide" }, row.epochs), html("td", {}, row.runs.length),
      ...columns.map((column) => {
        const cell = cellOf(row, column.cost ? "" : state.target, column.name);
        if (!cell) return html("td", { class: "missing" }, "–");
        const text = column.cost && !column.unit ? withUnit(column, cell) : cell.text;
        return html("td", {}, best.get(column.name).has(row) ? html("strong", {}, text) : text);
      })));
    const of = rows.length === board.rows.length ? "" : ` of ${board.rows.length}`;
    const named = board.targets.length > 1 ? `, ${targetName(state.target)}` : "";
    return html("table", {}, html("caption", {}, `${rows.length}${of} settings on ${board.data}${named}`),
      html("thead", {}, head), html("tbody", {}, ...body));
  }

  // One sentence: which setting is the best in the sorted column, and how sure that is.
  function verdict(rows) {
    const column = columnOf(board, state.sort);
    if (!column || !column.better) return "";
    const target = column.cost ? "" : state.target;
    const known = competing(rows).filter((row) => meanOf(row, target, column.name) !== null);
    if (known.length < 2) return "";
    const best = [...known].sort((a, b) =>
      column.better * (meanOf(b, target, column.name) - meanOf(a, target, column.name)))[0];
    const others = [...bestRows(known, target, column)].filter((row) => row !== best);
    const text = (row) => `${labelOf(row)} (${withUnit(column, cellOf(row, target, column.name))})`;
    const single = known.filter((row) => cellOf(row, target, column.name).se === null).length;
    const alone = cellOf(best, target, column.name).se !== null;
    let sure = alone ? " No other setting is within one standard error of the difference." : "";
    if (others.length) sure = ` Within one standard error of the difference: ${others.map(text).join("; ")}.`;
    if (single) {
      const which = single === known.length ? `All ${single} competing settings have` : `${single} of ${known.length} settings have`;
      sure += ` ${which} one seed: their differences may be due to chance.`;
    }
    return `${column.cost ? "Lowest" : "Best by"} ${column.name}: ${text(best)}.${sure}`;
  }

  function update() {
    const rows = shownRows();
    place.replaceChildren(table(rows));
    summary.textContent = verdict(rows);
  }

  function saveShown() {
    const columns = shownColumns();
    const head = ["data", "method", "family", "epochs", "seeds", "target",
      ...columns.flatMap((column) => [headingOf(column), column.unit ? `${column.name}_se [${column.unit}]` : `${column.name}_se`])];
    const rows = shownRows().map((row) => [board.data, row.name, row.family, row.epochs, row.runs.length, state.target,
      ...columns.flatMap((column) => {
        const cell = cellOf(row, column.cost ? "" : state.target, column.name);
        return cell ? [cell.mean, cell.se] : [null, null];
      })]);
    saveCsv(`${board.data}.csv`, [head, ...rows]);
  }

  function saveRuns() {
    const columns = shownColumns();
    const head = ["data", "method", "family", "epochs", "seed", "run", "target", ...columns.map(headingOf)];
    const rows = shownRows().flatMap((row) => row.runs.map((run, place) => [board.data, row.name, row.family, row.epochs,
      row.seeds[place], report.runs[run].folder, state.target,
      ...columns.map((column) => {
        const cell = cellOf(row, column.cost ? "" : state.target, column.name);
        return cell ? cell.values[place] : null;
      })]));
    saveCsv(`${board.data}-runs.csv`, [head, ...rows]);
  }

  function toggle(set, name) {
    return (event) => { event.target.checked ? set.add(name) : set.delete(name); update(); };
  }

  const box = (set, name, text) => html("label", {},
    html("input", { type: "checkbox", checked: set.has(name), value: name, onchange: toggle(set, name) }), text);
  controls.append(
    html("label", {}, "Search", html("input", { type: "search", autocomplete: "off",
      oninput: (event) => { state.words = event.target.value; update(); } })),
    families.length > 1 ? html("fieldset", { class: "families" }, html("legend", {}, "Family"),
      ...families.map((family) => box(state.families, family, family))) : "",
    board.targets.length > 1 ? select("Target", board.targets.map((target) => [target, targetName(target)]), state.target,
      (value) => { state.target = value; update(); }) : "",
    html("details", { class: "columns" }, html("summary", {}, "Columns"), html("fieldset", {},
      html("legend", { class: "hidden" }, "Columns"),
      ...board.columns.map((column) => box(state.columns, column.name, headingOf(column))))),
    html("button", { type: "button", class: "save-shown", onclick: saveShown }, "CSV of this table"),
    html("button", { type: "button", class: "save-runs", onclick: saveRuns }, "CSV of its runs"),
  );
  update();
}

for (const section of document.querySelectorAll(".board")) leaderboard(section);
