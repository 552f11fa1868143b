// The view Runs: all runs in a table, one of them open, some side by side.

import { drawChart, inPercent } from "./chart.js";
import { button, byId, count, duration, el, grid, percent } from "./dom.js";
import { download } from "./download.js";
import { fromMarkdown } from "./markdown.js";

const COLUMNS = [
  ["name", "Run"], ["dataset", "Data"], ["method", "Method"], ["encoder", "Encoder"],
  ["accuracy", "Test", (share) => percent(share, 2)], ["validation", "Validation", (share) => percent(share, 2)],
  ["epochs", "Epochs", String], ["seconds", "Time", duration], ["seed", "Seed", String], ["state", "State"],
];
const COMPARED = [
  ["name", "Run"], ["method", "Method"], ["dataset", "Data"], ["encoder", "Encoder"], ["embedding", "Embeddings"],
  ["steps", "Steps", String], ["epochs", "Epochs", String], ["n", "Seeds", String],
  ["accuracy", "Test", (share) => percent(share, 2)], ["spread", "Deviation", (share) => percent(share, 2)],
  ["parameters", "Parameters", count], ["seconds", "Time", duration],
];
const MOST = 12; // Runs in one comparison.

/** Makes the view. */
export function create({ engine, say, keep, attempt, go }) {
  const state = { filter: "", sort: "name", down: false, run: null, chosen: new Set(), compared: false };
  let runs = [];

  byId("filter").oninput = () => {
    state.filter = byId("filter").value;
    table();
  };
  byId("refresh").onclick = () => attempt(load);
  byId("compare").onclick = () => {
    state.compared = true;
    table();
    attempt(compare);
  };
  return { show, hide() {} };

  async function show(values) {
    state.filter = byId("filter").value = values.get("filter") ?? "";
    state.sort = COLUMNS.some(([key]) => key === values.get("sort")) ? values.get("sort") : "name";
    state.down = values.get("order") === "down";
    state.chosen = new Set((values.get("chosen") ?? "").split(",").filter(Boolean).map(decodeURIComponent));
    state.compared = values.has("compared");
    state.run = values.get("run");
    await load();
    await open();
    await compare();
  }

  async function load() {
    const told = await engine.runs();
    runs = told.runs;
    // A run that is gone would be an error of every comparison.
    const there = new Set(runs.map(({ id }) => id));
    state.chosen = new Set([...state.chosen].filter((id) => there.has(id)));
    const left = told.left_out ? `. Not listed are ${count(told.left_out)} more: there are too many, or their names are not text.` : "";
    byId("folder").textContent = told.folder === null ? "The trainings of this visit." : `Runs in ${told.folder}${left}`;
    table();
  }

  function values() {
    const chosen = [...state.chosen].map(encodeURIComponent).join(",");
    return {
      filter: state.filter, sort: state.sort === "name" ? null : state.sort, order: state.down ? "down" : null,
      run: state.run, chosen, compared: state.compared ? 1 : null,
    };
  }

  function table() {
    keep(values());
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (run) => [run.name, run.dataset, run.method, run.encoder, run.state].join(" ").toLowerCase();
    const shown = runs.filter((run) => words.every((word) => text(run).includes(word))).sort(by);
    const focus = document.activeElement?.id;
    byId("table").replaceChildren(
      el("thead", {}, el("tr", {}, el("td"), COLUMNS.map(heading))),
      el("tbody", {}, shown.map(row)),
    );
    if (!shown.length) {
      const words = runs.length ? "No run has these words." : "There are no runs yet: train one.";
      byId("table").append(el("tbody", {}, el("tr", {}, el("td", { colspan: COLUMNS.length + 1 }, words))));
    }
    if (focus) byId(focus)?.focus();
    byId("compare").disabled = state.chosen.size < 2;
    byId("compare").textContent = state.chosen.size ? `Compare ${state.chosen.size}` : "Compare";
  }

  /** Sorts by the chosen column. Runs that have no value come last. */
  function by(a, b) {
    const [x, y] = [a[state.sort] ?? null, b[state.sort] ?? null];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return state.down ? -order : order;
  }

  function heading([key, name, format]) {
    const sorted = state.sort === key;
    const sort = () => {
      Object.assign(state, sorted ? { down: !state.down } : { sort: key, down: Boolean(format) && key !== "seed" });
      table();
    };
    const way = !sorted ? "none" : state.down ? "descending" : "ascending";
    return el("th", { scope: "col", class: format ? "number" : "", "aria-sort": way },
      button(name + { none: "", descending: " ↓", ascending: " ↑" }[way], sort, { id: `sort-${key}` }));
  }

  function row(run) {
    const choose = ({ target }) => {
      if (!target.checked) state.chosen.delete(run.id);
      else if (state.chosen.size < MOST) state.chosen.add(run.id);
      else say(`A comparison has at most ${MOST} runs.`);
      table();
    };
    const box = el("input", { type: "checkbox", id: `choose-${run.id}`, "aria-label": `Compare ${run.name}`, change: choose });
    box.checked = state.chosen.has(run.id);
    const pressed = () => {
      state.run = state.run === run.id ? null : run.id;
      table();
      attempt(open);
    };
    return el("tr", { class: state.run === run.id ? "open" : "" }, el("td", {}, box),
      COLUMNS.map(([key, , format]) => {
        if (key === "name") {
          return el("td", {}, button(run.name, pressed, { id: `open-${run.id}`, "aria-expanded": state.run === run.id }));
        }
        if (key === "state") return el("td", { class: `state-${run.state}`, title: run.error }, run.state);
        return valueCell(run[key], format);
      }));
  }

  async function open() {
    const section = byId("run");
    section.hidden = state.run === null;
    if (state.run === null) return;
    const known = runs.find(({ id }) => id === state.run);
    if (known?.state === "damaged") {
      return section.replaceChildren(el("h2", {}, known.name), el("p", {}, known.error ?? "This run cannot be read."));
    }
    const id = state.run;
    const run = await engine.run(id);
    if (state.run !== id) return;
    const settings = Object.entries(run.settings).map(([key, value]) =>
      [el("th", { scope: "row" }, key), typeof value === "object" ? JSON.stringify(value) : String(value)]);
    const losses = el("figure");
    const validation = el("figure");
    section.replaceChildren(
      el("h2", {}, known?.name ?? run.id),
      el("div", { class: "bar" },
        known?.usable ?? known?.state !== "running" ? button("Classify with it", () => go("classify", { model: id })) : null,
        known?.state === "saved" ? button("Resume", () => attempt(async () => (await engine.resume(id), go("train", {})))) : null,
        button("Train with its settings", () => trainLike(run.settings)),
        button("Download weights", () => attempt(async () => download(await engine.weights(id), `${id}.safetensors`)))),
      run.epochs.length ? el("div", { class: "charts" }, losses, validation) : "",
      el("div", { class: "figures" }, await Promise.all(run.figures.map((name) => figure(id, name)))),
      run.card ? el("article", { class: "card" }, fromMarkdown(run.card)) : "",
      el("details", {}, el("summary", {}, "All settings"), grid("All settings", null, settings)),
    );
    if (!run.epochs.length) return;
    const parts = [...new Set(run.epochs.flatMap(({ losses }) => losses.map(({ part }) => part)))];
    drawChart(losses, {
      title: "Loss of each part", across: "epoch", scale: "logarithmic",
      lines: parts.map((part, i) => ({
        name: part, share: parts.length < 2 ? 1 : 0.15 + (0.85 * i) / (parts.length - 1),
        points: run.epochs.map(({ epoch, losses }) => [epoch, losses.find((loss) => loss.part === part)?.error]),
      })),
    });
    drawChart(validation, {
      title: "Accuracy on held-out images", across: "epoch", format: inPercent,
      lines: [{ name: "validation", share: 1, strong: true, points: run.epochs.map(({ epoch, validation }) => [epoch, validation]) }],
    });
  }

  /** Fills the form of Train with the settings of a run. A seed that is text is too large for a number of JavaScript. */
  function trainLike({ seed, ...others }) {
    const large = typeof seed === "string";
    if (large) say(`The form cannot hold a seed as large as ${seed}, so it is left out.`);
    go("train", asForm(large ? others : { ...others, seed }));
  }

  async function figure(id, name) {
    const image = el("img", { src: await engine.figure(id, name), alt: `Figure ${name} of the run`, loading: "lazy" });
    return el("figure", {}, image, el("figcaption", {}, name));
  }

  async function compare() {
    const section = byId("comparison");
    section.hidden = !state.compared || state.chosen.size < 2;
    if (section.hidden) return;
    const ids = [...state.chosen];
    const { lines, unfinished, notes } = await engine.compare(ids);
    const details = await Promise.all(ids.map((id) => engine.run(id).catch(() => null)));
    const chart = el("figure");
    const columns = COMPARED.filter(([key]) => lines.some((line) => line[key] !== null && line[key] !== undefined));
    const close = () => {
      state.compared = false;
      section.hidden = true;
      keep(values());
    };
    section.replaceChildren(
      el("div", { class: "bar" }, el("h2", { class: "grow" }, "Comparison"), button("Close", close)),
      el("p", { class: "quiet" }, "Runs that differ in their seed alone share a line.",
        unfinished.length ? ` Not finished, and therefore without a line: ${unfinished.join(", ")}.` : ""),
      ...notes.map((note) => el("p", { class: "notice" }, `${note}.`)),
      grid("Table of the comparison",
        columns.map(([, name, format]) => el("th", { scope: "col", class: format ? "number" : "" }, name)),
        lines.map((line) => columns.map(([key, , format]) => valueCell(line[key], format)))),
      chart,
    );
    const known = details.filter(Boolean);
    drawChart(chart, {
      title: "Accuracy on held-out images", across: "epoch", legend: true, format: inPercent,
      lines: known.map(({ id, epochs }, i) => ({
        name: runs.find((run) => run.id === id)?.name ?? id, share: known.length < 2 ? 1 : i / (known.length - 1), strong: true,
        points: epochs.map(({ epoch, validation }) => [epoch, validation]),
      })),
    });
  }
}

/** A cell with a value, which may be missing. */
function valueCell(value, format) {
  const text = value === null || value === undefined ? "–" : format ? format(value) : value;
  return el("td", { class: format ? "number" : "" }, text);
}

/** The settings of a run that the form of Train has, by its names. */
function asForm(settings) {
  const names = ["dataset", "method", "encoder", "network", "embedding", "steps", "epochs", "lr", "batch-size", "seed"];
  return Object.fromEntries(names.filter((name) => name in settings).map((name) => [name.replace("-", "_"), settings[name]]));
}
