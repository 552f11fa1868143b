// The chain as columns: what each block was given, what it guesses, and how often it is right.

import { button, calm, el, percent } from "./dom.js";

const SLACK = 5; // Pixels that a press may move before it is a drag.

export class Chain {
  #root;
  #act;
  #columns = []; // { column, node, head, toggle, given, guess }, in the usual order.
  #answer = null;
  #classes = [];
  #at = null;
  #picture = null;
  #labels = []; // The names of the classes, for each kind of rows.

  /** `act` has `choose(number)`, `toggle(number)` and `move(number, place)`. */
  constructor(root, act) {
    this.#root = root;
    this.#act = act;
  }

  /** Makes the columns, with a row for each of `classes` (labels). */
  build(columns, classes, names) {
    this.#classes = classes;
    this.#columns = columns.map((column) => this.#column(column));
    this.#labels = [];
    const labels = (title) => {
      const made = classes.map((label) => el("div", { title: names[label] }, names[label]));
      this.#labels.push(...made);
      const group = rows("names", made);
      group.dataset.title = title;
      return group;
    };
    const share = columns.some(({ accuracy }) => accuracy !== null);
    this.#root.classList.toggle("measured", share);
    this.#root.classList.toggle("wide-names", classes.some((label) => names[label].length > 8));
    this.#answer = { node: el("div", { class: "column answer" }), guess: cells(classes, "amount") };
    this.#answer.node.append(
      el("div", { class: "grip" }), el("div", { class: "head" }, "Answer"),
      rows("given", classes.map(() => el("div"))), rows("guess", this.#answer.guess),
      el("div", { class: "share" }), el("div", { class: "foot" }),
    );
    this.#root.replaceChildren(
      el("div", { class: "column legend", "aria-hidden": "true" },
        el("div", { class: "grip" }), el("div", { class: "head" }, columns[0]?.unit ?? ""), labels("z: distance to"), labels("û: guess"),
        el("div", { class: "share" }, "Accuracy"), el("div", { class: "foot" }, "Takes part")),
      ...this.#columns.map(({ node }) => node),
      this.#answer.node,
    );
  }

  #column(column) {
    const { number, title, name } = column;
    const given = cells(this.#classes, "dot");
    const guess = cells(this.#classes, "amount");
    const head = button(title, () => this.#act.choose(number), { class: "head" });
    const toggle = button("", () => this.#act.toggle(number), { role: "switch", class: "switch", "aria-label": `${name} takes part` });
    const share = column.accuracy === null ? "" : percent(column.accuracy);
    const grip = el("div", { class: "grip", title: "Drag to move", "aria-hidden": "true" }, "⠿");
    const node = el("div", { class: "column", click: (event) => event.target.closest("button, .grip") || this.#act.choose(number) },
      grip, head, rows("given", given), rows("guess", guess),
      el("div", { class: "share", title: `${name}: accuracy inside the chain` }, share),
      el("div", { class: "foot" }, toggle));
    const made = { column, node, head, toggle, given, guess };
    head.onkeydown = (event) => this.#key(event, made);
    grip.onpointerdown = (event) => this.#drag(event, made);
    return made;
  }

  /** Shows a walk after `at` of its steps. Values move to their places, but not from one picture to the next: a pen is followed at once. */
  show({ walk, at, order, off, chosen, truth }) {
    this.#root.classList.toggle("at-once", walk.picture !== this.#picture);
    this.#picture = walk.picture;
    this.#labels.forEach((name, i) => name.classList.toggle("truth", this.#classes[i % this.#classes.length] === truth));
    const furthest = walk.steps.reduce((most, { distances }) => Math.max(most, ...distances), 1e-9);
    this.#arrange(order);
    for (const made of this.#columns) {
      const { column, node, head, toggle } = made;
      const out = off.has(column.number);
      const { step, state } = out ? { step: null, state: "out" } : stepOf(column, walk, at);
      const looks = `column ${state}${chosen === column.number ? " chosen" : ""}`;
      if (node.className !== looks) node.className = looks;
      head.setAttribute("aria-pressed", chosen === column.number);
      toggle.setAttribute("aria-checked", !out);
      fill(made.given, this.#classes, step?.distances.map((d) => d / furthest), nearest(step?.distances));
      fill(made.guess, this.#classes, step?.guess, likeliest(step?.guess));
      head.setAttribute("aria-label", described(column, step, walk.names));
    }
    const answer = readout(walk, at);
    fill(this.#answer.guess, this.#classes, answer, likeliest(answer));
    this.#follow(at);
  }

  /** Keeps the column that works in sight, where there is no room for all. */
  #follow(at) {
    if (at === this.#at) return;
    this.#at = at;
    const node = this.#root.querySelector(".current");
    if (!node || this.#root.scrollWidth <= this.#root.clientWidth) return;
    const left = node.offsetLeft - (this.#root.clientWidth - node.offsetWidth) / 2;
    this.#root.scrollTo({ left, behavior: calm() ? "auto" : "smooth" });
  }

  /** Puts the columns into an order, and moves them there smoothly. */
  #arrange(order) {
    const nodes = order.map((number) => this.#columns[number - 1].node);
    const present = [...this.#root.children].slice(1, -1);
    if (nodes.every((node, i) => node === present[i])) return;
    const before = new Map(nodes.map((node) => [node, node.getBoundingClientRect().left]));
    const focused = document.activeElement;
    for (const node of nodes) this.#answer.node.before(node);
    if (this.#root.contains(focused)) focused.focus();
    if (calm()) return;
    for (const node of nodes) {
      const moved = before.get(node) - node.getBoundingClientRect().left;
      if (moved) node.animate([{ translate: `${moved}px 0` }, { translate: "0 0" }], { duration: 200, easing: "ease-out" });
    }
  }

  #key(event, { column, node }) {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const place = this.#places().indexOf(node);
    if (event.shiftKey) this.#act.move(column.number, place + way);
    else this.#places()[place + way]?.querySelector(".head").focus();
  }

  #places = () => [...this.#root.children].slice(1, -1);

  /** Follows the pointer with a column, and puts it where it is let go. */
  #drag(event, { column, node }) {
    if (event.button !== 0) return;
    event.preventDefault();
    const grip = event.currentTarget;
    grip.setPointerCapture(event.pointerId);
    const places = this.#places();
    const from = places.indexOf(node);
    const middles = places.map((place) => place.getBoundingClientRect()).map(({ left, width }) => left + width / 2);
    const width = node.getBoundingClientRect().width;
    let to = from;
    grip.onpointermove = ({ clientX }) => {
      const x = clientX - event.clientX;
      if (Math.abs(x) < SLACK) return;
      node.classList.add("dragged");
      node.style.translate = `${x}px 0`;
      const middle = middles[from] + x;
      to = middles.filter((other, i) => i !== from && other < middle).length;
      places.forEach((place, i) => {
        if (place === node) return;
        const shift = i > from && i <= to ? -width : i < from && i >= to ? width : 0;
        place.style.translate = `${shift}px 0`;
      });
    };
    grip.onpointerup = grip.onpointercancel = ({ type }) => {
      grip.onpointermove = grip.onpointerup = grip.onpointercancel = null;
      for (const place of places) place.style.translate = "";
      node.classList.remove("dragged");
      if (type === "pointerup" && to !== from) this.#act.move(column.number, to);
    };
  }
}

/** The step of a column to show after `at` steps: its last that is done, or else its first. */
export function stepOf({ first, last }, { steps }, at) {
  let found = { step: null, state: "out" };
  for (let i = 0; i < steps.length; i++) {
    const { step } = steps[i];
    if (step < first || step > last) continue;
    if (i < at) found = { step: steps[i], state: i === at - 1 ? "current" : "done" };
    else if (!found.step) found = { step: steps[i], state: "coming" };
  }
  return found;
}

/** The probabilities that are read out of z after `at` steps, or null of noise. */
export function readout({ steps, probabilities }, at) {
  return at === steps.length ? probabilities : at === 0 ? null : steps[at - 1].answer;
}

export const likeliest = (values) => (values ? values.indexOf(Math.max(...values)) : -1);
const nearest = (values) => (values ? values.indexOf(Math.min(...values)) : -1);

const rows = (name, children) => el("div", { class: `rows ${name}`, "aria-hidden": "true" }, children);
const cells = (classes, kind) => classes.map(() => el("div", { class: "cell" }, el("i", { class: kind }), el("b")));

function fill(cells, classes, values, top) {
  cells.forEach((cell, row) => {
    const label = classes[row];
    const value = values?.[label];
    // Only what changes: the browser lays out what is set, and a pen asks for many answers a second.
    const { style } = cell.firstChild;
    const shown = (value ?? 0).toFixed(3);
    if (style.getPropertyValue("--v") !== shown) style.setProperty("--v", shown);
    cell.classList.toggle("none", value === undefined);
    cell.classList.toggle("top", label === top);
    const told = label === top && value !== undefined && cell.firstChild.className === "amount";
    const text = told ? String(Math.round(100 * value)) : "";
    if (cell.lastChild.textContent !== text) cell.lastChild.textContent = text;
  });
}

function described({ name }, step, names) {
  if (!step) return `${name}, takes no part`;
  const guess = likeliest(step.guess);
  return guess < 0 ? name : `${name}, guesses ${names[guess]} with ${percent(step.guess[guess], 0)}`;
}
