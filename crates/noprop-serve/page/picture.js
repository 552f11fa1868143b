// The picture to classify: a drawing, a test image or a file.

import { button, byId, el, percent } from "./dom.js";
import { Ink, SIDE } from "./ink.js";
import { paintPixels, textColour } from "./pixels.js";

/** The drawing of a first visit where there are no test images. */
const FIRST = "LCgxIjgaQBhMGlUeWSNcK1wyVjpRP0ZDPkb_P0NGRFBGWEpcTmFVYl9eaFhsUHBIckJyOG4uaSpm_w";
const MOST_BYTES = 16 << 20; // Of a file. An engine may take less.

export class Picture {
  /** Grows with each change, so that an answer can be known to be of this picture. */
  version = 0;
  #ink = new Ink();
  #kind = "sample";
  #index = 0;
  #file = null;
  #model = null;
  #input = null;
  #changed;
  #say;
  #pad = byId("pad");
  #colour = null; // Of the ink, read again where the page changes its own: reading it makes the browser lay out the page.

  /** `changed` is called after the person chose another picture, `say` with an error. */
  constructor(changed, say) {
    this.#changed = changed;
    this.#say = say;
    this.#pointer();
    byId("clear").onclick = () => this.#draw(() => (this.#ink.strokes = []));
    byId("undo").onclick = () => this.#draw(() => this.#ink.strokes.pop());
    byId("pen").oninput = () => this.#draw(() => (this.#ink.pen = byId("pen").valueAsNumber));
    byId("sample").oninput = () => Number.isInteger(byId("sample").valueAsNumber) && this.#choose(byId("sample").valueAsNumber);
    byId("sample-back").onclick = () => this.#choose(this.#index - 1);
    byId("sample-next").onclick = () => this.#choose(this.#index + 1);
    byId("sample-any").onclick = () => this.#choose(Math.floor(Math.random() * this.#model.samples));
    byId("upload").onclick = () => byId("file").click();
    byId("file").onchange = () => this.#open(byId("file").files[0]);
    byId("invert").onchange = () => this.#touch();
    this.#drop();
    const recolour = () => {
      this.#colour = null;
      this.#paint();
    };
    addEventListener("themechange", recolour);
    matchMedia("(prefers-color-scheme: dark)").onchange = recolour;
  }

  /** Takes the picture that the address names. */
  read(values) {
    const pen = Number(values.get("pen"));
    if (pen >= 8 && pen <= 40) this.#ink.pen = pen;
    if (values.has("ink")) {
      this.#kind = "ink";
      this.#ink.text = values.get("ink");
    } else if (values.has("image")) {
      this.#kind = "sample";
      this.#index = Math.max(0, Math.trunc(Number(values.get("image"))) || 0);
    }
    this.version++;
    this.#paint();
  }

