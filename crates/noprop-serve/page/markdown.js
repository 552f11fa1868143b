// A small part of Markdown as elements: headings, paragraphs, lists, tables, code, bold and italic words.
// Text becomes text: HTML in it is shown, not read, and links are their words and address.

import { el, grid } from "./dom.js";

// No part of it may run over the beginning of another match: a card of a million brackets would stop the page.
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^[\]]+)\]\(([^()\s]+)\)/g;

/** Elements for `text`. */
export function fromMarkdown(text) {
  const lines = text.replace(/^---\n[^]*?\n---\n/, "").split(/\r?\n/);
  const made = [];
  let at = 0;
  const take = (test) => {
    const taken = [];
    while (at < lines.length && test(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,6})\s([^]*)$/.exec(line);
    if (heading) {
      at++;
      made.push(el(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2].trim())));
    } else if (line.startsWith("```")) {
      at++;
      made.push(el("pre", { tabindex: "0" }, take((line) => !line.startsWith("```")).join("\n")));
      at++;
    } else if (line.startsWith("|")) {
      made.push(table(take((line) => line.startsWith("|"))));
    } else if (/^[-*] /.test(line)) {
      const items = take((line) => /^([-*] | {2,}\S)/.test(line)).join("\n").split(/\n(?=[-*] )/);
      made.push(el("ul", {}, items.map((item) => el("li", {}, inline(item.slice(2))))));
    } else if (line.trim() === "") {
      at++;
    } else {
      at++;
      const rest = take((line) => line.trim() !== "" && !/^(#|\||```|[-*] )/.test(line));
      made.push(el("p", {}, inline([line, ...rest].join(" "))));
    }
  }
  return made;
}

function table(lines) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  const rows = lines.map(cells);
  const ruled = rows.length > 1 && rows[1].every((cell) => /^:?-+:?$/.test(cell));
  const head = ruled && rows[0].some(Boolean) ? rows[0].map(inline) : null;
  return grid("Table of the card", head, rows.slice(ruled ? 2 : 0).map((row) => row.map(inline)));
}

function inline(text) {
  const made = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [all, code, strong, emphasis, words, address] = found;
    made.push(text.slice(from, found.index));
    if (code) made.push(el("code", {}, code));
    else if (strong) made.push(el("strong", {}, strong));
    else if (emphasis) made.push(el("em", {}, emphasis));
    else made.push(words === address ? words : `${words} (${address})`);
    from = found.index + all.length;
  }
  made.push(text.slice(from));
  return made;
}
