// The engine in this browser. One worker answers, another trains, so that neither waits for the other.

/** A worker that is asked and answers. */
class Colleague {
  #worker = new Worker("worker.js", { type: "module" });
  #open = new Map();
  #next = 0;
  onReport = () => {};

  constructor() {
    this.#worker.onmessage = ({ data }) => {
      if (data.report) return this.onReport(data.report);
      const { keep, fail } = this.#open.get(data.id);
      this.#open.delete(data.id);
      if (data.error === undefined) keep(data.result);
      else fail(new Error(data.error));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const reason = event.message ?? "worker.js cannot be read";
      const error = new Error(`The part of the page that computes could not start: ${reason}.`);
      for (const { fail } of this.#open.values()) fail(error);
      this.#open.clear();
    };
  }

  ask(call, ...given) {
    const id = this.#next++;
    return new Promise((keep, fail) => {
      this.#open.set(id, { keep, fail });
      this.#worker.postMessage({ id, call, given });
    });
  }
}

const NONE = {
  state: "none", run: null, settings: {}, method: "", blocks: 0, epochs: 0, steps_per_epoch: 0, done: 0,
  images_per_second: null, seconds_left: null, paused: [], pausable: false, error: null, test_accuracy: null,
  history: [], losses: [],
};

export class WasmEngine {
  kind = "wasm";
  datasets = ["mnist-sample"];
  #answers = new Colleague();
  #trainer = null;
  #listeners = new Set();
  #visit = []; // The trainings of this visit: { id, training, opened }.

  async models() {
    const facts = await this.#answers.ask("facts", "pretrained");
    const first = { ...facts, id: "pretrained", accuracy: facts.test_accuracy, pretrained: true };
    const own = this.#visit.filter(({ training }) => training.history.length > 0).map(({ id, training }) => ({
      id, title: id, method: training.method, dataset: training.settings.dataset,
      accuracy: training.test_accuracy, pretrained: false,
    }));
    return [first, ...own];
  }

  async model(id) {
    await this.#open(id, "anew");
    return { ...(await this.#answers.ask("facts", id)), id };
  }

  async sample(id, index) {
    await this.#open(id);
    return this.#answers.ask("sample", id, index);
  }

  async classify(id, image, options) {
    await this.#open(id);
    const kind = image.drawing ? "drawing" : image.picture ? "picture" : "sample";
    const words = { ...options, side: image.side, invert: image.invert, index: image.sample };
    return this.#answers.ask("classify", id, kind, image.drawing ?? image.picture ?? new Uint8Array(), words);
  }

  /** Gives the weights of a training to the worker that answers; newer weights only where they are asked for `anew`. */
  async #open(id, anew) {
    if (id === "pretrained") return;
    const run = this.#of(id);
    if (run.opened === run.training.done || (run.opened >= 0 && !anew)) return;
    const bytes = await this.#trainer.ask("weights", id);
    await this.#answers.ask("open", id, bytes);
    run.opened = run.training.done;
  }

  #of(id) {
    const run = this.#visit.find((run) => run.id === id);
    if (!run) throw new Error(`There is no training ${id} in this visit: a page in the browser keeps none.`);
    return run;
  }

  async runs() {
    const runs = this.#visit.map(({ id, training }) => ({
      id, name: id, dataset: training.settings.dataset, method: training.method, accuracy: training.test_accuracy,
      // The weights are those of the best epoch.
      validation: training.history.length ? Math.max(...training.history.map((epoch) => epoch.validation ?? 0)) : null,
      epochs: training.epochs,
      seconds: training.history.reduce((sum, epoch) => sum + epoch.seconds, 0), seed: training.settings.seed ?? 0,
      encoder: training.settings.encoder ?? null, error: training.error,
      state: { running: "running", stopping: "running", finished: "finished", failed: "damaged" }[training.state] ?? "saved",
    }));
    return { folder: null, runs, left_out: 0 };
  }

  async run(id) {
    const { training } = this.#of(id);
    return { id, settings: training.settings, parameters: null, card: null, figures: [], epochs: training.history };
  }

  async figure() {
    throw new Error("A training in the browser has no figures.");
  }

  async compare(ids) {
    const { runs } = await this.runs();
    return { lines: runs.filter(({ id }) => ids.includes(id)).map((run) => ({ ...run, n: 1 })), unfinished: [], notes: [] };
  }

  async weights(id) {
    return new Blob([await this.#trainer.ask("weights", this.#of(id).id)], { type: "application/octet-stream" });
  }

  async train(settings) {
    this.#refuseSecond();
    this.#trainer ??= new Colleague();
    const run = `training-${this.#visit.length + 1}`;
    this.#trainer.onReport = (training) => this.#keep({ ...training, run: training.run ?? run });
    const training = await this.#trainer.ask("train", run, settings);
    this.#visit.unshift({ id: run, training: { ...training, run }, opened: -1 });
    this.#keep({ ...training, run });
    return { run };
  }

  #refuseSecond() {
    if (this.#visit.some(({ training }) => training.state === "running")) throw new Error("A training is under way already.");
  }

  #keep(training) {
    const run = this.#visit.find(({ id }) => id === training.run);
    if (run) run.training = training;
    for (const listener of this.#listeners) listener(training);
  }

  training = async () => this.#visit[0]?.training ?? NONE;
  stop = () => this.#trainer.ask("stop");

  async resume(id) {
    this.#refuseSecond();
    const run = this.#of(id);
    // The training that goes on is the one that the view Train shows.
    this.#visit = [run, ...this.#visit.filter((other) => other !== run)];
    return this.#trainer.ask("resume", run.id);
  }

  pause = (block, paused) => this.#trainer.ask("pause", block, paused);

  async onTraining(callback) {
    this.#listeners.add(callback);
    callback(await this.training());
    return () => this.#listeners.delete(callback);
  }
}
