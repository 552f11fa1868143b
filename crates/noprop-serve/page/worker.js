// What a worker does: it keeps open models and answers for them, or it trains. The page has one worker for each.

const SLICE = 200; // Milliseconds of training between two looks at the messages.

const models = new Map();
const trainings = new Map();
let active = null;

let Model, Training;

const ready = (async () => {
  const web = await import("./noprop_web.js");
  await web.default();
  ({ Model, Training } = web);
})();
ready.catch(() => {}); // Who asks gets the error.

async function model(id) {
  if (!models.has(id) && id === "pretrained") {
    const answer = await fetch("model.safetensors");
    if (!answer.ok) throw new Error("The file model.safetensors, the trained model, cannot be read.");
    models.set(id, Model.open(new Uint8Array(await answer.arrayBuffer())));
  }
  return models.get(id);
}

function report() {
  postMessage({ report: { ...active.last, run: active.run, state: active.state } });
}

/** Trains a slice, and again after the messages that came meanwhile. */
function advance(training) {
  if (training !== active || training.state !== "running") return;
  try {
    training.last = JSON.parse(training.engine.step(SLICE));
    training.state = training.last.state;
  } catch (error) {
    training.state = "failed";
    training.last = { ...training.last, error: message(error) };
  }
  report();
  setTimeout(advance, 0, training);
}

const calls = {
  facts: async (id) => JSON.parse((await model(id)).facts()),
  sample: async (id, index) => JSON.parse((await model(id)).sample(index)),
  classify: async (id, kind, bytes, options) =>
    JSON.parse((await model(id)).classify(kind, bytes, JSON.stringify(options))),
  open: (id, bytes) => {
    models.get(id)?.free();
    models.set(id, Model.open(bytes));
  },
  train: (run, settings) => {
    const engine = Training.start(JSON.stringify(settings));
    active = { run, engine, state: "running", last: JSON.parse(engine.step(0)) };
    trainings.set(run, active);
    setTimeout(advance, 0, active);
    return { ...active.last, state: active.state };
  },
  stop: () => {
    active.state = "stopped";
    report();
  },
  resume: (run) => {
    active = trainings.get(run);
    active.state = "running";
    report();
    setTimeout(advance, 0, active);
    return { run };
  },
  pause: (block, paused) => active.engine.pause(block, paused),
  weights: (run) => trainings.get(run).engine.weights(),
};

const message = (error) => String(error?.message ?? error);

onmessage = async ({ data: { id, call, given } }) => {
  try {
    await ready.catch((error) => {
      throw new Error(`WebAssembly could not start in this browser: ${message(error)}`);
    });
    postMessage({ id, result: await calls[call](...given) });
  } catch (error) {
    postMessage({ id, error: message(error) });
  }
};
