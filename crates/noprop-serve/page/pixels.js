// Bytes of an image on a canvas.

/** Paints an image (planes of bytes), each pixel as large as fits. With `ink`, grey levels are amounts of that colour. */
export function paintPixels(canvas, { channels, height, width, pixels }, ink) {
  const plane = height * width;
  const small = new OffscreenCanvas(width, height);
  const data = new ImageData(width, height);
  for (let i = 0; i < plane; i++) {
    const colour = ink
      ? [...ink, pixels[i]]
      : [pixels[i], pixels[channels === 3 ? plane + i : i], pixels[channels === 3 ? 2 * plane + i : i], 255];
    data.data.set(colour, 4 * i);
  }
  small.getContext("2d").putImageData(data, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const [w, h] = [width * scale, height * scale];
  context.drawImage(small, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
}

/** The red, green and blue of the text of an element. */
export const textColour = (element) => getComputedStyle(element).color.match(/[\d.]+/g).slice(0, 3).map(Number);
