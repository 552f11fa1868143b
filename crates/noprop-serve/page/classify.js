// The view Classify: a picture, the chain that answers it, and what happens if the chain is changed.

import { Chain, likeliest, readout, stepOf } from "./chain.js";
import { drawChart, inPercent } from "./chart.js";
import { button, byId, calm, fillSelect, newest, percent } from "./dom.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { classesShown, columnsOf, offFrom, orderFrom, routeOf } from "./route.js";
import { showUpdate } from "./update.js";

const USUAL = { sampler: "mean", runs: 1, seed: 0, classes: 10 };
const SAMPLERS = { mean: "Mean", stochastic: "Stochastic" };

/** Makes the view. */
export function create({ engine, say, keep, attempt }) {
  const state = {
    ...USUAL, model: null, solver: null, steps: null, order: [], off: new Set(), at: null, chosen: null, component: 0,
  };
  let model = null;
  let columns = [];
  let walk = null; // The walk that is shown.
  let whole = null; // { key, walk }: the answer of the whole chain to the same question.
  let truth = null; // { key, label }: the label of the test image.
  let built = ""; // What the columns were made of.
  let first = true;
  let speaking = 0;

  const picture = new Picture(() => ask(), say);
  const player = new Player((at) => {
    state.at = at === player.length ? null : at;
    render();
  });
  const chain = new Chain(byId("chain"), { choose, toggle, move });

  async function show(values) {
    const models = await engine.models();
    if (!models.length) throw new Error("There is no trained model yet: train one in the view Train.");
    const known = (id) => models.some((model) => model.id === id);
    const wanted = values.get("model");
    if (wanted && !known(wanted)) say(`There is no model ${wanted} here. This is ${models[0].title}.`);
    state.model = known(wanted) ? wanted : models[0].id;
    const told = ({ title, accuracy }) => (accuracy === null ? title : `${title}, ${percent(accuracy)}`);
    fillSelect(byId("model"), models.map((model) => [model.id, told(model)]), state.model);
    state.sampler = values.get("sampler") ?? USUAL.sampler;
    state.runs = wholeNumber(values.get("runs"), 64) ?? USUAL.runs;
    state.seed = Number(values.get("seed")) || 0;
    state.solver = values.get("solver");
    state.steps = wholeNumber(values.get("steps"), 1000);
    state.at = values.has("at") ? Number(values.get("at")) || 0 : null;
    state.chosen = wholeNumber(values.get("column"), 12);
    state.component = (wholeNumber(values.get("number"), 16) ?? 1) - 1;
    state.classes = wholeNumber(values.get("classes"), 1000) ?? USUAL.classes;
    picture.read(values);
    await load(values.get("order"), values.get("off"));
    byId("classify").inert = false;
    const greet = first && values.size === 0;
    first = false;
    if (greet && !calm()) state.at = 0;
    await ask();
    if (greet && !calm()) player.play();
  }

  /** Loads the model of the state. */
  async function load(order, off) {
    const found = await engine.model(state.model);
    if (found.id !== state.model) return; // Another was chosen meanwhile.
    model = found;
    if (!model.samplers.includes(state.sampler)) state.sampler = model.samplers[0];
    if (!model.solvers.includes(state.solver)) state.solver = null;
    if (!model.solvers.length) state.steps = null;
    picture.fit(model);
    divide(order, off);
    fillSelect(byId("sampler"), model.samplers.map((name) => [name, SAMPLERS[name] ?? name]), state.sampler);
    const solver = state.solver ?? model.settings.solver ?? model.solvers[0];
    fillSelect(byId("solver"), model.solvers.map((name) => [name, name]), solver);
    for (const label of document.querySelectorAll("#classify .continuous")) label.hidden = !model.solvers.length;
    const number = model.classes.length;
    const fewer = [10, 20, 50].filter((most) => most < number).map((most) => [most, `${most} likeliest`]);
    fillSelect(byId("classes"), [...fewer, [number, "all"]], state.classes);
    byId("classes-tool").hidden = number <= 12;
    byId("facts").textContent = [
      model.dataset, model.method_title, chainOf(model),
      model.test_accuracy === null ? null : `${percent(model.test_accuracy, 2)} of its test images right`,
    ].filter(Boolean).join(" · ") + (model.remark ? `. ${model.remark}` : "");
  }

  const stepsAsked = () => state.steps ?? model.steps;

  /** Divides the steps into columns. */
  function divide(order, off) {
    columns = columnsOf(model, stepsAsked());
    state.order = orderFrom(order, columns.length);
    state.off = offFrom(off, columns.length);
    if (state.chosen > columns.length) state.chosen = null;
  }

  function wire() {
    byId("classify-settings").onsubmit = (event) => event.preventDefault();
    byId("model").onchange = () => {
      Object.assign(state, { model: byId("model").value, solver: null, steps: null, at: null, chosen: null });
      [walk, whole] = [null, null];
      attempt(() => load()).then(ask);
    };
    const number = (id, most, set) => {
      byId(id).onchange = () => {
        const value = byId(id).valueAsNumber;
        set(Number.isFinite(value) ? Math.min(most, Math.max(Number(byId(id).min), Math.trunc(value))) : null);
        ask();
      };
    };
    byId("sampler").onchange = () => change({ sampler: byId("sampler").value });
    number("runs-averaged", 64, (value) => (state.runs = value ?? 1));
    number("seed", 2 ** 32 - 1, (value) => (state.seed = value ?? 0));
    number("solver-steps", 1000, (value) => {
      [state.steps, state.at] = [value === model.steps ? null : value, null];
      divide();
    });
    byId("solver").onchange = () => change({ solver: byId("solver").value });
    byId("new-noise").onclick = () => change({ seed: state.seed + 1 });
    byId("whole-chain").onclick = () => {
      divide();
      rearranged();
    };
    byId("classes").onchange = () => {
      state.classes = Number(byId("classes").value);
      render();
    };
    addEventListener("resize", () => walk && render());
  }

  function change(values, then = ask) {
    Object.assign(state, values);
    then();
  }

  function choose(number) {
    state.chosen = state.chosen === number ? null : number;
    render();
    if (state.chosen) byId("update").scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  }

  function toggle(number) {
    if (!state.off.delete(number)) {
      if (state.off.size + 1 === columns.length) return say("One column has to take part: take another one in first.", "answer");
      state.off.add(number);
    }
    rearranged();
  }

  function move(number, place) {
    if (place < 0 || place >= state.order.length) return;
    const order = state.order.filter((other) => other !== number);
    order.splice(place, 0, number);
    state.order = order;
    rearranged();
  }

  /** Shows the changed chain at once, and its answer when it is there. */
  function rearranged() {
    render();
    ask();
  }

  /** Asks for the answer to the state as it is now. Questions between the newest and the running one are dropped. */
  const asking = newest(async (_, stale) => {
    const image = picture.image;
    const route = routeOf(columns, state.order, state.off);
    const options = { sampler: state.sampler, runs: state.runs, seed: state.seed, steps: state.steps, solver: state.solver };
    const key = JSON.stringify([picture.version, state.model, options]);
    const asked = { model: state.model, sample: picture.sample, picture: picture.version };
    if (!image) {
      walk = null;
      return render();
    }
    await attempt(async () => {
      const [found, label] = await Promise.all([
        engine.classify(asked.model, image, { ...options, route }),
        asked.sample === null ? null : labelOf(asked),
      ]);
      if (asked.model !== state.model) return;
      walk = { ...found, names: model.classes, truth: label, picture: asked.picture };
      if (!route) whole = { key, walk };
      picture.seen(walk);
      player.fit(walk.steps.length, state.at);
      render();
      if (route && whole?.key !== key && !stale()) {
        whole = { key, walk: await engine.classify(asked.model, image, { ...options, route: null }) };
        render();
      }
    }, "answer");
  });

  const ask = () => {
    keep(values());
    return asking();
  };

  async function labelOf({ model, sample }) {
    const key = `${model} ${sample}`;
    if (truth?.key !== key) truth = { key, label: (await engine.sample(model, sample)).label };
    return truth.label;
  }

  /** The state for the address: what is as usual is left out. */
  function values() {
    const unusual = (name) => (state[name] === USUAL[name] ? null : state[name]);
    const moved = state.order.some((number, i) => number !== i + 1);
    return {
      model: state.model, ...picture.values, sampler: unusual("sampler"), runs: unusual("runs"), seed: unusual("seed"),
      solver: state.solver, steps: state.steps,
      order: moved ? state.order.join(",") : null, off: [...state.off].sort((a, b) => a - b).join(","),
      at: state.at, column: state.chosen, number: state.chosen && state.component ? state.component + 1 : null,
      classes: unusual("classes"),
    };
  }

  function render() {
    keep(values());
    byId("runs-averaged").value = state.runs;
    byId("seed").value = state.seed;
    byId("solver-steps").value = stepsAsked();
    byId("chain").classList.toggle("empty", !walk);
    byId("new-noise").hidden = !columns.length;
    byId("whole-chain").hidden = !routeOf(columns, state.order, state.off);
    for (const part of [byId("chain"), byId("chain-help"), document.querySelector(".player")]) {
      part.hidden = !columns.length || walk?.steps.length === 0;
    }
    const blank = walk ?? { steps: [], probabilities: null, names: model.classes, truth: null };
    const likelihood = walk?.probabilities ?? model.classes.map(() => 0);
    const classes = classesShown(likelihood, byId("classes-tool").hidden ? Infinity : state.classes, blank.truth);
    const made = JSON.stringify([state.model, columns, classes]);
    if (made !== built) {
      built = made;
      chain.build(columns, classes, model.classes);
    }
    const at = walk ? player.at : 0;
    chain.show({ walk: blank, at, order: state.order, off: state.off, chosen: state.chosen, truth: blank.truth });
    verdict(at);
    paths(classes, at);
    update(blank, at);
  }

  function verdict(at) {
    const end = walk && at === walk.steps.length;
    const shown = walk && readout(walk, at);
    const label = likeliest(shown);
    const name = label < 0 ? "?" : model.classes[label];
    const answer = byId("answer");
    answer.textContent = name;
    answer.className = name.length > 7 ? "longer" : name.length > 2 ? "long" : "";
    const { truth = null } = walk ?? {};
    answer.classList.toggle("wrong", truth !== null && label >= 0 && label !== truth);
    byId("answer-text").textContent = !walk ? "Draw a digit, or choose a test image."
      : label < 0 ? "Only noise so far. Each block turns it a little more into an answer."
      : `Probability ${percent(shown[label])}${end ? "" : " so far"}. ${judged(label, truth)}`;
    byId("answer-more").textContent = !walk ? "" : more();
    speak(label < 0 ? "" : `${name}, ${byId("answer-text").textContent}`);
    const last = at && walk?.steps[at - 1];
    player.describe(!walk?.steps.length ? "" : at === 0 ? "before the first block" : `${where(last)}`);

    function more() {
      const parts = [];
      if (walk.steps.length && routeOf(columns, state.order, state.off) && whole) {
        const best = whole.walk.label;
        parts.push(`The whole chain answers ${model.classes[best]}, ${percent(whole.walk.probabilities[best])}.`);
      }
      if (state.runs > 1) parts.push(`The answer is the mean of ${state.runs} runs; the chain shows the first.`);
      parts.push(`Answered in ${walk.milliseconds.toFixed(walk.milliseconds < 10 ? 1 : 0)} ms.`);
      return parts.join(" ");
    }
  }

  /** Says the answer to a screen reader once it has stood for a moment. */
  function speak(words) {
    clearTimeout(speaking);
    speaking = setTimeout(() => (byId("spoken").textContent = words), 700);
  }

  const judged = (label, truth) =>
    truth === null ? "" : label === truth ? "Right." : `Wrong: it is ${model.classes[truth]}.`;

  const where = ({ step, next }) =>
    model.solvers.length ? `step ${step} of ${stepsAsked()}, t = ${next.toFixed(2)}` : `after block ${step} of ${model.steps}`;

  /** The guesses of a long chain, as lines along its steps. */
  function paths(classes, at) {
    const long = walk && walk.steps.length > 12;
    byId("paths").hidden = !long;
    if (!long) return;
    const top = likeliest(walk.probabilities);
    const taken = routeOf(columns, state.order, state.off)?.length ?? stepsAsked();
    const shown = walk.steps[0].guess ? "guess" : "answer";
    const apart = taken / walk.steps.length; // A long walk comes thinned.
    drawChart(byId("paths"), {
      title: `${shown === "guess" ? "Guess" : "Answer"} at each step: the final answer in colour, the other classes in grey`,
      across: "step", height: 120, range: [0, 1], reach: [0, taken], cursor: at * apart, format: inPercent,
      lines: classes.filter((label) => label !== top).concat(top).map((label) => ({
        name: model.classes[label], share: label === top ? 1 : null, strong: label === top,
        points: walk.steps.map((step, i) => [(i + 1) * apart, step[shown][label]]),
      })),
    });
  }

  function update(shown, at) {
    const column = columns[state.chosen - 1];
    byId("update").hidden = !column || !shown.steps.length;
    byId("chain-help").hidden ||= Boolean(column);
    if (byId("update").hidden) return;
    const { step } = state.off.has(column.number) ? { step: null } : stepOf(column, shown, at);
    const place = state.order.indexOf(column.number);
    showUpdate(byId("update"), {
      title: step && column.first !== column.last ? `${column.name}, step ${step.step}` : column.name,
      step, names: model.classes, component: state.component,
      pick: (component) => change({ component }, render),
      oneHot: model.settings.embedding === "onehot" && step?.z.length === model.classes.length,
      buttons: [
        button("Move back", () => move(column.number, place - 1), { disabled: place === 0 }),
        button("Move on", () => move(column.number, place + 1), { disabled: place === columns.length - 1 }),
        button(state.off.has(column.number) ? "Take in" : "Take out", () => toggle(column.number)),
        button("Close", () => choose(column.number)),
      ],
    });
  }

  wire();
  byId("classify").inert = true; // Until there is a model.
  byId("answer-text").textContent = "The model is loading.";
  return { show, hide: () => player.pause() };
}

/** The blocks of a model in words, or null of a model without a chain. */
function chainOf({ steps, blocks }) {
  if (steps === 0) return null;
  return blocks > 1 ? `${blocks} blocks` : "one block for all times";
}

/** A whole number from 1 to `most`, or null. */
function wholeNumber(text, most) {
  const number = Number(text);
  return Number.isInteger(number) && number >= 1 && number <= most ? number : null;
}
