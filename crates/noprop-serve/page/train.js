// The view Train: start a training, and look at it while it runs.

import { drawChart, inPercent, swatch } from "./chart.js";
import { button, byId, count, duration, el, percent, short } from "./dom.js";
import { download } from "./download.js";

const FIELDS = ["dataset", "method", "encoder", "network", "embedding", "steps", "epochs", "lr", "batch_size", "seed"];
const USUAL = { method: "dt", encoder: "shared", network: "paper", embedding: "onehot" };
const STATES = {
  none: "No training", running: "Training", stopping: "Stopping after this step", stopped: "Stopped",
  finished: "Finished", failed: "Failed",
};
const MOST_POINTS = 150; // In a line: more than a pixel each for no gain.

/** Makes the view. */
export function create({ engine, say, keep, attempt, go }) {
  const form = byId("settings");
  const usual = { ...USUAL, dataset: engine.datasets[0] ?? "mnist-sample" };
  let training = { state: "none", history: [], losses: [], paused: [], blocks: 0 };
  let close = null;
  let rows = []; // The lines of blocks: { item, value, pause }.

  byId("datasets").append(...engine.datasets.map((value) => el("option", { value })));
  form.elements.dataset.readOnly = engine.kind === "wasm";
  byId("train-help").textContent = engine.kind === "wasm"
    ? "The 5,000 digits that come with the page. The training lives in this visit: when the page is closed, it is gone."
    : "Settings that are left open have usual values. Closing the page does not stop a training.";
  form.oninput = () => {
    relate();
    keep(values());
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    attempt(() => engine.train(settings()));
  };
  byId("stop").onclick = () => attempt(() => engine.stop());
  byId("resume").onclick = () => attempt(() => engine.resume(training.run));
  byId("download").onclick = () => attempt(async () => download(await engine.weights(training.run), `${training.run}.safetensors`));
  byId("use").onclick = (event) => {
    event.preventDefault();
    go("classify", { model: training.run });
  };
  addEventListener("resize", () => byId("train").hidden || draw());
  return { show, hide };

  async function show(given) {
    for (const name of FIELDS) set(form.elements[name], given.get(name) ?? usual[name] ?? "");
    if (engine.kind === "wasm") form.elements.dataset.value = usual.dataset;
    relate();
    hide();
    close = await engine.onTraining((told) => {
      training = told;
      draw();
    }, say);
    training = await engine.training();
    draw();
  }

  /** Gives a field a value. A list gets one that it does not offer, because another would be trained in its place. */
  function set(field, value) {
    const offered = !field.options || [...field.options].some((option) => option.value === value);
    if (!offered) field.append(el("option", { value }, value));
    field.value = value;
  }

  function hide() {
    close?.();
    close = null;
  }

  /** What is set, for the address. */
  function values() {
    const given = FIELDS.map((name) => [name, form.elements[name].value]);
    return Object.fromEntries(given.filter(([name, value]) => value !== (usual[name] ?? "")));
  }

  /** What is set, for the engine. An empty field leaves the choice to the program. */
  function settings() {
    const given = FIELDS.map((name) => [name, form.elements[name]]).filter(([, field]) => field.value !== "" && !field.disabled);
    const value = (field) => (field.type === "number" ? field.valueAsNumber : field.value.trim());
    return Object.fromEntries(given.map(([name, field]) => [name, value(field)]));
  }

  /** Fits the words of the form to the method. */
  function relate() {
    const method = form.elements.method.value;
    const plain = method === "classifier"; // It has no chain.
    byId("steps-name").textContent = method === "dt" || plain ? "Blocks T" : "Steps of the solver";
    form.elements.encoder.disabled = method !== "dt" && !plain;
    for (const name of ["steps", "embedding"]) form.elements[name].disabled = plain;
  }

  function draw() {
    const { state, run, done, epochs, steps_per_epoch: per, error, history } = training;
    const active = state === "running" || state === "stopping";
    const steps = epochs * per;
    byId("training-title").textContent = run ? `${STATES[state]}: ${run}` : STATES[state];
    byId("training-text").textContent = error
      ?? (state === "none" ? "Choose settings and press Train. The curves of all blocks appear here."
        : (training.remarks ?? []).join(" "));
    byId("training-text").hidden = !byId("training-text").textContent;
    byId("progress").hidden = state === "none";
    byId("progress").value = steps ? done / steps : 0;
    byId("train").classList.toggle("active", active);
    byId("begin").disabled = active;
    byId("stop").disabled = state !== "running";
    byId("stop").hidden = !active;
    byId("resume").hidden = state !== "stopped";
    byId("download").hidden = !run || !history.length;
    byId("use").hidden = !run || active || !history.length;
    byId("training-facts").replaceChildren(...facts(active, steps));
    for (const id of ["loss-chart", "validation-chart", "blocks-title", "blocks-help"]) byId(id).hidden = state === "none";
    if (state === "none") return byId("blocks").replaceChildren();
    curves();
    blocks(active);
  }

  function facts(active, steps) {
    const { state, done, epochs, steps_per_epoch: per, images_per_second: speed, seconds_left: left, history } = training;
    const test = training.test_accuracy;
    if (state === "none") return [];
    const validation = history.findLast((epoch) => epoch.validation !== null)?.validation;
    return [
      ["Epoch", `${Math.min(epochs, Math.floor(done / (per || 1)) + (active ? 1 : 0))} of ${epochs}`],
      ["Step", `${count(done)} of ${count(steps)}`],
      ["Images a second", speed ? count(speed) : "–"],
      active ? ["Time left", duration(left)] : null,
      ["Validation", percent(validation, 2)],
      test === null || test === undefined ? null : ["Test", percent(test, 2)],
    ].filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  }

  function curves() {
    const { losses, blocks, history } = training;
    const every = Math.max(1, Math.ceil(losses.length / MOST_POINTS));
    const kept = losses.filter((_, i) => i % every === 0 || i === losses.length - 1);
    drawChart(byId("loss-chart"), {
      title: "Loss of each block", across: "step", scale: "logarithmic",
      lines: Array.from({ length: blocks }, (_, block) => ({
        name: `block ${block + 1}`, share: place(block), points: kept.map(([step, of]) => [step, of[block]]),
      })),
    });
    drawChart(byId("validation-chart"), {
      title: "Accuracy on held-out images", across: "epoch", format: inPercent,
      lines: [{ name: "validation", share: 1, strong: true, points: history.map(({ epoch, validation }) => [epoch, validation]) }],
    });
  }

  function place(block) {
    return training.blocks < 2 ? 1 : 0.15 + (0.85 * block) / (training.blocks - 1);
  }

  /** A line for each block, with its loss and, where blocks are independent, a button that pauses it. */
  function blocks(active) {
    const { method, blocks, paused, pausable, losses } = training;
    byId("blocks-help").textContent = method === "classifier" ? "One network, with one loss."
      : blocks < 2 ? "One block learns all times." : pausable
      ? "No gradient crosses from one block to another: pause one, and the others go on as before."
      : "These blocks cannot pause one by one.";
    if (rows.length !== blocks) {
      rows = Array.from({ length: blocks }, (_, i) => {
        const value = el("span");
        const pause = button("", () => attempt(() => engine.pause(i + 1, !training.paused.includes(i + 1))));
        return { item: el("li", {}, swatch(place(i)), value, pause), value, pause };
      });
      byId("blocks").replaceChildren(...rows.map(({ item }) => item));
    }
    const last = losses.at(-1)?.[1] ?? [];
    rows.forEach(({ item, value, pause }, i) => {
      const resting = paused.includes(i + 1);
      item.className = resting ? "paused" : "";
      value.textContent = `Block ${i + 1}: ${resting ? "paused" : short(last[i])}`;
      pause.hidden = !pausable || !active;
      pause.textContent = resting ? "Go on" : "Pause";
      pause.setAttribute("aria-label", `${pause.textContent}: block ${i + 1}`);
    });
  }
}
