// A case: all slices, opacities, coronal, earlier examination; every step by pointer and by key.
import { bindKeys } from "./keys.js";
import { follow } from "./live.js";
import { decide } from "./decide.js";
import { Pack } from "./pack.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const body = document.body;
const id = body.dataset.case;
const at = (name) => document.getElementById(name);
const WINDOWS = { lung: [-600, 1500], soft: [40, 400], wide: [-300, 2000] };

if (body.dataset.pack) start(); else keysOfPage({});

async function start() {
  const pack = new Pack(`/alerts/${id}/pack`);
  const main = new View(at("axial"));
  const coronal = new View(at("coronal"));
  let manifest;
  try { manifest = await pack.open(); } catch { at("viewer-note").textContent = "The images of this case cannot be read."; if (at("looked")) at("looked").hidden = false; return keysOfPage({}); }
  const m = manifest;
  const strip = at("strip");
  const tools = new Tools(main);
  let index = m.first;
  let direction = 1;
  let timer = 0;
  let earlier = null;
  main.overlay = coronal.overlay = body.dataset.overlay !== "off";

  const both = (act) => [main, coronal, earlier?.view].forEach((view) => view && act(view));
  const opaque = (k) => m.ggo_mm2[k] + m.high_opacity_mm2[k] > 0;

  function tell() {
    at("number").textContent = `${index + 1} / ${m.slices}`;
    at("position").textContent = `z ${m.positions_mm[index].toFixed(1).replace("-", "\u2212")} mm`;
    at("window-told").textContent = `W ${Math.round(main.width)} L ${Math.round(main.centre)}`.replace("-", "\u2212");
    at("areas").textContent = opaque(index) ? `ground glass ${(m.ggo_mm2[index] / 100).toFixed(1)} cm², high ${(m.high_opacity_mm2[index] / 100).toFixed(1)} cm²` : "no opacity marked";
    strip.setAttribute("aria-valuenow", index + 1);
    strip.setAttribute("aria-valuetext", `slice ${index + 1} of ${m.slices}, ${at("areas").textContent}`);
    const x = ((m.slices - index - 0.5) / m.slices) * 1000;
    at("level").setAttribute("x1", x);
    at("level").setAttribute("x2", x);
    document.querySelectorAll("[data-slice]").forEach((one) => { if (+one.dataset.slice === index) one.setAttribute("aria-current", "true"); else one.removeAttribute("aria-current"); });
  }

  let asked = 0;
  async function go(to, along = 0) {
    const next = Math.min(m.slices - 1, Math.max(0, to));
    if (next !== index) direction = along || Math.sign(next - index);
    index = next;
    const mine = (asked += 1);
    const plane = pack.planes.get(index) ?? await pack.slice(index).catch(() => null);
    if (mine !== asked) return;
    at("viewer-note").textContent = plane ? "" : "This slice cannot be read.";
    at("axial").style.visibility = plane ? "visible" : "hidden";
    tell();  // number, position and areas are those of what is seen
    if (!plane) return;
    main.show(plane, m.row_spacing_mm, m.column_spacing_mm);
    at("axial").dataset.shown = index;
    at("first").hidden = true;
    coronal.draw();
    earlier?.link(index);
    pack.prefetch(index, direction);
    window.dispatchEvent(new CustomEvent("slice", { detail: { index, view: main } }));
  }

  function jump(step) {
    for (let k = index + step; k >= 0 && k < m.slices; k += step) if (opaque(k)) return go(k);
  }
  function set(name) { both((view) => { view.window(...WINDOWS[name]); view.draw(); }); press("[data-window]", (one) => one.dataset.window === name); tell(); }
  function press(selector, on) { document.querySelectorAll(selector).forEach((one) => one.setAttribute("aria-pressed", on(one))); }
  function toggleOverlay() { const on = !main.overlay; both((view) => { view.overlay = on; view.draw(); }); press("#overlay", () => on); }
  function toggleLobes() { const on = !main.lobes; both((view) => { view.lobes = on; view.draw(); }); press("#lobes", () => on); }
  function cine() {
    if (timer) { clearInterval(timer); timer = 0; } else timer = setInterval(() => go(index + (index + direction < 0 || index + direction >= m.slices ? -direction * (m.slices - 1) : direction), direction), 90);
    press("#cine", () => Boolean(timer));
  }
  function reset() { both((view) => { view.zoom = 1; view.shift = [0, 0]; }); tools.clear(); set("lung"); go(m.first); }

  const wheel = (event) => {
    event.preventDefault();
    if (event.ctrlKey) { zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15); return; }
    go(index + (event.deltaY > 0 ? -1 : 1));
  };
  function zoom(by) { main.zoom = Math.min(8, Math.max(1, main.zoom * by)); if (main.zoom === 1) main.shift = [0, 0]; main.draw(); }
  at("axial").addEventListener("wheel", wheel, { passive: false });
  at("coronal").addEventListener("wheel", wheel, { passive: false });
  tools.onWindow = () => { const { centre, width } = main; both((view) => { if (view !== main) { view.window(centre, width); view.draw(); } }); press("[data-window]", () => false); tell(); };
  tools.onProbe = (found) => { at("probe-told").textContent = found ? `x ${Math.floor(found.column)} y ${Math.floor(found.row)}: ${String(found.hu).replace("-", "\u2212")} HU` : ""; };

  pack.coronal().then((plane) => {
    coronal.after = (context, scale, from) => {
      const y = from[1] + (m.slices - index - 0.5) * scale[1];
      context.strokeStyle = "#ffd166";
      context.setLineDash([6, 5]);
      context.beginPath(); context.moveTo(0, y); context.lineTo(context.canvas.width, y); context.stroke();
      context.setLineDash([]);
    };
    coronal.show(plane, m.slice_spacing_mm, m.column_spacing_mm);
    at("coronal").dataset.shown = "all";
  }).catch(() => {});
  const toLevel = (event) => { const found = coronal.pixel(event); if (found && event.buttons) go(m.slices - 1 - Math.floor(found.row)); };
  at("coronal").addEventListener("pointerdown", toLevel);
  at("coronal").addEventListener("pointermove", toLevel);

  const toStrip = (event) => { if (event.buttons) { const box = strip.getBoundingClientRect(); go(m.slices - 1 - Math.floor(((event.clientX - box.left) / box.width) * m.slices)); } };
  strip.addEventListener("pointerdown", toStrip);
  strip.addEventListener("pointermove", toStrip);
  document.querySelectorAll("[data-slice]").forEach((one) => one.addEventListener("click", () => go(+one.dataset.slice)));
  document.querySelectorAll("[data-window]").forEach((one) => one.addEventListener("click", () => set(one.dataset.window)));
  at("overlay").addEventListener("click", toggleOverlay);
  at("lobes").addEventListener("click", toggleLobes);
  at("cine").addEventListener("click", cine);
  at("reset").addEventListener("click", reset);
  at("ruler").addEventListener("click", () => pick("ruler"));
  at("probe").addEventListener("click", () => pick("probe"));
  at("strength").addEventListener("input", (event) => both((view) => { view.strength = +event.target.value / 100; view.draw(); }));
  function pick(tool) { tools.pick(tool); press("#ruler", () => tools.tool === "ruler"); press("#probe", () => tools.tool === "probe"); }

  if (body.dataset.earlier) {
    const { Earlier } = await import("./earlier.js");
    earlier = await Earlier.open(`/alerts/${id}/earlier`, at("earlier"), m).catch(() => null);
    if (earlier) { earlier.view.overlay = main.overlay; at("compare").addEventListener("click", () => press("#compare", () => earlier.toggle())); }
  }
  keysOfPage({
    ArrowDown: () => go(index - 1), ArrowUp: () => go(index + 1), ArrowRight: () => go(index - 1), ArrowLeft: () => go(index + 1),
    PageDown: () => go(index - 10), PageUp: () => go(index + 10), Home: () => go(m.slices - 1), End: () => go(0),
    "]": () => jump(-1), "[": () => jump(1), 1: () => set("lung"), 2: () => set("soft"), 3: () => set("wide"),
    o: toggleOverlay, l: toggleLobes, c: () => at("compare")?.click(), " ": cine, m: () => pick("ruler"), h: () => pick("probe"),
    0: reset, "+": () => zoom(1.25), "-": () => zoom(1 / 1.25),
  });
  press("#overlay", () => main.overlay);
  await go(index);
  decide.opened();
}

function keysOfPage(own) {
  const held = JSON.parse(sessionStorage.getItem("list") || "{}");
  const ids = held.ids ?? [];
  const here = ids.indexOf(id);
  const back = held.address ?? "/";
  const to = (step) => { const next = ids[here + step]; if (here < 0 || !next) return false; sessionStorage.setItem("list", JSON.stringify({ ...held, chosen: next })); location.href = `/alerts/${next}`; };
  at("back").href = back;
  if (here >= 0) at("place").textContent = `${here + 1} of ${ids.length}`;
  bindKeys({
    ...own, u: () => { location.href = back; }, n: () => to(1), b: () => to(-1), a: () => decide.ask("take-up"), d: () => decide.ask("dismiss"), t: () => decide.ask("pass-on"),
    p: () => at("pacs")?.click() ?? false, "?": () => { location.href = "/help"; },
  });
}

follow({ onAlert: ({ alert }) => { if (String(alert) === id) decide.refresh(); } });
