"use strict";
(() => {
  const readout = document.getElementById("readout");
  const colours = JSON.parse(document.getElementById("prototypes").textContent)
    .map((colour) => colour && [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });

  // Shades are all different: the nearest one says which prototype a pixel belongs to.
  function prototypeAt(image, across, down) {
    const column = Math.min(image.naturalWidth - 1, Math.max(0, Math.floor(across * image.naturalWidth)));
    const row = Math.min(image.naturalHeight - 1, Math.max(0, Math.floor(down * image.naturalHeight)));
    context.clearRect(0, 0, 1, 1);
    context.drawImage(image, column, row, 1, 1, 0, 0, 1, 1);
    const found = context.getImageData(0, 0, 1, 1).data;
    let best = -1, least = Infinity;
    if (found[3] < 128) return best;
    colours.forEach((colour, prototype) => {
      const distance = colour ? colour.reduce((sum, value, at) => sum + (value - found[at]) ** 2, 0) : Infinity;
      if (distance < least) { least = distance; best = prototype; }
    });
    return best;
  }

  for (const panel of document.querySelectorAll(".panel")) {
    const image = panel.closest(".frame").querySelector("img.prototypes");
    if (!image) continue;
    panel.addEventListener("pointermove", (event) => {
      const box = panel.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width;
      const prototype = prototypeAt(image, across, (event.clientY - box.top) / box.height);
      if (prototype < 0) return;
      readout.textContent += ` · prototype ${prototype}`;
      readout.style.left = `${Math.min(event.clientX + 14, innerWidth - readout.offsetWidth - 6)}px`;
    });
  }

  for (const each of document.querySelectorAll(".tree [data-label]")) {
    each.addEventListener("click", () => {
      document.querySelector(`.legend [data-label="${each.dataset.label}"]`)?.click();
    });
  }
})();
