// A file for the person.

import { el } from "./dom.js";

/** Offers `file`, an address or a Blob, as a download under `name`. */
export function download(file, name) {
  const address = typeof file === "string" ? file : URL.createObjectURL(file);
  el("a", { href: address, download: name }).click();
  if (address !== file) setTimeout(URL.revokeObjectURL, 60_000, address);
}
