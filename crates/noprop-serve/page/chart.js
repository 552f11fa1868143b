// A chart of lines in SVG.

import { el, short, svg } from "./dom.js";

const HEIGHT = 220;
const EDGE = { left: 46, right: 12, top: 8, bottom: 30 };

/**
 * Draws lines into `figure`. `lines` are `{ name, points: [[x, y]…], share, strong }`: `share` in 0..=1 is the place in the scale of
 * colours. `scale` is "linear" or "logarithmic". `cursor` is an x that is marked, `across` the
 * name of x, and `reach` and `range` are the ends of x and y where they do not follow from the points.
 */
export function drawChart(figure, { title, across, lines, scale = "linear", cursor = null, height = HEIGHT, range = null, reach = null, legend = false, format = short }) {
  const width = Math.max(240, figure.clientWidth || 480);
  const points = lines.flatMap((line) => line.points).filter(([, y]) => usable(y, scale));
  const body = points.length ? plotted() : [svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing yet")];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": summary(title, lines, format) }, body);
  const names = legend && lines.map((line) => el("span", { class: "key" }, swatch(line.share), line.name));
  figure.replaceChildren(el("figcaption", {}, title), picture, names ? el("div", { class: "keys" }, names) : "");

  function plotted() {
    const ys = range ?? extent(points.map(([, y]) => y), scale);
    const xs = reach ?? extent(points.map(([x]) => x), "linear");
    const x = (value) => EDGE.left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - EDGE.left - EDGE.right);
    const map = scale === "logarithmic" ? Math.log : Number;
    const y = (value) => height - EDGE.bottom - ((map(value) - map(ys[0])) / (map(ys[1]) - map(ys[0]) || 1)) * (height - EDGE.top - EDGE.bottom);
    const grid = ticks(ys, scale).map((value) => [
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ]);
    const below = ticks(xs, "linear").map((value) => svg("text", { x: x(value), y: height - EDGE.bottom + 16, "text-anchor": "middle" }, tidy(value)));
    const drawn = lines.map(({ points, share, strong }) => {
      const kept = points.filter(([, y]) => usable(y, scale));
      const mark = kept.length === 1
        ? svg("circle", { cx: x(kept[0][0]), cy: y(kept[0][1]), r: 3, class: "point" })
        : svg("polyline", { points: kept.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "), class: strong ? "line strong" : "line" });
      mark.style.setProperty("--tint", tint(share));
      return mark;
    });
    const at = cursor === null ? [] : [svg("line", { x1: x(cursor), x2: x(cursor), y1: EDGE.top, y2: height - EDGE.bottom, class: "cursor" })];
    const name = svg("text", { x: width - EDGE.right, y: height - 2, "text-anchor": "end" }, across);
    return [grid, below, at, drawn, name].flat(2);
  }
}

/** The colour at `share` of the scale. */
export const tint = (share) => `color-mix(in oklab, var(--accent) ${Math.round(100 * share)}%, var(--early))`;

/** A small square in a colour of the scale. */
export function swatch(share) {
  const square = el("i", { class: "swatch", "aria-hidden": "true" });
  square.style.setProperty("--tint", tint(share));
  return square;
}

const usable = (y, scale) => Number.isFinite(y) && y !== null && (scale === "linear" || y > 0);

function extent(values, scale) {
  const [low, high] = values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  if (low < high) return [low, high];
  return scale === "logarithmic" ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
}

function ticks([low, high], scale) {
  if (scale === "logarithmic") {
    const decades = Math.log10(high / low);
    const leads = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      found.push(...leads.map((lead) => lead * 10 ** power).filter((value) => value >= low && value <= high));
    }
    return found.length > 1 ? found : [low, high];
  }
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((lead) => lead * power).find((size) => size >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

const tidy = (value) => Number(value.toPrecision(6)).toLocaleString("en");

function summary(title, lines, format) {
  const ends = lines.slice(0, 12).map(({ name, points }) => `${name} ends at ${format(points.at(-1)?.[1])}`);
  return `${title}. ${ends.join(", ")}`;
}
