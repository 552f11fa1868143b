// A drawing: strokes in a square of 280 units, as bytes for an engine and as text for the address.

/** Units of a side of the pad. */
export const SIDE = 280;
const SENT = 140; // Pixels of a side of the bytes: five for each that the network sees.
const NEAR = 3; // A point nearer than this to the one before adds nothing.
const END = 255; // The byte after a stroke. Coordinates are halved, and so at most 140.
const LONGEST = 6000; // Bytes of a drawing in the address.

const pixels = new OffscreenCanvas(SENT, SENT).getContext("2d", { willReadFrequently: true });

export class Ink {
  strokes = [];
  pen = 20;

  get empty() {
    return this.strokes.length === 0;
  }

  begin(x, y) {
    this.strokes.push([]);
    this.extend(x, y);
  }

  /** Draws on to a point. Points are even, so that the address holds them exactly. Returns whether anything was added. */
  extend(x, y) {
    const stroke = this.strokes.at(-1);
    const point = [even(x), even(y)];
    const last = stroke.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return false;
    stroke.push(point);
    return true;
  }

  /** Paints the strokes in the colour that `context` has, in a square of `side` pixels. */
  paint(context, side) {
    const scale = side / SIDE;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = this.pen * scale;
    for (const stroke of this.strokes) {
      const points = stroke.map(([x, y]) => [x * scale, y * scale]);
      context.beginPath();
      context.moveTo(...points[0]);
      // Curves through the middles between points: a quick hand leaves points far apart.
      for (let i = 1; i + 1 < points.length; i++) {
        const [[x, y], [toX, toY]] = [points[i], points[i + 1]];
        context.quadraticCurveTo(x, y, (x + toX) / 2, (y + toY) / 2);
      }
      context.lineTo(...points.at(-1));
      context.stroke();
    }
  }

  /** The drawing for an engine: 0 is no ink, 255 is full ink. */
  image() {
    pixels.fillStyle = "#000";
    pixels.fillRect(0, 0, SENT, SENT);
    pixels.strokeStyle = "#fff";
    this.paint(pixels, SENT);
    const { data } = pixels.getImageData(0, 0, SENT, SENT);
    const drawing = new Uint8Array(SENT * SENT);
    for (let i = 0; i < drawing.length; i++) drawing[i] = data[4 * i];
    return { drawing, side: SENT };
  }

  /** The strokes as text, or null if they are too long for an address. */
  get text() {
    const bytes = this.strokes.flatMap((stroke) => [...stroke.flat().map((unit) => unit / 2), END]);
    if (bytes.length > LONGEST) return null;
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  /** Reads strokes back. Text that is no drawing gives none. */
  set text(text) {
    this.strokes = [];
    let stroke = [];
    for (const byte of bytesOf(text)) {
      if (byte !== END) stroke.push(byte);
      else {
        const points = stroke.flatMap((x, i) => (i % 2 || i + 1 === stroke.length ? [] : [[2 * x, 2 * stroke[i + 1]]]));
        if (points.length) this.strokes.push(points);
        stroke = [];
      }
    }
  }
}

const even = (unit) => 2 * Math.round(Math.min(SIDE, Math.max(0, unit)) / 2);

function bytesOf(text) {
  try {
    return Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  } catch {
    return [];
  }
}
