// The columns of a chain, and the steps that are left when some are taken out or moved.

const MOST = 12; // Columns on one screen. A longer chain is shown in tenths.

/** The columns of a chain of `steps` steps: one for each, or one for each tenth. */
export function columnsOf(model, steps) {
  const number = steps <= MOST ? steps : 10;
  return Array.from({ length: number }, (_, i) => {
    const first = Math.floor((i * steps) / number) + 1;
    const last = Math.floor(((i + 1) * steps) / number);
    return { number: i + 1, first, last, ...words(model, steps, first, last), accuracy: accuracy(model, steps, first, last) };
  });
}

function words(model, steps, first, last) {
  if (model.solvers.length === 0) {
    return first === last
      ? { unit: "Block", title: String(first), name: `Block ${first}` }
      : { unit: "Blocks", title: `${first}–${last}`, name: `Blocks ${first}–${last}` };
  }
  const time = (step) => Number((steps === model.steps ? model.times[step] : step / steps).toFixed(2));
  return { unit: "Time", title: `${time(first - 1)}–${time(last)}`, name: `Time ${time(first - 1)}–${time(last)}` };
}

/** The accuracy of the last block of a column, where it differs from column to column. */
function accuracy(model, steps, first, last) {
  if (!model.block_accuracy || model.blocks < 2) return null;
  const step = Math.max(1, Math.round((last / steps) * model.steps));
  return model.block_accuracy[model.step_blocks[step - 1] - 1] ?? null;
}

/** The steps to take, or null for the whole chain in its order. `order` holds columns, `off` those that take no part. */
export function routeOf(columns, order, off) {
  if (off.size === 0 && order.every((number, i) => number === i + 1)) return null;
  return order
    .filter((number) => !off.has(number))
    .flatMap((number) => {
      const { first, last } = columns[number - 1];
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

/** An order of `number` columns from text: what is no order of them is the usual one. */
export function orderFrom(text, number) {
  const usual = Array.from({ length: number }, (_, i) => i + 1);
  const order = (text ?? "").split(",").map(Number);
  return order.length === number && usual.every((column) => order.includes(column)) ? order : usual;
}

/** Columns that take no part, from text. */
export function offFrom(text, number) {
  const off = new Set((text ?? "").split(",").map(Number).filter((column) => column >= 1 && column <= number));
  return off.size === number ? new Set() : off;
}

/** The classes to show: all, or the `most` likeliest of them, in their order. `truth` is always among them. */
export function classesShown(probabilities, most, truth) {
  const all = probabilities.map((_, label) => label);
  if (all.length <= most) return all;
  const likeliest = [...all].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, most);
  if (truth !== null && !likeliest.includes(truth)) likeliest[most - 1] = truth;
  return likeliest.sort((a, b) => a - b);
}
