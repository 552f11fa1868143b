// Starts the page, and says so where it cannot: a file that is missing must not leave the page empty.
"use strict";
import("./main.js").then((main) => main.start()).catch((error) => {
  document.getElementById("waiting").textContent = `The page could not start: ${error.message}`;
});
