// An image in a canvas: window and level, zoom and pan, outlines, uncertainty; all without the server.

import { contentBox, isMirrored } from "./hanging.js";

const MOST_ZOOM = 60; // screen pixels of a pixel of the image
const STEP = 40; // screen pixels that an arrow moves

export class Viewport {
  /** image: as the server describes it; view: what all viewports share (score, window, level, ...). */
  constructor(image, picture, uncertainty, view) {
    this.image = image;
    this.view = view;
    this.uncertainty = uncertainty;
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${this.title()}: ${image.name}`);
    this.paths = image.lesions.map((lesion) => new Path2D(lesion.outline));
    const source = document.createElement("canvas");
    source.width = image.width;
    source.height = image.height;
    const context = source.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    this.raw = context.getImageData(0, 0, image.width, image.height);
    this.source = source;
    this.mirrored = isMirrored(image.laterality, this.raw.data, image.width, image.height);
    this.content = contentBox(this.raw.data, image.width, image.height);
    this.shown = "";
    this.scale = 0; // fitted once the size is known
  }

  title() {
    const side = { right: "R", left: "L" }[this.image.laterality] ?? "side not known";
    return `${side} ${this.image.view ?? "view not known"}`;
  }

  /** Fits the breast, with its chest wall at the side where the other breast's is. */
  fit() {
    const { width, height } = this.canvas;
    const { left, right, top, bottom } = this.content;
    this.scale = Math.min(width / (right - left), height / (bottom - top));
    const share = { right: 1, left: 0 }[this.image.laterality] ?? 0.5;
    const before = this.mirrored ? this.image.width - right : left;
    this.x = (width - this.scale * (right - left)) * share - before * this.scale;
    this.y = (height - this.scale * (bottom - top)) / 2 - top * this.scale;
    this.isFitted = true;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width * ratio));
    const height = Math.max(1, Math.round(box.height * ratio));
    if (width !== this.canvas.width || height !== this.canvas.height || !this.scale) {
      const center = this.scale ? this.toImage(this.canvas.width / 2, this.canvas.height / 2) : null;
      this.canvas.width = width;
      this.canvas.height = height;
      if (this.isFitted || !center) {
        this.fit();
      } else {
        this.centerAt(center.x, center.y);
      }
    }
    this.draw();
  }

  /** Screen (canvas pixels) to image pixels. */
  toImage(x, y) {
    const across = (x - this.x) / this.scale;
    return { x: this.mirrored ? this.image.width - across : across, y: (y - this.y) / this.scale };
  }

  centerAt(x, y) {
    const across = this.mirrored ? this.image.width - x : x;
    this.x = this.canvas.width / 2 - across * this.scale;
    this.y = this.canvas.height / 2 - y * this.scale;
    this.isFitted = false;
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const least = Math.min(this.canvas.width / this.image.width, this.canvas.height / this.image.height) / 2;
    const scale = Math.min(MOST_ZOOM, Math.max(least, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.isFitted = false;
    this.draw();
  }

  move(across, down) {
    this.x += across;
    this.y += down;
    this.isFitted = false;
    this.draw();
  }

  /** Shows a lesion in the middle, three times as large as its box. */
  jumpTo(lesion) {
    const wanted = Math.min(this.canvas.width / lesion.width, this.canvas.height / lesion.height) / 3;
    this.scale = Math.min(MOST_ZOOM, Math.max(this.scale, wanted));
    this.centerAt(lesion.x + lesion.width / 2, lesion.y + lesion.height / 2);
    this.draw();
  }

  visibleLesions() {
    return this.image.lesions.filter(
      (lesion) => lesion.score >= this.view.score && !this.view.hidden.has(lesion.class),
    );
  }

  #applyWindow() {
    const { window: width, level, inverted } = this.view;
    const wanted = `${width} ${level} ${inverted}`;
    if (wanted === this.shown) {
      return;
    }
    this.shown = wanted;
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value += 1) {
      const shown = ((value - level) / width + 0.5) * 255;
      table[value] = inverted ? 255 - Math.min(255, Math.max(0, shown)) : shown;
    }
    const pixels = new ImageData(this.image.width, this.image.height);
    const from = this.raw.data;
    const to = new Uint32Array(pixels.data.buffer);
    for (let at = 0; at < to.length; at += 1) {
      const value = table[from[4 * at]];
      to[at] = 0xff000000 | (value << 16) | (value << 8) | value;
    }
    this.source.getContext("2d").putImageData(pixels, 0, 0);
  }

  draw() {
    if (!this.scale) {
      return;
    }
    this.#applyWindow();
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const sign = this.mirrored ? -1 : 1;
    const start = this.mirrored ? this.x + this.scale * this.image.width : this.x;
    context.setTransform(sign * this.scale, 0, 0, this.scale, start, this.y);
    context.imageSmoothingEnabled = this.scale < 3;
    context.drawImage(this.source, 0, 0);
    if (this.view.uncertainty && this.uncertainty) {
      context.globalAlpha = 0.75;
      context.drawImage(this.uncertainty, 0, 0, this.image.width, this.image.height);
      context.globalAlpha = 1;
    }
    if (this.view.outlines) {
      this.#drawOutlines(context);
    }
  }

  #drawOutlines(context) {
    const ratio = window.devicePixelRatio || 1;
    const shown = new Set(this.visibleLesions());
    this.image.lesions.forEach((lesion, number) => {
      if (!shown.has(lesion)) {
        return;
      }
      const isChosen = lesion === this.view.chosen;
      context.lineJoin = "round";
      context.lineWidth = ((isChosen ? 6 : 4) * ratio) / this.scale;
      context.strokeStyle = isChosen ? "#fff" : "#000";
      context.stroke(this.paths[number]);
      context.lineWidth = ((isChosen ? 3 : 2) * ratio) / this.scale;
      context.strokeStyle = this.view.colors.get(lesion.class) ?? "#fff";
      context.stroke(this.paths[number]);
    });
  }

  /** What is under a point of the screen, in words. */
  describe(x, y) {
    const at = this.toImage(x, y);
    const column = Math.floor(at.x);
    const row = Math.floor(at.y);
    if (column < 0 || row < 0 || column >= this.image.width || row >= this.image.height) {
      return `${this.title()}: beside the image`;
    }
    const value = this.raw.data[4 * (row * this.image.width + column)];
    const spacing = this.image.spacing_mm;
    const place = spacing
      ? `x ${(at.x * spacing[1]).toFixed(1)} mm, y ${(at.y * spacing[0]).toFixed(1)} mm (pixel ${column}, ${row})`
      : `pixel ${column}, ${row} (the size of a pixel is not known)`;
    return `${this.title()}: ${place}, grey ${value} of 255`;
  }

  /** Lets mouse, touch and keys act; act is called with the name of what others share. */
  listen(act) {
    const canvas = this.canvas;
    const ratio = () => window.devicePixelRatio || 1;
    const place = (event) => [event.offsetX * ratio(), event.offsetY * ratio()];
    const pressed = new Map(); // pointers that are down: a mouse, a pen, or fingers
    let changes = false; // the window, instead of the place
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      pressed.set(event.pointerId, { x: event.clientX, y: event.clientY });
      changes = event.button === 2 || event.shiftKey;
    });
    canvas.addEventListener("pointermove", (event) => {
      act("pointer", this.describe(...place(event)));
      const last = pressed.get(event.pointerId);
      if (!last) {
        return;
      }
      const across = event.clientX - last.x;
      const down = event.clientY - last.y;
      // Two fingers: one stays, and the picture follows the other one by half, and by their distance.
      const other = [...pressed].find(([id]) => id !== event.pointerId)?.[1];
      const before = other && Math.hypot(last.x - other.x, last.y - other.y);
      Object.assign(last, { x: event.clientX, y: event.clientY });
      if (other) {
        const after = Math.hypot(last.x - other.x, last.y - other.y);
        const box = canvas.getBoundingClientRect();
        const middle = [(last.x + other.x) / 2 - box.left, (last.y + other.y) / 2 - box.top];
        this.move((across / 2) * ratio(), (down / 2) * ratio());
        if (before > 0 && after > 0) {
          this.zoom(after / before, middle[0] * ratio(), middle[1] * ratio());
        }
      } else if (changes) {
        act("window", { across, down });
      } else {
        this.move(across * ratio(), down * ratio());
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => pressed.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => act("pointer", ""));
    canvas.addEventListener("dblclick", () => this.#reset());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY / 400), ...place(event));
      },
      { passive: false },
    );
    const keys = {
      ArrowLeft: () => this.move(STEP, 0),
      ArrowRight: () => this.move(-STEP, 0),
      ArrowUp: () => this.move(0, STEP),
      ArrowDown: () => this.move(0, -STEP),
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      0: () => this.#reset(),
      Enter: () => act("alone", this),
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.key in keys && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        keys[event.key]();
      }
    });
  }

  #reset() {
    this.fit();
    this.draw();
  }
}
