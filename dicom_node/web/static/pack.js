// The images of a case: fetched as they are wanted, decoded to HU, kept within a bound.
const BYTES = 96 * 1024 * 1024;
const AHEAD = 12;
const AT_ONCE = 4;

export function decode(bytes, rows, columns) {
  const count = rows * columns;
  const out = new Int16Array(count);
  for (let row = 0, at = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1, at += 1) {
      const zigzag = bytes[at] | (bytes[count + at] << 8);
      const ahead = (zigzag >>> 1) ^ -(zigzag & 1);
      let guess = 0;
      if (row && column) guess = (out[at - 1] + out[at - columns]) >> 1;
      else if (column) guess = out[at - 1];
      else if (row) guess = out[at - columns];
      out[at] = guess + ahead;
    }
  }
  return out;
}

export class Pack {
  constructor(address) {
    this.address = address;
    this.planes = new Map();
    this.wanted = new Map();
    this.busy = 0;
    this.queue = [];
    this.centre = 0;
  }

  async open() {
    const answer = await fetch(`${this.address}/manifest.json`, { headers: { "x-quiet": "1" } });
    if (!answer.ok) throw new Error("no images are kept");
    this.manifest = await answer.json();
    const { rows, columns } = this.manifest;
    this.most = Math.max(24, Math.floor(BYTES / (rows * columns * 3)));
    return this.manifest;
  }

  async bytes(name) {
    const answer = await fetch(`${this.address}/${name}`, { headers: { "x-quiet": "1" } });
    if (!answer.ok) throw new Error(`${name} is missing`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  async read(hu, labels, rows, columns) {
    const [packed, marks] = await Promise.all([this.bytes(hu), this.bytes(labels)]);
    return { hu: decode(packed, rows, columns), labels: marks, rows, columns };
  }

  slice(index) {
    if (this.planes.has(index)) return Promise.resolve(this.planes.get(index));
    if (!this.wanted.has(index)) {
      const { rows, columns } = this.manifest;
      const reading = this.read(`hu/${index}`, `labels/${index}`, rows, columns)
        .then((plane) => { this.planes.set(index, plane); this.drop(); return plane; })
        .finally(() => this.wanted.delete(index));
      this.wanted.set(index, reading);
    }
    return this.wanted.get(index);
  }

  coronal() {
    const { slices, columns } = this.manifest;
    return this.read("coronal/hu", "coronal/labels", slices, columns);
  }

  away(index) { return Math.abs(index - this.centre); }

  farthest() { return [...this.planes.keys()].reduce((a, b) => (this.away(a) >= this.away(b) ? a : b)); }

  drop() {
    while (this.planes.size > this.most) this.planes.delete(this.farthest());
  }

  // Room for a plane: there is some, or one that lies farther away makes it.
  makeRoom(index) {
    if (this.planes.size + this.busy < this.most) return true;
    const held = this.farthest();
    return this.away(held) > this.away(index) && this.planes.delete(held);
  }

  // The next twelve in the direction of travel, then outward, slices with opacity first.
  prefetch(index, direction) {
    this.centre = index;
    const { slices, ggo_mm2: ggo, high_opacity_mm2: high } = this.manifest;
    const next = [];
    for (let step = 1; step <= AHEAD; step += 1) next.push(index + direction * step);
    const rest = [...Array(slices).keys()].sort((a, b) => {
      const marked = (k) => (ggo[k] + high[k] > 0 ? 0 : 1);
      return marked(a) - marked(b) || Math.abs(a - index) - Math.abs(b - index);
    });
    this.queue = [...new Set([...next, ...rest])].filter((k) => k >= 0 && k < slices && !this.planes.has(k)).slice(0, Math.max(0, this.most - 1));
    this.pump();
  }

  pump() {
    while (this.busy < AT_ONCE && this.queue.length) {
      const index = this.queue.shift();
      if (this.planes.has(index) || !this.makeRoom(index)) continue;
      this.busy += 1;
      this.slice(index).catch(() => { this.queue = []; }).finally(() => { this.busy -= 1; this.pump(); });
    }
  }
}
