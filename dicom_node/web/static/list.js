// The flagged list: keeps still until the reader wants otherwise; everything works by keys.
import { bindKeys, post } from "./keys.js";
import { follow } from "./live.js";

const lines = document.getElementById("lines");
const scroll = document.getElementById("scroll");
const preview = document.getElementById("preview");
const news = document.getElementById("news");
const away = document.getElementById("away");
const filters = document.getElementById("filters");
let chosen = null;
let waiting = null;
let loadedAt = new Date();

const rows = (root = lines) => [...root.querySelectorAll("tr[data-alert]")];
const row = (id) => lines.querySelector(`tr[data-alert="${id}"]`);
const parse = (html) => new DOMParser().parseFromString(html, "text/html");

function remember() {
  const ids = rows().map((one) => one.dataset.alert);
  sessionStorage.setItem("list", JSON.stringify({ address: location.pathname + location.search, ids, chosen }));
}

let previewTimer = 0;
function choose(id, { focus = true } = {}) {
  rows().forEach((one) => { one.setAttribute("aria-selected", one.dataset.alert === id ? "true" : "false"); one.tabIndex = -1; });
  const target = row(id);
  if (!target) return;
  chosen = id;
  target.tabIndex = 0;
  target.scrollIntoView({ block: "nearest" });
  if (focus) target.focus({ preventScroll: true });
  remember();
  clearTimeout(previewTimer);
  previewTimer = setTimeout(() => showPreview(id), 60);
}

async function showPreview(id) {
  if (getComputedStyle(preview).display === "none") return;
  const answer = await fetch(`/alerts/${id}/preview`, { headers: { "x-quiet": "1" } });
  if (answer.ok && chosen === id) preview.replaceChildren(...parse(await answer.text()).body.childNodes);
}

function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((one) => one.dataset.alert === chosen);
  choose(all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))].dataset.alert);
}

function open() {
  if (!chosen) return false;
  remember();
  location.href = `/alerts/${chosen}`;
}

function count(table) {
  document.getElementById("n-open").textContent = table.dataset.open;
  document.getElementById("n-overdue").textContent = table.dataset.overdue;
}

// What a line shows may change where it stands; lines that come are announced, lines that go stay until asked.
async function look() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { "x-part": "lines", "x-quiet": "1" } });
  } catch { return tellAway(); }
  if (answer.redirected || answer.status === 401) return tellAway("You were signed out.");
  if (!answer.ok) return tellAway();
  away.hidden = true;
  const fresh = parse(await answer.text());
  const known = new Set(rows().map((one) => one.dataset.alert));
  const came = rows(fresh).filter((one) => !known.has(one.dataset.alert));
  for (const old of rows()) {
    const now = fresh.querySelector(`tr[data-alert="${old.dataset.alert}"]`);
    old.classList.toggle("gone", !now);
    if (!now) { if (!old.querySelector(".moved-on")) mark(old); continue; }
    [...old.cells].forEach((cell, index) => {
      if (cell.className !== "thumb" && cell.innerHTML !== now.cells[index].innerHTML) cell.replaceChildren(...document.importNode(now.cells[index], true).childNodes);
    });
  }
  count(fresh.getElementById("list"));
  waiting = fresh;
  news.hidden = came.length === 0;
  if (came.length) {
    document.getElementById("news-text").textContent = `${came.length} new flagged examination${came.length > 1 ? "s" : ""}. The list keeps still until you want it.`;
  }
  loadedAt = new Date();
}

function mark(old) {
  const note = document.createElement("div");
  note.className = "moved-on warn";
  note.textContent = "Moved on: no longer in this list";
  old.cells[old.cells.length - 1].append(note);
}

function tellAway(why = "") {
  away.hidden = false;
  away.textContent = `${why || "The worklist does not answer."} This list is of ${loadedAt.toLocaleTimeString("en-GB")}.`;
}