  /** The picture for the address. A file has no place there. */
  get values() {
    if (this.#kind === "ink") return { ink: this.#ink.text, pen: this.#ink.pen === 20 ? null : this.#ink.pen };
    return this.#kind === "sample" ? { image: this.#index } : {};
  }

  /** Offers what `model` can take. */
  fit(model) {
    this.#model = model;
    this.#input = null;
    if (!model.drawing && this.#kind === "ink") this.#kind = "sample";
    if (model.samples > 0) this.#index = Math.min(this.#index, model.samples - 1);
    else if (this.#kind === "sample" && model.drawing) [this.#kind, this.#ink.text] = ["ink", FIRST];
    byId("pen-tools").hidden = !model.drawing;
    byId("sample-tools").hidden = model.samples === 0;
    byId("sample").max = model.samples - 1;
    this.#pad.classList.toggle("drawing", model.drawing);
    byId("pad-help").textContent = model.drawing
      ? "Draw a digit here, or drop a picture. Without a pointer, choose a test image."
      : "Choose a test image, or drop a picture.";
    this.#paint();
  }

  /** The picture for an engine, or null if there is nothing yet. */
  get image() {
    if (this.#kind === "ink") return this.#ink.empty ? null : this.#ink.image();
    if (this.#kind === "file") return { picture: this.#file, invert: byId("invert").checked };
    return this.#model.samples > 0 ? { sample: this.#index } : null;
  }

  /** The number of the test image, or null if it is none. */
  get sample() {
    return this.#kind === "sample" ? this.#index : null;
  }

  /** Shows what the network saw. */
  seen({ input, opposite, class: answer, label, probabilities }) {
    this.#input = input;
    const { channels, height, width } = input;
    const canvas = byId("seen");
    [canvas.width, canvas.height] = [width, height];
    paintPixels(canvas, input);
    canvas.setAttribute("aria-label", `What the network sees, ${height} by ${width} pixels, answered with ${answer}`);
    byId("seen-text").replaceChildren(
      `The network sees ${height} × ${width} pixels${channels === 3 ? " in colour" : ""}, and answers `,
      el("strong", {}, answer), ` with ${percent(probabilities[label])}.`);
    const notice = byId("opposite");
    notice.hidden = !opposite;
    notice.replaceChildren(opposite ?? "");
    if (opposite && this.#kind === "file") {
      const invert = () => {
        byId("invert").checked = !byId("invert").checked;
        this.#touch();
      };
      notice.append(" ", button("Invert it", invert));
    }
    if (this.#kind !== "ink") this.#paint();
  }

  #paint() {
    const context = this.#pad.getContext("2d");
    context.clearRect(0, 0, this.#pad.width, this.#pad.height);
    if (this.#kind === "ink") {
      this.#colour ??= getComputedStyle(this.#pad).color;
      context.strokeStyle = this.#colour;
      this.#ink.paint(context, this.#pad.width);
    } else if (this.#input) {
      paintPixels(this.#pad, this.#input, this.#model?.drawing ? textColour(this.#pad) : null);
    }
    const drawing = `A drawing of ${this.#ink.strokes.length} strokes`;
    this.#pad.setAttribute("aria-label", { ink: drawing, sample: `Test image ${this.#index}`, file: "Your picture" }[this.#kind]);
    byId("sample").value = this.#kind === "sample" ? this.#index : "";
    byId("pen").value = this.#ink.pen;
    byId("undo").disabled = byId("clear").disabled = this.#kind !== "ink" || this.#ink.empty;
    byId("invert-tool").hidden = this.#kind !== "file";
  }

  #touch() {
    this.version++;
    this.#paint();
    this.#changed();
  }

  #draw(change) {
    change();
    if (this.#kind === "ink") this.#touch();
  }

  #choose(index) {
    this.#kind = "sample";
    this.#index = Math.min(Math.max(0, index), this.#model.samples - 1);
    this.#touch();
  }

  async #open(file) {
    if (!file) return;
    if (file.size > MOST_BYTES) return this.#say("The picture has more than 16 MB.");
    this.#file = new Uint8Array(await file.arrayBuffer());
    this.#kind = "file";
    this.#input = null;
    byId("file").value = "";
    this.#touch();
  }

  #pointer() {
    const pad = this.#pad;
    let pointer = null;
    let place = null; // Of the pad, where the stroke began.
    const at = ({ clientX, clientY }) => [
      ((clientX - place.left) * SIDE) / place.width, ((clientY - place.top) * SIDE) / place.height,
    ];
    pad.onpointerdown = (event) => {
      if (!this.#model?.drawing || pointer !== null || event.button !== 0) return;
      event.preventDefault();
      pointer = event.pointerId;
      place = pad.getBoundingClientRect();
      pad.setPointerCapture(pointer);
      if (this.#kind !== "ink" || this.#ink.text === FIRST) this.#ink.strokes = [];
      this.#kind = "ink";
      byId("opposite").hidden = true;
      this.#ink.begin(...at(event));
      this.#touch();
    };
    pad.onpointermove = (event) => {
      if (event.pointerId !== pointer) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      const added = (moves.length ? moves : [event]).map((move) => this.#ink.extend(...at(move)));
      if (added.some(Boolean)) this.#touch();
    };
    pad.onpointerup = pad.onpointercancel = (event) => {
      if (event.pointerId === pointer) pointer = null;
    };
  }

  #drop() {
    const place = document.querySelector("#classify .picture");
    place.ondragover = (event) => {
      event.preventDefault();
      place.classList.add("over");
    };
    place.ondragleave = () => place.classList.remove("over");
    place.ondrop = (event) => {
      event.preventDefault();
      place.classList.remove("over");
      this.#open(event.dataTransfer.files[0]);
    };
  }
}
