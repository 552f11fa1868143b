// Chooses the engine: a server that computes, or WebAssembly in this browser. Both have the same functions.

/** The engine that `engine.json` beside the page names. */
export async function openEngine() {
  const answer = await fetch("engine.json", { cache: "no-store" });
  if (!answer.ok) throw new Error("The file engine.json, which names the engine, cannot be read.");
  const { engine, token_needed: token, datasets = [] } = await answer.json();
  switch (engine) {
    case "server":
      if (token) throw new Error("Open the page with the address that noprop serve printed: it holds the token that is needed.");
      return new (await import("./server-engine.js")).ServerEngine(datasets);
    case "wasm":
      return new (await import("./wasm-engine.js")).WasmEngine();
    default:
      throw new Error("The file engine.json names an engine that this page does not know.");
  }
}
