// A chart of lines in SVG.

import { el, svg } from "./dom.js";

const HEIGHT = 220;
const EDGE = { left: 46, right: 18, top: 8, bottom: 30 };

/**
 * Draws lines into `figure`. `lines` are `{ name, points: [[x, y]…], share, strong }`: `share` in 0..=1 is the place
 * in the scale of colours. `across` is the name of x.
 */
export function drawChart(figure, chart) {
  const {
    title, across, lines,
    scale = "linear", // Of y; or "logarithmic".
    cursor = null, // An x that is marked.
    height = HEIGHT,
    reach = null, // The ends of x, where they do not follow from the points.
    range = null, // The ends of y.
    legend = false,
    format = tidy, // Of y, as text.
  } = chart;
  const width = Math.max(240, figure.clientWidth || 480);
  const points = lines.flatMap((line) => line.points).filter(([, y]) => usable(y, scale));
  const body = points.length ? plotted() : [svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing yet")];
  const size = { viewBox: `0 0 ${width} ${height}`, width, height };
  const picture = svg("svg", { ...size, role: "img", "aria-label": summary(title, lines, format) }, body);
  const names = legend && lines.map((line) => el("span", { class: "key" }, swatch(line.share), line.name));
  figure.replaceChildren(el("figcaption", {}, title), picture, names ? el("div", { class: "keys" }, names) : "");

  function plotted() {
    const ys = range ?? extent(points.map(([, y]) => y), scale);
    const xs = reach ?? extent(points.map(([x]) => x), "linear");
    const map = scale === "logarithmic" ? Math.log : Number;
    const bottom = height - EDGE.bottom;
    const x = (value) => EDGE.left + share(value, xs, Number) * (width - EDGE.left - EDGE.right);
    const y = (value) => bottom - share(value, ys, map) * (bottom - EDGE.top);
    const grid = ticks(ys, scale).map((value) => [
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ]);
    const below = ticks(xs, "linear", 1).map((value) =>
      svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, tidy(value)));
    const place = ([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`;
    const drawn = lines.map(({ points, share: where, strong }) => {
      const kept = points.filter(([, y]) => usable(y, scale));
      const mark = kept.length === 1
        ? svg("circle", { cx: x(kept[0][0]), cy: y(kept[0][1]), r: 3, class: "point" })
        : svg("polyline", { points: kept.map(place).join(" "), class: strong ? "line strong" : "line" });
      mark.style.setProperty("--tint", tint(where));
      return mark;
    });
    const at = cursor === null ? []
      : [svg("line", { x1: x(cursor), x2: x(cursor), y1: EDGE.top, y2: bottom, class: "cursor" })];
    const name = svg("text", { x: width - EDGE.right, y: height - 2, "text-anchor": "end" }, across);
    return [grid, below, at, drawn, name].flat(2);
  }
}

/** The colour at `share` of the scale; grey for `null`. */
export const tint = (share) =>
  share === null ? "var(--bar)" : `color-mix(in oklab, var(--accent) ${Math.round(100 * share)}%, var(--early))`;

/** A small square in a colour of the scale. */
export function swatch(share) {
  const square = el("i", { class: "swatch", "aria-hidden": "true" });
  square.style.setProperty("--tint", tint(share));
  return square;
}

/** Where `value` lies between two ends, 0..=1. */
const share = (value, [low, high], map) => (map(value) - map(low)) / (map(high) - map(low) || 1);

const usable = (y, scale) => Number.isFinite(y) && y !== null && (scale === "linear" || y > 0);

function extent(values, scale) {
  const [low, high] = values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  if (low < high) return [low, high];
  return scale === "logarithmic" ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
}

/** Round values between two ends, `least` or more apart. */
function ticks([low, high], scale, least = 0) {
  if (scale === "logarithmic") {
    const decades = Math.log10(high / low);
    const leads = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      found.push(...leads.map((lead) => lead * 10 ** power).filter((value) => value >= low && value <= high));
    }
    return found.length > 1 ? found : [low, high];
  }
  const rough = Math.max(least, (high - low) / 4);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((lead) => lead * power).find((size) => size >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** A number without zeros at its end. */
function tidy(value) {
  if (!Number.isFinite(value)) return "none";
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : 3 });
}

/** A share in percent for a chart. */
export const inPercent = (share) => `${tidy(100 * share)} %`;

function summary(title, lines, format) {
  const ends = lines.slice(0, 12).map(({ name, points }) => `${name} ends at ${format(points.at(-1)?.[1])}`);
  return `${title}. ${ends.join(", ")}`;
}
