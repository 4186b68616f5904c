// What the pages do besides links and forms: keys, rows that open, dialogs, and the warning before a session ends.
"use strict";

const body = document.body;
const editable = "input, select, textarea, [contenteditable]";

// --- rows: the link in a row is what opens it; j and k move the focus from link to link ---
const links = () => [...document.querySelectorAll("[data-list] [data-row-link]")];

function move(step) {
  const all = links();
  if (all.length === 0) return;
  const row = document.activeElement?.closest("[data-row]");
  const now = all.findIndex((link) => link.closest("[data-row]") === row);
  const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + step, 0), all.length - 1);
  all[next].focus();
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const row = event.target.closest("[data-row]");
  const selecting = String(window.getSelection()) !== "";
  if (row && !selecting && !event.target.closest("a, button, input")) row.querySelector("[data-row-link]").click();
});

// --- keys: off where the person has switched them off, and never while typing ---
const keys = {
  j: () => move(1),
  k: () => move(-1),
  c: () => document.querySelector("[data-key='c']")?.click(),
  u: () => window.location.assign("/queue"),
  "?": () => document.getElementById("help")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (body.dataset.shortcuts !== "on" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest(editable) || document.querySelector("dialog[open]")) return;
  const action = keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// --- filters apply as they are changed; the button beside them is for browsers without scripts ---
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  if (event.target.matches("[name='outcome']")) fitFraudType();
});

// --- the fraud type is asked for only where the outcome has one ---
function fitFraudType() {
  const group = document.querySelector("[data-fraud-type]");
  if (!group) return;
  const chosen = document.querySelector("[name='outcome']:checked")?.value;
  const needed = group.dataset.fraudType.split(" ").includes(chosen);
  const select = group.querySelector("select");
  group.hidden = !needed;
  select.disabled = !needed;
  select.required = needed;
}
fitFraudType();
document.getElementById("problem")?.focus();

// --- refreshing: never under a moving pointer or in a hidden tab; what has just arrived is marked once ---
const stillMs = 2000;
const headPixels = 68; // the page's bar and the table's head, which stay on top
let movedAt = 0;
let known = new Set();
let held = null;
document.addEventListener("pointermove", (event) => {
  if (event.target.closest?.("[data-list] tbody")) movedAt = Date.now();
});
document.addEventListener("htmx:beforeRequest", (event) => {
  const background = event.target.getAttribute("hx-trigger")?.startsWith("every");
  if (background && (document.hidden || Date.now() - movedAt < stillMs)) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", () => {
  const all = links();
  known = new Set(all.map((link) => link.id));
  // What the person looks at stays where it is: the focused row, or the first one in sight of a scrolled list.
  const inSight = (link) => window.scrollY > 0 && link.getBoundingClientRect().top > headPixels;
  const link = all.find((one) => one === document.activeElement) ?? all.find(inSight);
  held = link ? { id: link.id, top: link.getBoundingClientRect().top } : null;
});
document.addEventListener("htmx:afterSwap", () => {
  const link = held && document.getElementById(held.id);
  if (link) window.scrollBy(0, link.getBoundingClientRect().top - held.top);
  held = null;
  for (const link of links()) {
    if (known.size > 0 && !known.has(link.id)) link.closest("[data-row]").classList.add("is-new");
  }
});

// --- the session: a warning two minutes before it ends, and a way to stay ---
const minutes = Number(body.dataset.sessionMinutes);
const warnBeforeMs = 120000;
let warning = 0;
function expectEnd() {
  window.clearTimeout(warning);
  const wait = Math.max(minutes * 60000 - warnBeforeMs, minutes * 30000);
  warning = window.setTimeout(() => document.getElementById("session-warning").showModal(), wait);
}
if (minutes > 0) {
  expectEnd();
  document.querySelector("[data-extends]")?.addEventListener("click", () => {
    fetch("/session", { credentials: "same-origin" }).then((answer) => {
      if (answer.ok) expectEnd();
      else window.location.reload();
    });
  });
}
