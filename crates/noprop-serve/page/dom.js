// Elements, made from text alone: names of classes, runs and files come from strangers, so nothing here reads HTML.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element. Functions among `properties` listen to the event of their name; `null` and `false` leave a property out. */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** A button that does `click`. */
export const button = (text, click, properties = {}) => el("button", { type: "button", click, ...properties }, text);

/** A table of rows of cells, in a frame that scrolls. A cell is an element or the contents of one. */
export function grid(name, head, rows) {
  const cell = (kind) => (contents) => (contents instanceof HTMLTableCellElement ? contents : el(kind, {}, contents));
  const line = (cells, kind) => el("tr", {}, cells.map(cell(kind)));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name },
    el("table", { class: "plain" },
      head && el("thead", {}, line(head, "th")),
      el("tbody", {}, rows.map((cells) => line(cells, "td")))));
}

/** A new element of SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name.startsWith("aria-")) node.setAttribute(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  // One by one: a long text has more pieces than a call may have arguments.
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

/** The options of a select: pairs of value and text. The value stays as it is where it is still there. */
export function fillSelect(select, options, value = select.value) {
  select.replaceChildren(...options.map(([key, text]) => el("option", { value: key }, text)));
  if (options.some(([key]) => String(key) === String(value))) select.value = value;
}

/** A share in percent, such as 99.3 %, with spaces that do not break. */
export function percent(share, digits = 1) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const text = (100 * share).toFixed(digits);
  return share < 1 && Number(text) === 100 ? `>\u00a0${(100 - 10 ** -digits).toFixed(digits)}\u00a0%` : `${text}\u00a0%`;
}

/** A number with about three digits. */
export function short(number) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) return number.toExponential(1);
  return number.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** A signed number of two decimals, with a minus sign of the width of a plus. */
export const signed = (number) => (number <= -0.005 ? "−" : "") + Math.abs(number).toFixed(2);

/** A time such as 45 s or 3 min 20 s. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A number of things, with a comma at each thousand. */
export const count = (number) => Math.round(number).toLocaleString("en");

/** Whether the person asked for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A function that runs `work` on the newest of what it was asked: one at a time, and the ones between are dropped. */
export function newest(work) {
  let busy = false;
  let waiting = null;
  return async (question) => {
    waiting = { question };
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const { question: next } = waiting;
        waiting = null;
        await work(next, () => waiting !== null);
      }
    } finally {
      busy = false;
    }
  };
}
