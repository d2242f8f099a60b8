"use strict";
/* Dates, layers and the swipe of the report's maps; light and dark. No library, nothing loaded. */
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const theme = document.getElementById("theme");
  if (theme) {
    const dark = () => root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const label = () => { theme.textContent = dark() ? "Light page" : "Dark page"; };
    theme.hidden = false;
    theme.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      label();
    });
    label();
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  /* From the colour of a pixel back to the number that it stands for. */
  const reader = (scale) => {
    const index = new Map();
    const count = scale.palette.length / 6;
    for (let n = count - 1; n >= 0; n--) {
      index.set(parseInt(scale.palette.slice(6 * n, 6 * n + 6), 16), n);
    }
    return (r, g, b, a) => {
      if (a < 128) return "no value";
      const n = index.get((r << 16) | (g << 8) | b);
      if (n === undefined) return "";
      if (scale.words.length) return scale.words[n];
      const value = scale.low + (scale.high - scale.low) * n / (count - 1);
      const edge = n === 0 ? "≤ " : n === count - 1 ? "≥ " : "";
      return edge + String(Number(value.toPrecision(3))).replace("-", "−");
    };
  };

  const setUp = (viewer) => {
    const data = JSON.parse(document.getElementById(viewer.dataset.source).textContent);
    const find = (selector) => viewer.querySelector(selector);
    const stage = find(".stage"), handle = find(".handle"), told = find(".value");
    const range = find("input[type=range]"), shown = find("output"), play = find("[data-play]");
    const lead = find("select[data-lead]");
    const sides = ["left", "right"].map((name) => ({
      name,
      image: find(`img[data-side=${name}]`),
      choice: find(`select[data-side=${name}]`),
      tag: find(`.tag.${name}`),
      canvas: document.createElement("canvas"),
    }));
    const readers = data.scales.map(reader);
    let place = 50, timer = 0;

    const draw = () => {
      const date = Number(range.value);
      for (const side of sides) {
        const layer = data.layers[Number(side.choice.value)];
        const images = layer.images[lead ? Number(lead.value) : 0] || layer.images[0];
        const source = images[date];
        if (side.image.getAttribute("src") !== source) side.image.src = source;
        side.image.alt = `${layer.title}, ${data.times[date]}`;
        side.tag.textContent = layer.title;
      }
      shown.textContent = data.times[date];
      range.setAttribute("aria-valuetext", data.times[date]);
      told.textContent = "";
    };
    const swipe = (percent) => {
      place = clamp(percent, 0, 100);
      sides[1].image.style.clipPath = `inset(0 0 0 ${place}%)`;
      handle.style.left = `${place}%`;
      handle.setAttribute("aria-valuenow", String(Math.round(place)));
      sides[0].tag.style.opacity = place > 12 ? "1" : "0";
      sides[1].tag.style.opacity = place < 88 ? "1" : "0";
    };
    const across = (event) => {
      const box = stage.getBoundingClientRect();
      return 100 * (event.clientX - box.left) / box.width;
    };
    const go = (by) => {
      const count = data.times.length;
      range.value = String((Number(range.value) + by + count) % count);
      draw();
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      play.setAttribute("aria-pressed", "false");
    };

    range.addEventListener("input", () => { stop(); draw(); });
    for (const choice of viewer.querySelectorAll("select")) choice.addEventListener("change", draw);
    for (const button of viewer.querySelectorAll("button[data-by]")) {
      button.addEventListener("click", () => { stop(); go(Number(button.dataset.by)); });
    }
    play.addEventListener("click", () => {
      if (timer) { stop(); return; }
      play.textContent = "Stop";
      play.setAttribute("aria-pressed", "true");
      timer = setInterval(() => go(1), 900);
    });

    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) swipe(across(event));
    });
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageUp: 20, PageDown: -20 };
      if (event.key in by) swipe(place + by[event.key]);
      else if (event.key === "Home") swipe(0);
      else if (event.key === "End") swipe(100);
      else return;
      event.preventDefault();
    });

    stage.addEventListener("pointermove", (event) => {
      const box = stage.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
      const words = [];
      for (const side of sides) {
        const { image, canvas } = side;
        if (!image.complete || !image.naturalWidth) return;
        if (canvas.dataset.of !== image.alt) {
          canvas.width = image.naturalWidth;
          canvas.height = image.naturalHeight;
          const pen = canvas.getContext("2d", { willReadFrequently: true });
          pen.clearRect(0, 0, canvas.width, canvas.height);
          pen.drawImage(image, 0, 0);
          canvas.dataset.of = image.alt;
        }
        const pixel = canvas.getContext("2d").getImageData(
          Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data;
        const layer = data.layers[Number(side.choice.value)];
        const value = readers[layer.scale](...pixel);
        if (value) words.push(`${layer.title} ${value}`);
      }
      told.textContent = [...new Set(words)].join(" · ");
    });
    stage.addEventListener("pointerleave", () => { told.textContent = ""; });

    swipe(50);
    draw();
  };
  document.querySelectorAll(".viewer").forEach(setUp);
})();
