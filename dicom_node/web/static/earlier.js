// The earlier examination beside this one, at about the same level: the same share of the way from apex to base.
import { Pack } from "./pack.js";
import { View } from "./view.js";

export class Earlier {
  static async open(address, canvas, now) {
    const earlier = new Earlier();
    earlier.pack = new Pack(address);
    earlier.manifest = await earlier.pack.open();
    earlier.view = new View(canvas);
    earlier.now = now;
    earlier.linked = true;
    return earlier;
  }

  async link(index) {
    this.index = index;
    if (!this.linked) return;
    const [base, apex] = this.now.lungs;
    const [thenBase, thenApex] = this.manifest.lungs;
    if (base === undefined || thenBase === undefined) return;
    const share = (index - base) / Math.max(1, apex - base);
    const then = Math.min(this.manifest.slices - 1, Math.max(0, Math.round(thenBase + share * (thenApex - thenBase))));
    const plane = await this.pack.slice(then).catch(() => null);
    if (!plane || this.index !== index) return;
    this.pack.centre = then;
    this.view.show(plane, this.manifest.row_spacing_mm, this.manifest.column_spacing_mm);
    document.getElementById("earlier-told").textContent = `${then + 1} / ${this.manifest.slices}, level approximate`;
  }

  toggle() { this.linked = !this.linked; if (this.linked) this.link(this.index); return this.linked; }
}