function showNew() {
  if (!waiting) return;
  const top = scroll.scrollTop;
  lines.replaceChildren(waiting.getElementById("list"));
  waiting = null;
  news.hidden = true;
  scroll.scrollTop = top;
  if (chosen && row(chosen)) choose(chosen); else step(0);
}

async function go(address, { push = true } = {}) {
  let answer;
  try { answer = await fetch(address); } catch { return tellAway(); }
  if (!answer.ok || answer.redirected) { location.href = address; return; }
  const fresh = parse(await answer.text());
  if (push) history.pushState(null, "", address);
  lines.replaceChildren(fresh.getElementById("list"));
  document.querySelector(".seg").replaceWith(fresh.querySelector(".seg"));
  document.querySelector(".pager")?.remove();
  const pager = fresh.querySelector(".pager");
  if (pager) scroll.append(pager);
  for (const name of ["state", "sort", "turned", "q"]) filters.elements[name].value = fresh.querySelector(`#filters [name=${name}]`).value;
  document.querySelector(".keys").replaceWith(fresh.querySelector(".keys"));
  scroll.scrollTop = 0;
  waiting = null;
  news.hidden = true;
  if (!row(chosen)) { chosen = null; preview.textContent = ""; }
  if (rows().length) choose(chosen ?? rows()[0].dataset.alert, { focus: false });
  remember();
}

function address() {
  const query = new URLSearchParams([...new FormData(filters)].filter(([name, value]) => value && name !== "csrf" && name !== "q"));
  const found = new URLSearchParams(location.search).get("found");
  if (found) query.set("found", found);
  return `/?${query}`;
}

// What is searched for may be a patient's ID: the address gets it sealed.
async function search() {
  const answer = await post(filters.action, Object.fromEntries(new FormData(filters))).catch(() => null);
  if (!answer?.ok) return tellAway();
  go((await answer.json()).address);
}

filters.addEventListener("submit", (event) => { event.preventDefault(); search(); });
filters.addEventListener("change", (event) => { if (event.target.tagName === "SELECT") go(address()); });
document.addEventListener("click", (event) => {
  const link = event.target.closest(".seg a, #list thead a, .pager a");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); go(link.href).then(() => document.querySelector(`${link.closest(".seg") ? ".seg" : "#list thead"} a[aria-current], th[aria-sort] a`)?.focus()); return; }
  const line = event.target.closest("tr[data-alert]");
  if (line && !event.target.closest("a")) choose(line.dataset.alert);
});
lines.addEventListener("dblclick", (event) => { if (event.target.closest("tr[data-alert]")) open(); });
lines.addEventListener("click", (event) => { const link = event.target.closest("[data-open-case]"); if (link) { chosen = link.closest("tr").dataset.alert; remember(); } });
document.getElementById("news-show").addEventListener("click", showNew);
addEventListener("popstate", () => { go(location.href, { push: false }).then(restoreForm); });

function restoreForm() {
  const asked = new URLSearchParams(location.search);
  for (const field of filters.elements) if (field.name && field.name !== "csrf" && field.name !== "q") field.value = asked.get(field.name) ?? (field.name === "state" ? "open" : field.name === "sort" ? "pressing" : "");
}

bindKeys({
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: open,
  r: showNew, "/": () => document.getElementById("q").focus(),
  p: () => { if (!chosen || !document.body.dataset.pacs) return false; window.open(`/alerts/${chosen}/viewer/pacs`, "_blank", "noopener"); },
  "?": () => { location.href = "/help"; },
});

let due = 0;
const lookSoon = () => { clearTimeout(due); due = setTimeout(look, 250); };
follow({ onAlert: lookSoon, onReset: look, onNode: ({ what }) => { if (what === "delivery") lookSoon(); } });
setInterval(look, 60000);

const held = JSON.parse(sessionStorage.getItem("list") || "{}");
const first = held.chosen && row(held.chosen) ? held.chosen : rows()[0]?.dataset.alert;
if (first) choose(first, { focus: document.activeElement === document.body });
