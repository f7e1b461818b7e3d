// Keys of one letter: off while somebody types, and for who has switched them off.
const typing = new Set(["INPUT", "SELECT", "TEXTAREA"]);

// Who works on a page is there, though the page need ask nothing: told once a minute at most, so that only who is idle is signed out.
const EVERY = 60_000;
let told = Date.now();
for (const kind of ["keydown", "pointerdown", "wheel"]) {
  document.addEventListener(kind, () => {
    if (Date.now() - told < EVERY) return;
    told = Date.now();
    fetch("/me/here").catch(() => {}); // the next press tells it again
  }, { capture: true, passive: true });
}

export function bindKeys(bindings) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const inField = typing.has(event.target.tagName) && event.target.type !== "radio" && event.target.type !== "checkbox" && event.target.type !== "range";
    if (inField) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const named = event.key.length > 1;
    if (document.body.dataset.keys === "off" && !named) return;
    const onControl = event.target.closest("a, button, input, summary, [role=slider]");
    if (onControl && (event.key === "Enter" || event.key === " ")) return;
    const act = bindings[event.key] ?? (named ? undefined : bindings[event.key.toLowerCase()]);
    if (act && act(event) !== false) event.preventDefault();
  });
}

export function post(path, form = {}) {
  const body = new URLSearchParams({ csrf: document.body.dataset.csrf, ...form });
  return fetch(path, { method: "POST", body, headers: { accept: "application/json" } });
}
