"use strict";
// Line and scatter plots as SVG: axes with units, a legend, tooltips.

const SHAPES = [
  "M-5,0A5,5,0,1,0,5,0A5,5,0,1,0,-5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-6L5.5,4.5H-5.5Z", "M0,-6.2L6.2,0L0,6.2L-6.2,0Z",
  "M0,6L5.5,-4.5H-5.5Z", "M-1.8,-5.5H1.8V-1.8H5.5V1.8H1.8V5.5H-1.8V1.8H-5.5V-1.8H-1.8Z",
  "M-5,-2.5L-2.5,-5L0,-2.5L2.5,-5L5,-2.5L2.5,0L5,2.5L2.5,5L0,2.5L-2.5,5L-5,2.5L-2.5,0Z", "M-5,-1.5H5V1.5H-5Z",
];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const lineColour = (place) => `var(--s${place % 10})`;
const lineDash = (place) => DASHES[Math.floor(place / 10) % DASHES.length];
const BOX = { width: 860, height: 420, left: 62, right: 16, top: 30, bottom: 46 };

function niceTicks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place++) ticks.push(place * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks.length > 8 ? ticks.filter((tick) => /^1/.test(tick.toExponential())) : ticks;
}

function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(4)} G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(4)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(4)} k`;
  return String(+value.toPrecision(4));
}

// An axis: from values to pixels, and its ticks.
function scale(values, from, to, log) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (log) {
    const margin = (high / low) ** 0.05 || 1.1;
    low /= margin > 1 ? margin : 1.1;
    high *= margin > 1 ? margin : 1.1;
    const share = (value) => Math.log(value / low) / Math.log(high / low);
    return { at: (value) => from + (to - from) * share(value), ticks: logTicks(low, high) };
  }
  const margin = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  low -= margin;
  high += margin;
  return { at: (value) => from + (to - from) * (value - low) / (high - low), ticks: niceTicks(low, high, 6) };
}

// series: [{ name, colour, dash, shape, points: [{ x, y, text, link }] }], with lines if `lines`.
function chart(place, { series, x, y, lines = false, logX = false, title }) {
  const points = series.flatMap((one) => one.points);
  if (!points.length) {
    place.replaceChildren(html("p", {}, "No run has these values."));
    return;
  }
  const across = points.map((point) => point.x);
  const log = logX && Math.min(...across) > 0 && Math.max(...across) > 10 * Math.min(...across);
  const xs = scale(across, BOX.left, BOX.width - BOX.right, log);
  const ys = scale(points.map((point) => point.y), BOX.height - BOX.bottom, BOX.top, false);
  const heading = svg("text", { class: "title", x: BOX.left, y: 16 }, title);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "group", "aria-label": title });
  picture.append(heading);
  for (const tick of ys.ticks) {
    picture.append(svg("line", { class: "grid", x1: BOX.left, x2: BOX.width - BOX.right, y1: ys.at(tick), y2: ys.at(tick) }),
      svg("text", { x: BOX.left - 6, y: ys.at(tick) + 4, "text-anchor": "end" }, tickText(tick)));
  }
  const whole = across.every(Number.isInteger);
  for (const tick of xs.ticks.filter((place) => !whole || log || Number.isInteger(+place.toFixed(9)))) {
    picture.append(svg("line", { class: "axis", x1: xs.at(tick), x2: xs.at(tick), y1: BOX.height - BOX.bottom, y2: BOX.height - BOX.bottom + 5 }),
      svg("text", { x: xs.at(tick), y: BOX.height - BOX.bottom + 18, "text-anchor": "middle" }, tickText(tick)));
  }
  picture.append(
    svg("line", { class: "axis", x1: BOX.left, x2: BOX.width - BOX.right, y1: BOX.height - BOX.bottom, y2: BOX.height - BOX.bottom }),
    svg("text", { class: "title", x: (BOX.left + BOX.width - BOX.right) / 2, y: BOX.height - 8, "text-anchor": "middle" }, log ? `${x}, logarithmic` : x),
    svg("text", { class: "title", transform: `translate(14 ${(BOX.top + BOX.height - BOX.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y));
  const groups = series.map((one) => {
    const group = svg("g", {});
    if (lines) {
      const path = one.points.map((point, i) => `${i ? "L" : "M"}${xs.at(point.x).toFixed(1)},${ys.at(point.y).toFixed(1)}`).join("");
      const line = svg("path", { class: "line", d: path, stroke: one.colour, "stroke-dasharray": one.dash || false });
      group.append(withTooltip(line, one.name));
    }
    const few = !lines || one.points.length <= 30;
    for (const point of few ? one.points : one.points.slice(-1)) {
      const mark = svg("path", { d: one.shape, fill: one.colour, transform:
        `translate(${xs.at(point.x).toFixed(1)} ${ys.at(point.y).toFixed(1)})${lines ? " scale(0.6)" : ""}` });
      withTooltip(mark, point.text);
      if (point.link) {
        const link = svg("a", { href: point.link, "aria-label": point.text.replaceAll("\n", ", ") }, mark);
        group.append(withTooltip(link, point.text));
      } else group.append(mark);
    }
    picture.append(group);
    return group;
  });
  const label = (one) => one.legend || one.name; // several runs of a setting have one
  const entries = series.filter((one, i) => series.findIndex((other) => label(other) === label(one)) === i);
  const legend = html("ul", { class: "legend" }, ...entries.map((one) => {
    const sample = svg("svg", { width: 26, height: 14, viewBox: "-13 -7 26 14", "aria-hidden": "true" });
    if (lines) sample.append(svg("line", { x1: -13, x2: 13, y1: 0, y2: 0, stroke: one.colour, "stroke-width": 2, "stroke-dasharray": one.dash || false }));
    sample.append(svg("path", { d: one.shape, fill: one.colour, transform: lines ? "scale(0.7)" : false }));
    const item = html("li", {}, sample, label(one));
    const fade = (group, j) => group.classList.toggle("faded", label(series[j]) !== label(one));
    item.addEventListener("mouseenter", () => groups.forEach(fade));
    item.addEventListener("mouseleave", () => groups.forEach((group) => group.classList.remove("faded")));
    return item;
  }));
  place.replaceChildren(picture, legend);
}
