"use strict";
// A player for each clip: frames and masks lie in the page as pictures; masks are drawn here, as the toolbar asks.

const COLOURS = JSON.parse(document.getElementById("colours").textContent);
const PACE = 1000 / 15; // milliseconds a frame is shown

async function decoded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

function bitsOf(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false; // noisy masks come smaller than their frames
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data; // red of RGBA: 1 is the truth, 2 the mask, 3 both
}

// Whether the mask `bit` begins or ends at pixel p = (x, y).
function onEdge(bits, bit, p, x, y, width, height) {
  const own = bits[4 * p] & bit;
  return (
    (x > 0 && (bits[4 * (p - 1)] & bit) !== own) || (x + 1 < width && (bits[4 * (p + 1)] & bit) !== own) ||
    (y > 0 && (bits[4 * (p - width)] & bit) !== own) || (y + 1 < height && (bits[4 * (p + width)] & bit) !== own)
  );
}

function drawMasks(context, bits, view) {
  const { width, height } = context.canvas;
  const layer = new ImageData(width, height);
  const put = (p, [red, green, blue], alpha) => layer.data.set([red, green, blue, alpha], 4 * p);
  for (let y = 0, p = 0; y < height; y++) {
    for (let x = 0; x < width; x++, p++) {
      const truth = bits[4 * p] & 1, found = bits[4 * p] & 2;
      if (view === "cutout") {
        if (!found) put(p, [0, 0, 0], 215);
      } else if (onEdge(bits, 2, p, x, y, width, height)) put(p, COLOURS.prediction, 255);
      else if (onEdge(bits, 1, p, x, y, width, height)) put(p, COLOURS.truth, 255);
      else if (view === "errors" && found && !truth) put(p, COLOURS.false_positive, 140);
      else if (view === "errors" && truth && !found) put(p, COLOURS.false_negative, 140);
    }
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(layer, 0, 0);
  context.drawImage(canvas, 0, 0);
}

class Player {
  constructor(root) {
    this.root = root;
    this.clip = JSON.parse(document.getElementById(root.dataset.player).textContent);
    this.canvases = [...root.querySelectorAll("canvas")];
    this.slider = root.querySelector("input[type=range]");
    this.playButton = root.querySelector("[data-do=play]");
    this.asked = 0;
    this.timer = 0;
    this.slider.addEventListener("input", () => this.jump(Number(this.slider.value)));
    for (const button of root.querySelectorAll("[data-frame]"))
      button.addEventListener("click", () => {
        this.jump(Number(button.dataset.frame));
        root.querySelector(".player").scrollIntoView({ block: "nearest" });
      });
    root.querySelector("[data-do=back]").addEventListener("click", () => this.jump(this.at - 1));
    root.querySelector("[data-do=on]").addEventListener("click", () => this.jump(this.at + 1));
    this.playButton.addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    root.querySelector(".player").addEventListener("keydown", (event) => this.key(event));
    const chart = root.querySelector("div.chart");
    chart.addEventListener("click", (event) => {
      const box = chart.querySelector("svg").getBoundingClientRect();
      const { left, right } = chart.dataset;
      const x = ((event.clientX - box.left) / box.width) * chart.querySelector("svg").viewBox.baseVal.width;
      this.jump(Math.round(((x - left) / (right - left)) * Math.max(1, this.clip.frames.length - 1)));
    });
    this.show(Number(this.slider.value));
  }

  key(event) {
    const steps = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0, End: this.clip.frames.length - 1 };
    if (event.target !== this.slider && event.key in steps) {
      event.preventDefault();
      this.jump(steps[event.key]);
    }
  }

  jump(frame) {
    this.stop();
    return this.show(frame);
  }

  async show(frame) {
    const { clip } = this;
    this.at = Math.min(Math.max(frame, 0), clip.frames.length - 1);
    const said = `${clip.frames[this.at]}: ${clip.captions[this.at]}`;
    this.slider.value = this.at;
    this.slider.setAttribute("aria-valuetext", said);
    this.root.querySelector("output").textContent = said;
    this.point();
    const ticket = ++this.asked;
    const pictures = await Promise.all([clip.pictures[this.at], ...clip.masks[this.at]].map(decoded));
    if (ticket === this.asked) this.draw(...pictures);
  }

  draw(picture, ...masks) {
    const view = document.querySelector("input[name=view]:checked").value;
    const { width, height } = this.canvases[0];
    this.canvases.forEach((canvas, k) => {
      const context = canvas.getContext("2d");
      context.drawImage(picture, 0, 0, width, height);
      if (view !== "frame") drawMasks(context, bitsOf(masks[k], width, height), view);
      canvas.setAttribute("aria-label", `${this.clip.clip}, ${this.clip.names[k]}, frame ${this.slider.ariaValueText}`);
      Object.assign(canvas.dataset, { shown: this.at, view });
    });
  }

  // Moves the hairline in the chart to the frame that is shown.
  point() {
    const chart = this.root.querySelector("div.chart");
    const line = chart.querySelector(".cursor");
    const { left, right } = chart.dataset;
    const x = Number(left) + ((right - left) * this.at) / Math.max(1, this.clip.frames.length - 1);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.setAttribute("visibility", "visible");
  }

  play() {
    this.playButton.textContent = "Pause";
    const next = async () => {
      const began = performance.now();
      await this.show((this.at + 1) % this.clip.frames.length);
      if (this.timer) this.timer = setTimeout(next, Math.max(0, PACE - (performance.now() - began)));
    };
    this.timer = setTimeout(next, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.playButton.textContent = "Play";
  }
}

const players = new Map();
const coming = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries)
      if (isIntersecting && !players.has(target)) players.set(target, new Player(target));
  },
  { rootMargin: "800px" },
);
for (const root of document.querySelectorAll("[data-player]")) coming.observe(root);
for (const choice of document.querySelectorAll("input[name=view]"))
  choice.addEventListener("change", () => players.forEach((player) => player.show(player.at)));

for (const button of document.querySelectorAll(".copy button"))
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
