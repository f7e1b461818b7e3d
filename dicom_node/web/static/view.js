// One picture on a canvas: HU through a window, opacities over it, never burned in.
const LOW = -1024;
const HIGH = 3071;
export const GGO = 1;
export const HIGH_OPACITY = 2;
const COLOURS = { [GGO]: [86, 180, 233], [HIGH_OPACITY]: [230, 159, 0] };
const WIDTHS = { [GGO]: 1.5, [HIGH_OPACITY]: 3 };

export function lookUp(centre, width) {
  const table = new Uint32Array(HIGH - LOW + 1);
  for (let hu = LOW; hu <= HIGH; hu += 1) {
    const grey = Math.min(255, Math.max(0, Math.round(((hu - centre) / width + 0.5) * 255)));
    table[hu - LOW] = (255 << 24) | (grey << 16) | (grey << 8) | grey;
  }
  return table;
}

// The border of the pixels for which `inside` holds, along their edges.
function border(plane, inside) {
  const path = new Path2D();
  const { labels, rows, columns } = plane;
  let any = false;
  for (let row = 0, at = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1, at += 1) {
      const here = inside(labels[at]);
      const left = column ? inside(labels[at - 1]) : 0;
      const above = row ? inside(labels[at - columns]) : 0;
      if (here !== left) { path.moveTo(column, row); path.lineTo(column, row + 1); any = true; }
      if (here !== above) { path.moveTo(column, row); path.lineTo(column + 1, row); any = true; }
    }
  }
  return any ? path : null;
}

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.base = new OffscreenCanvas(1, 1);
    this.cover = new OffscreenCanvas(1, 1);
    this.window(-600, 1500);
    this.overlay = true;
    this.strength = 0.5;
    this.lobes = false;
    this.zoom = 1;
    this.shift = [0, 0];
    this.plane = null;
    new ResizeObserver(() => { this.fit(); this.draw(); }).observe(canvas);
    this.fit();
  }

  fit() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
  }

  window(centre, width) {
    this.centre = centre;
    this.width = Math.max(1, width);
    this.table = lookUp(this.centre, this.width);
    this.stale = true;
  }

  show(plane, rowMm, columnMm) {
    this.plane = plane;
    this.rowMm = rowMm;
    this.columnMm = columnMm;
    this.stale = true;
    this.covered = false;
    this.draw();
  }

  paint() {
    const { hu, rows, columns } = this.plane;
    if (this.base.width !== columns || this.base.height !== rows) { this.base.width = columns; this.base.height = rows; }
    const context = this.base.getContext("2d", { alpha: false });
    if (!this.pixels || this.pixels.width !== columns || this.pixels.height !== rows) this.pixels = new ImageData(columns, rows);
    const out = new Uint32Array(this.pixels.data.buffer);
    const { table } = this;
    for (let at = 0; at < hu.length; at += 1) out[at] = table[hu[at] < LOW ? 0 : hu[at] > HIGH ? HIGH - LOW : hu[at] - LOW];
    context.putImageData(this.pixels, 0, 0);
    this.stale = false;
  }

  paintCover() {
    const { labels, rows, columns } = this.plane;
    if (this.cover.width !== columns || this.cover.height !== rows) { this.cover.width = columns; this.cover.height = rows; }
    const marks = new ImageData(columns, rows);
    for (let at = 0; at < labels.length; at += 1) {
      const colour = COLOURS[labels[at] & 3];
      if (colour) { marks.data.set(colour, 4 * at); marks.data[4 * at + 3] = 255; }
    }
    this.cover.getContext("2d").putImageData(marks, 0, 0);
    this.plane.borders ??= { [GGO]: border(this.plane, (mark) => +((mark & 3) === GGO)), [HIGH_OPACITY]: border(this.plane, (mark) => +((mark & 3) === HIGH_OPACITY)) };
    this.covered = true;
  }

  // From pixels of the plane to those of the canvas.
  place() {
    const { rows, columns } = this.plane;
    const mm = Math.min(this.canvas.width / (columns * this.columnMm), this.canvas.height / (rows * this.rowMm)) * this.zoom;
    const scale = [mm * this.columnMm, mm * this.rowMm];
    return { scale, at: [(this.canvas.width - columns * scale[0]) / 2 + this.shift[0], (this.canvas.height - rows * scale[1]) / 2 + this.shift[1]], mm };
  }

  draw() {
    if (!this.plane) return;
    if (this.stale) this.paint();
    const context = this.canvas.getContext("2d");
    const { scale, at } = this.place();
    const { rows, columns } = this.plane;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.base, at[0], at[1], columns * scale[0], rows * scale[1]);
    if (this.overlay) this.drawOverlay(context, scale, at);
    if (this.lobes) this.drawLobes(context, scale, at);
    this.after?.(context, scale, at);
  }

  drawOverlay(context, scale, at) {
    if (!this.covered) this.paintCover();
    const { rows, columns } = this.plane;
    const ratio = devicePixelRatio || 1;
    context.globalAlpha = this.strength * 0.6;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.cover, at[0], at[1], columns * scale[0], rows * scale[1]);
    context.globalAlpha = Math.min(1, 0.4 + this.strength);
    for (const [mark, path] of Object.entries(this.plane.borders)) {
      if (!path) continue;
      context.strokeStyle = `rgb(${COLOURS[mark].join(",")})`;
      context.lineWidth = WIDTHS[mark] * ratio;
      context.stroke(this.moved(path, scale, at));
    }
    context.globalAlpha = 1;
  }

  drawLobes(context, scale, at) {
    this.plane.lobeBorder ??= border(this.plane, (mark) => mark >> 4) ?? new Path2D();
    context.strokeStyle = "rgba(255,255,255,.55)";
    context.lineWidth = devicePixelRatio || 1;
    context.stroke(this.moved(this.plane.lobeBorder, scale, at));
  }

  moved(path, scale, at) {
    const placed = new Path2D();
    placed.addPath(path, new DOMMatrix([scale[0], 0, 0, scale[1], at[0], at[1]]));
    return placed;
  }

  // The pixel under a pointer, or null beside the picture.
  pixel(event) {
    if (!this.plane) return null;
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const { scale, at } = this.place();
    const column = ((event.clientX - box.left) * ratio - at[0]) / scale[0];
    const row = ((event.clientY - box.top) * ratio - at[1]) / scale[1];
    const inside = column >= 0 && row >= 0 && column < this.plane.columns && row < this.plane.rows;
    return inside ? { column, row, hu: this.plane.hu[Math.floor(row) * this.plane.columns + Math.floor(column)] } : null;
  }
}
