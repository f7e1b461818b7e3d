// What a reader decides: asked once, answered at once; who was faster is told.
import { post } from "./keys.js";

const id = document.body.dataset.case;
const panel = () => document.getElementById("decision");

async function refresh() {
  const answer = await fetch(location.href, { headers: { "x-quiet": "1" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (fresh.body.dataset.result !== document.body.dataset.result) return outdated();
  for (const name of ["decision", "state"]) {
    const now = fresh.getElementById(name);
    if (now) document.getElementById(name).replaceWith(now);
  }
  wire();
  tell(...told);  // what was answered stays, also when the case's own event comes after the answer
}

// The images here are of a result that does not stand any more: nothing is decided upon them.
function outdated() {
  document.getElementById("newer").hidden = false;
  panel().querySelectorAll("button, fieldset").forEach((one) => { one.disabled = true; });
}

let told = ["", false];
function tell(words, bad = false) {
  told = [words, bad];
  const note = document.getElementById("decided");
  note.textContent = words;
  note.className = bad ? "error" : "notice";
  note.hidden = !words;
}

async function send(form, path) {
  const given = { seen: panel().dataset.seen, ...Object.fromEntries(new FormData(form)) };
  const answer = await post(path, given).catch(() => null);
  if (!answer) return tell("The worklist does not answer. Nothing was kept.", true);
  const said = await answer.json().catch(() => ({}));
  if (answer.ok && path.endsWith("/open")) document.body.dataset.opened = "yes";
  await refresh();
  tell(answer.ok ? said.done : said.error ?? "This was not kept.", !answer.ok);
}

function wire() {
  panel()?.querySelectorAll("form").forEach((form) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = event.submitter;
      if (button?.dataset.asks) return ask(button.dataset.asks);
      send(form, new URL(button?.hasAttribute("formaction") ? button.formAction : form.action).pathname);
    });
    form.addEventListener("change", (event) => { if (event.target.matches("[data-verdict]")) send(form, `/alerts/${id}/verdict`); });
  });
}

function ask(what) {
  const dialog = document.getElementById(`ask-${what}`);
  if (!dialog || !document.querySelector(`[data-asks="${what}"]:not(:disabled)`)) return false;
  dialog.showModal();
}

document.querySelectorAll("dialog").forEach((dialog) => {
  const form = dialog.querySelector("form");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => { event.preventDefault(); dialog.close(); send(form, new URL(form.action).pathname); });
});

document.getElementById("reveal")?.addEventListener("click", async (event) => {
  const answer = await post(`/alerts/${id}/reveal`);
  const said = await answer.json().catch(() => ({}));
  document.getElementById("patient").textContent = answer.ok ? said.patient : said.error;
  event.target.remove();
});

wire();

export const decide = {
  ask,
  refresh,
  async opened() { if (document.body.dataset.opened !== "yes") { const answer = await post(`/alerts/${id}/open`).catch(() => null); if (answer?.ok) { document.body.dataset.opened = "yes"; refresh(); } } },
};
