// The state of the views in the address of the page, after the #: a lesson is a link.

const DELAY = 250; // Browsers refuse to change the address many times a second.
let timer = 0;
addEventListener("hashchange", () => clearTimeout(timer));

/** The view that the address names, and its values. */
export function read() {
  const [view, values] = location.hash.slice(1).split("?");
  return { view, values: new URLSearchParams(values) };
}

/** The part of the address after the #. Values that are null or empty are left out. */
export function written(view, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${view}${kept.length ? "?" : ""}${new URLSearchParams(kept)}`.replaceAll("%2C", ",");
}

/** Puts the state into the address, a moment later, without an entry in the history. */
export function replace(hash) {
  clearTimeout(timer);
  timer = setTimeout(() => history.replaceState(null, "", hash), DELAY);
}

/** Goes to another state, with an entry in the history. */
export function go(hash) {
  location.hash = hash;
}
