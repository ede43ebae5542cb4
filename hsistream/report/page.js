"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const readout = document.getElementById("readout");
  const showAll = document.getElementById("all");
  const frames = [...document.querySelectorAll(".frame")];
  const packed = (hex) => parseInt(hex.slice(1), 16);
  const labelOf = new Map(facts.colours.map((colour, label) => [packed(colour), label]));
  const levelOf = new Map(facts.scale.map((colour, level) => [packed(colour), level]));
  const values = new WeakMap();
  let picked = null;

  // A picture says what it shows: its colours are exact, so they are read back as values.
  function nearest(table, colour) {
    let best = -1, least = Infinity;
    for (const [known, value] of table) {
      const red = (known >> 16) - (colour >> 16);
      const green = ((known >> 8) & 255) - ((colour >> 8) & 255);
      const blue = (known & 255) - (colour & 255);
      const distance = red * red + green * green + blue * blue;
      if (distance < least) { least = distance; best = value; }
    }
    table.set(colour, best);
    return best;
  }

  function read(image, table) {
    const known = values.get(image);
    if (known) return known;
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Int32Array(bytes.length / 4);
    for (let pixel = 0; pixel < found.length; pixel++) {
      const at = 4 * pixel;
      const colour = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
      found[pixel] = bytes[at + 3] < 128 ? -1 : table.get(colour) ?? nearest(table, colour);
    }
    values.set(image, found);
    return found;
  }

  const labelsOf = (frame) => frame.querySelector("img.labels");
  const confidenceOf = (frame) => frame.querySelector("img.confidence");

  function place(panel, event) {
    const box = panel.getBoundingClientRect();
    const image = labelsOf(panel.closest(".frame"));
    const across = (event.clientX - box.left) / box.width;
    const down = (event.clientY - box.top) / box.height;
    const column = Math.min(image.naturalWidth - 1, Math.max(0, Math.floor(across * image.naturalWidth)));
    const row = Math.min(image.naturalHeight - 1, Math.max(0, Math.floor(down * image.naturalHeight)));
    return { across, down, row, column, pixel: row * image.naturalWidth + column };
  }

  // The pieces of a long frame lie side by side; where none lies there is no pixel.
  function unfolded(frame, at) {
    const [step, rows, columns, tall, length, pitch] =
      ["step", "rows", "columns", "tall", "length", "pitch"].map((name) => Number(frame.dataset[name]));
    const [along, across] = tall ? [at.row, at.column] : [at.column, at.row];
    const piece = Math.floor(across / pitch);
    const [long, short] = [step * (along + piece * length), step * (across - piece * pitch)];
    const [row, column] = tall ? [long, short] : [short, long];
    return row < rows && column < columns ? { row, column } : null;
  }

  function point(panel, event) {
    const frame = panel.closest(".frame");
    const at = place(panel, event);
    const pixel = unfolded(frame, at);
    if (!pixel) return leave(frame);
    const label = read(labelsOf(frame), labelOf)[at.pixel];
    const level = read(confidenceOf(frame), levelOf)[at.pixel];
    const words = [`row ${pixel.row}, column ${pixel.column}`];
    words.push(label < 0 ? "no data" : `${facts.noun} ${label}`);
    if (level >= 0) words.push(`confidence ${(level / (facts.scale.length - 1)).toFixed(2)}`);
    readout.textContent = words.join(" · ");
    readout.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - readout.offsetWidth - 6);
    readout.style.left = `${left}px`;
    readout.style.top = `${Math.min(event.clientY + 16, innerHeight - readout.offsetHeight - 6)}px`;
    for (const other of frame.querySelectorAll(".panel")) {
      let cross = other.querySelector(".cross");
      if (!cross) other.append(cross = Object.assign(document.createElement("i"), { className: "cross" }));
      cross.hidden = other === panel;
      cross.style.display = other === panel ? "none" : "";
      cross.style.left = `${100 * at.across}%`;
      cross.style.top = `${100 * at.down}%`;
    }
  }

  function leave(frame) {
    readout.hidden = true;
    frame.querySelectorAll(".cross").forEach((cross) => cross.remove());
  }

  // All other clusters are covered with the colour of paper.
  function cover(frame) {
    frame.querySelectorAll("canvas").forEach((canvas) => canvas.remove());
    if (picked === null) return;
    const image = labelsOf(frame);
    const labels = read(image, labelOf);
    const veil = new ImageData(image.naturalWidth, image.naturalHeight);
    const paper = packed(facts.paper);
    const words = new Uint32Array(veil.data.buffer);
    const covered = (218 << 24) | ((paper & 255) << 16) | (paper & 0xff00) | (paper >> 16);
    for (let pixel = 0; pixel < labels.length; pixel++) if (labels[pixel] !== picked) words[pixel] = covered;
    for (const panel of frame.querySelectorAll(".panel")) {
      const canvas = document.createElement("canvas");
      canvas.width = veil.width;
      canvas.height = veil.height;
      canvas.getContext("2d").putImageData(veil, 0, 0);
      panel.append(canvas);
    }
  }

  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { seen.add(entry.target); cover(entry.target); } else seen.delete(entry.target);
    }
  });

  function pick(label) {
    picked = label === picked ? null : label;
    showAll.hidden = picked === null;
    document.body.classList.toggle("picking", picked !== null);
    for (const each of document.querySelectorAll("[data-label]")) {
      const on = Number(each.dataset.label) === picked;
      each.classList.toggle("on", on);
      each.querySelector(".pick")?.setAttribute("aria-pressed", String(on));
    }
    seen.forEach(cover);
  }

  for (const frame of frames) {
    watcher.observe(frame);
    const base = frame.querySelector("img.base");
    for (const panel of frame.querySelectorAll(".panel")) {
      if (panel.dataset.layer !== "colour") {
        const below = base.cloneNode();
        below.alt = "";
        panel.prepend(below);
      }
      panel.addEventListener("pointermove", (event) => point(panel, event));
      panel.addEventListener("pointerleave", () => leave(frame));
      panel.addEventListener("click", (event) => {
        const label = read(labelsOf(frame), labelOf)[place(panel, event).pixel];
        if (label >= 0) pick(label);
      });
    }
  }

  for (const each of document.querySelectorAll(".legend [data-label], .curve")) {
    each.addEventListener("click", () => pick(Number(each.dataset.label)));
  }
  showAll.addEventListener("click", () => pick(picked));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && picked !== null) pick(picked); });

  document.getElementById("opacity").addEventListener("input", (event) => {
    for (const image of document.querySelectorAll("img.over")) image.style.opacity = event.target.value / 100;
  });
  for (const button of document.querySelectorAll("[data-shows]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const panel of document.querySelectorAll(`.panel[data-layer="${button.dataset.shows}"]`)) panel.hidden = !shown;
    });
  }
})();
