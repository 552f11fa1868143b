// The update of one block, with its numbers: z_t = a û + b z + √c ε.

import { button, el, short, signed } from "./dom.js";

const name = (letter, index) => el("span", {}, el("i", {}, letter), index === undefined ? null : el("sub", {}, index));

/**
 * Shows how `step` moves z, and works out the number `component`; `pick` chooses another. `buttons` follow the title.
 * Focus and scroll stay where they were.
 */
export function showUpdate(root, contents) {
  const pressed = [...root.querySelectorAll("button")].indexOf(document.activeElement);
  const left = root.querySelector(".scroll")?.scrollLeft ?? 0;
  draw(root, contents);
  if (pressed >= 0) root.querySelectorAll("button")[pressed]?.focus();
  if (left) root.querySelector(".scroll")?.scrollTo(left, 0);
}

function draw(root, { title, step, names, oneHot, component, pick, buttons }) {
  root.replaceChildren(el("div", { class: "bar" }, el("h2", {}, title), ...buttons));
  if (!step) return root.append(el("p", {}, "It takes no part: z passes unchanged."));
  const chosen = Math.min(component, step.z.length - 1);
  const terms = termsOf(step);
  const sum = terms.map(({ factor, symbol }, i) => {
    const sign = factor < 0 ? " − " : i ? " + " : " ";
    return [sign, factor === 1 ? "" : `${short(Math.abs(factor))} `, symbol.cloneNode(true)];
  });
  root.append(
    el("p", { class: "formula" }, el("span", {}, formula(step)), el("span", {}, name("z", "t"), " = ", ...sum.flat())),
    table(step, terms, oneHot ? names : step.z.map((_, i) => i + 1), chosen, pick),
    worked(step, terms, chosen),
    el("p", { class: "quiet" }, remark(step)),
  );
}

/** Each line of the update: its factor, its symbol, what it is, and its numbers. */
function termsOf(step) {
  if (step.coefficients) {
    const { a, b, c } = step.coefficients;
    return [
      step.clean && { factor: a, symbol: name("û"), what: "its guess", values: step.clean },
      { factor: b, symbol: name("z"), what: "given", values: step.z },
      step.noise && { factor: Math.sqrt(c), symbol: name("ε"), what: "noise", values: step.noise },
    ].filter(Boolean);
  }
  const length = step.next - step.time || 1;
  const velocity = step.z.map((z, i) => (step.next_z[i] - z) / length);
  return [
    { factor: 1, symbol: name("z"), what: "given", values: step.z },
    { factor: length, symbol: name("v"), what: "velocity", values: velocity },
  ];
}

function formula({ coefficients }) {
  return coefficients
    ? [name("z", "t"), " = ", name("a"), " ", name("û"), " + ", name("b"), " ", name("z"), " + √", name("c"), " ", name("ε")]
    : [name("z", "t"), " = ", name("z"), " + Δt ", name("v")];
}

const remark = ({ coefficients, noise, clean }) =>
  !coefficients ? "The solver follows the velocity v from noise towards an embedding for Δt."
  : !clean ? ""
  : `û is the mean of the class embeddings, each weighted with its guessed probability. ${
    noise ? "The noise ε is drawn anew in each step." : "This chain takes the mean: it adds no noise."}`;

function table(step, terms, heads, chosen, pick) {
  const columns = step.z.map((_, i) => i);
  const shown = [...terms.map(({ values }) => values), step.next_z].flat();
  const largest = shown.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  const line = (symbol, what, values, last) =>
    el("tr", { class: last ? "sum" : "" },
      el("th", { scope: "row" }, symbol, " ", el("span", { class: "quiet" }, what)),
      columns.map((i) => el("td", { class: i === chosen ? "chosen" : "" }, lever(values[i] / largest), signed(values[i]))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the update" },
    el("table", { class: "vectors" },
      el("thead", {}, el("tr", {}, el("td", {}, heads[0] === 1 ? "number" : "class"),
        columns.map((i) => el("th", { scope: "col" }, button(heads[i], () => pick(i), { "aria-pressed": i === chosen }))))),
      el("tbody", {},
        terms.map(({ symbol, what, values }) => line(symbol, what, values)),
        line(name("z", "t"), "after", step.next_z, true))));
}

/** A bar to the right for a positive share, to the left for a negative one. */
function lever(share) {
  const bar = el("i", { class: "lever" });
  bar.style.setProperty("--from", `${50 + 50 * Math.min(0, share)}%`);
  bar.style.setProperty("--size", `${50 * Math.abs(share)}%`);
  return bar;
}

function worked(step, terms, chosen) {
  const number = (value) => (value < 0 ? `(${signed(value)})` : signed(value));
  const parts = terms.map(({ factor, values }, i) =>
    `${i ? " + " : ""}${factor === 1 ? "" : `${short(factor)} × `}${number(values[chosen])}`);
  return el("p", { class: "formula worked" }, `${parts.join("")} = `, el("strong", {}, signed(step.next_z[chosen])));
}
