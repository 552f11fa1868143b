// Play, pause, step and slider over the steps of a chain.

import { byId } from "./dom.js";

const WHOLE = 4000; // Milliseconds of a chain, at most.
const SLOWEST = 420; // Milliseconds of a step.

export class Player {
  /** The number of steps that are done. */
  at = 0;
  length = 0;
  #timer = 0;
  #moved;

  /** `moved` is called with the number of steps that are done. */
  constructor(moved) {
    this.#moved = moved;
    byId("play").onclick = () => (this.playing ? this.pause() : this.play());
    byId("back").onclick = () => this.#step(this.at - 1);
    byId("forth").onclick = () => this.#step(this.at + 1);
    byId("at").oninput = () => this.#step(byId("at").valueAsNumber);
  }

  get playing() {
    return this.#timer !== 0;
  }

  /** Takes another chain. Who stood at the end stands at its end. */
  fit(length, at) {
    this.length = length;
    this.at = Math.min(at ?? length, length);
    this.#show();
  }

  play() {
    if (this.at >= this.length) this.#go(0);
    const pause = Math.min(SLOWEST, WHOLE / Math.max(1, this.length));
    this.#timer = setInterval(() => {
      this.#go(this.at + 1);
      if (this.at >= this.length) this.pause();
    }, pause);
    this.#show();
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#show();
  }

  #step(at) {
    this.pause();
    this.#go(at);
  }

  #go(at) {
    this.at = Math.max(0, Math.min(this.length, at));
    this.#show();
    this.#moved(this.at);
  }

  #show() {
    byId("play").textContent = this.playing ? "Pause" : "Play";
    byId("at").max = this.length;
    byId("at").value = this.at;
    byId("back").disabled = this.at === 0;
    byId("forth").disabled = this.at === this.length;
  }

  /** Says in words where the chain stands. */
  describe(words) {
    byId("at-text").textContent = words;
    byId("at").setAttribute("aria-valuetext", words);
  }
}
