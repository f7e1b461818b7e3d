// Follows the node's events; says since when nothing was heard, and looks by itself then.
const SILENT_MS = 45000;
const LOOK_MS = 30000;
const AGAIN_MS = 4000;

export function follow({ onAlert, onNode, onReset }) {
  const light = document.getElementById("live");
  const text = document.getElementById("live-text");
  const seen = new Set();
  let source = null;
  let last = document.body.dataset.after ?? ""; // what the page was made of: events since then are news
  let heard = Date.now();
  let connected = false;

  const clock = (at) => new Date(at).toLocaleTimeString("en-GB", { hour12: false });
  const show = (state, words) => {
    if (!light) return;
    light.dataset.state = state;
    if (text.textContent !== words) text.textContent = words;
  };
  const hear = (event) => {
    heard = Date.now();
    connected = true;
    show("live", "Live");
    if (!event.lastEventId) return true;
    last = event.lastEventId;
    if (seen.has(last)) return false;
    seen.add(last);
    if (seen.size > 5000) seen.delete(seen.values().next().value);
    return true;
  };
  const connect = () => {
    source = new EventSource(last ? `/events?after=${encodeURIComponent(last)}` : "/events");
    source.addEventListener("open", () => { heard = Date.now(); connected = true; show("live", "Live"); });
    source.addEventListener("ping", hear);
    source.addEventListener("alert", (event) => { if (hear(event)) onAlert?.(JSON.parse(event.data)); });
    source.addEventListener("node", (event) => { if (hear(event)) onNode?.(JSON.parse(event.data)); });
    source.addEventListener("reset", (event) => { hear(event); onReset?.(); });
    source.addEventListener("error", () => {
      if (connected) { connected = false; heard = Date.now(); }
      show("away", `Not live since ${clock(heard)}`);
      if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(connect, AGAIN_MS); }
    });
  };
  connect();
  setInterval(() => {
    if (Date.now() - heard > SILENT_MS) show("away", `Not live since ${clock(heard)}`);
  }, 5000);
  setInterval(() => { if (!connected || Date.now() - heard > SILENT_MS) onReset?.(); }, LOOK_MS);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
}
