// What a pointer does on the picture: window by dragging, a ruler, the HU under it. Nothing of it is stored.
export class Tools {
  constructor(view) {
    this.view = view;
    this.tool = "window";
    this.line = null;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", () => { this.from = null; });
    canvas.addEventListener("pointerleave", () => this.onProbe?.(null));
    view.after = (context, scale, at) => { if (this.line) this.drawLine(context, scale, at); this.drawScale(context); };
  }

  pick(tool) { this.tool = this.tool === tool ? "window" : tool; if (this.tool !== "ruler") this.clear(); }

  clear() { this.line = null; this.view.draw(); }

  down(event) {
    this.view.canvas.setPointerCapture(event.pointerId);
    this.from = { x: event.clientX, y: event.clientY, centre: this.view.centre, width: this.view.width, shift: [...this.view.shift] };
    if (this.tool === "ruler") { const pixel = this.view.pixel(event); this.line = pixel && [pixel, pixel]; }
  }

  move(event) {
    const { view, from } = this;
    this.onProbe?.(view.pixel(event));
    if (!from || !event.buttons) return;
    const by = [event.clientX - from.x, event.clientY - from.y];
    if (this.tool === "ruler") { const pixel = view.pixel(event); if (pixel && this.line) { this.line[1] = pixel; view.draw(); } return; }
    if (this.tool === "probe") return;
    if (event.shiftKey || event.buttons === 4) { const ratio = devicePixelRatio || 1; view.shift = [from.shift[0] + by[0] * ratio, from.shift[1] + by[1] * ratio]; view.draw(); return; }
    view.window(from.centre + by[1] * 2, from.width + by[0] * 4);
    view.draw();
    this.onWindow?.();
  }

  drawLine(context, scale, at) {
    const [a, b] = this.line;
    const ratio = devicePixelRatio || 1;
    const p = [at[0] + a.column * scale[0], at[1] + a.row * scale[1]];
    const q = [at[0] + b.column * scale[0], at[1] + b.row * scale[1]];
    const mm = Math.hypot((a.column - b.column) * this.view.columnMm, (a.row - b.row) * this.view.rowMm);
    context.strokeStyle = context.fillStyle = "#ffd166";
    context.lineWidth = 2 * ratio;
    context.beginPath(); context.moveTo(...p); context.lineTo(...q); context.stroke();
    context.font = `${14 * ratio}px sans-serif`;
    context.fillText(`${mm.toFixed(1)} mm`, q[0] + 8 * ratio, q[1] - 8 * ratio);
  }

  drawScale(context) {
    const { mm } = this.view.place();
    const ratio = devicePixelRatio || 1;
    const length = 100 * mm;
    const y = context.canvas.height - 40 * ratio;
    const x = 14 * ratio;
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.beginPath(); context.moveTo(x, y - 5); context.lineTo(x, y + 5); context.moveTo(x, y); context.lineTo(x + length, y); context.moveTo(x + length, y - 5); context.lineTo(x + length, y + 5); context.stroke();
  }
}
