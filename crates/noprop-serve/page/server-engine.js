// The engine behind `noprop serve`: JSON over HTTP, and events while a training runs.

const LOST = "The server does not answer. Is noprop serve still running?";
const PATIENCE = 5000; // Milliseconds that a connection may be away.

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(`api/${path}`, options);
  } catch {
    throw new Error(LOST);
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error ?? `The server answered with status ${answer.status}.`);
  return body;
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) });

const model = (id) => `models/${encodeURIComponent(id)}`;
const run = (id) => `runs/${encodeURIComponent(id)}`;

/** What is sent of an image: its words in the query, and its bytes. */
function packed(image) {
  if (image.drawing) return [{ image: "drawing", side: image.side }, image.drawing];
  if (image.picture) return [{ image: "picture", invert: image.invert }, image.picture];
  return [{ image: "sample", index: image.sample }, new Uint8Array()];
}

export class ServerEngine {
  kind = "server";

  /** `datasets` are the names of the data that a training may use. */
  constructor(datasets) {
    this.datasets = datasets;
  }

  models = () => ask("models");
  model = (id) => ask(model(id));
  sample = (id, index) => ask(`${model(id)}/samples/${index}`);

  classify(id, image, options) {
    const [words, body] = packed(image);
    const given = Object.entries({ ...words, ...options }).filter(([, value]) => value !== null && value !== undefined);
    const headers = { "content-type": "application/octet-stream" };
    return ask(`${model(id)}/classify?${new URLSearchParams(given)}`, { method: "POST", headers, body });
  }

  runs = () => ask("runs");
  run = (id) => ask(run(id));
  figure = async (id, name) => `api/${run(id)}/figures/${encodeURIComponent(name)}`;
  weights = async (id) => `api/${run(id)}/model.safetensors`;
  compare = (runs) => post("compare", { runs });

  train = (settings) => post("training", settings);
  training = () => ask("training");
  stop = () => post("training/stop");
  resume = (id) => post("training/resume", { run: id });
  pause = (block, paused) => post("training/pause", { block, paused });

  /** Calls `callback` with the training while it runs, and `lost` with a sentence if the server stays away. */
  async onTraining(callback, lost) {
    const events = new EventSource("api/training/events");
    let timer = 0;
    const back = () => (timer = clearTimeout(timer));
    events.onopen = back;
    events.onmessage = (message) => callback(JSON.parse(message.data));
    events.onerror = () => (timer ||= setTimeout(lost, PATIENCE, LOST)); // The browser connects again by itself.
    return () => {
      events.close();
      back();
    };
  }
}
