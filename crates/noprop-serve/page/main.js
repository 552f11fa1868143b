// Opens the engine, shows the view that the address names, and keeps errors visible.

import { read, replace, go, written } from "./address.js";
import { byId } from "./dom.js";
import { openEngine } from "./engine.js";

const VIEWS = {
  classify: () => import("./classify.js"),
  train: () => import("./train.js"),
  runs: () => import("./runs.js"),
};

const opened = new Map(); // The views that were shown, by name.
let engine = null;
let shown = null;
let said = ""; // The kind of the error that is shown.

/** Starts the page. */
export async function start() {
  themes();
  byId("message").querySelector("button").onclick = () => say(null);
  addEventListener("error", ({ error, message }) => say(error ?? message));
  addEventListener("unhandledrejection", ({ reason }) => say(reason));
  forgetToken();
  engine = await openEngine();
  byId("engine").textContent =
    engine.kind === "wasm" ? "computes in this browser" : "computes with noprop serve";
  addEventListener("hashchange", show);
  await show();
}

/** The token is in a cookie now, and a link that is handed on shall not have it. */
function forgetToken() {
  const query = new URLSearchParams(location.search);
  if (!query.has("token")) return;
  query.delete("token");
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
}

/** Shows an error, a sentence, or with `null` nothing. It stays until it is closed or something of its `kind` succeeds. */
function say(error, kind = "page") {
  said = kind;
  byId("message").hidden = !error;
  const text = error ? String(error.message ?? error) : "";
  const end = /[.!?]$|^$/.test(text) ? "" : ".";
  byId("message").firstChild.textContent = text.charAt(0).toUpperCase() + text.slice(1) + end;
}

async function show() {
  const { view, values } = read();
  const name = Object.hasOwn(VIEWS, view) ? view : "classify";
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (viewOf(link) === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · noprop`;
  byId("waiting").hidden = true;
  try {
    if (!opened.has(name)) opened.set(name, (await loaded(name)).create(context(name)));
    const next = opened.get(name);
    if (shown !== next) shown?.hide();
    shown = next;
    await next.show(values);
  } catch (error) {
    say(error);
  }
}

const loaded = (name) => VIEWS[name]().catch((error) => {
  throw new Error(`This view could not be loaded: ${error.message}`);
});

const viewOf = (link) => link.hash.slice(1).split("?")[0];

/** What a view gets: the engine, a place for errors, and the address. */
function context(name) {
  const link = [...document.querySelectorAll("nav a")].find((link) => viewOf(link) === name);
  return {
    engine,
    say,
    /** Puts the state of the view into the address. */
    keep(values) {
      const hash = written(name, values);
      link.href = hash;
      if (!byId(name).hidden) replace(hash);
    },
    go: (view, values) => go(written(view, values)),
    /** Runs `work` and shows its error. Success takes an earlier error of the same kind away. */
    async attempt(work, kind = "action") {
      try {
        await work();
        if (said === kind) say(null);
      } catch (error) {
        say(error, kind);
      }
    },
  };
}

function themes() {
  const select = byId("theme");
  const apply = () => (document.documentElement.dataset.theme = select.value);
  try {
    select.value = localStorage.getItem("theme") ?? "";
  } catch {
    // A browser that keeps nothing follows the system.
  }
  apply();
  select.onchange = () => {
    apply();
    try {
      localStorage.setItem("theme", select.value);
    } catch {
      // The choice holds for this visit.
    }
    dispatchEvent(new Event("themechange"));
  };
}
