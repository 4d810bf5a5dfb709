// Single letters. An element says which with data-key; A, S, E, R, Y and Enter belong to the armed question alone.

import { announce } from "./say.js";

const ARMED_AFTER_MS = 600;
const OF_A_QUESTION = new Set(["a", "s", "e", "r", "y"]);
const GO = { h: "/", s: "/sessions", t: "/statistics", d: "/diagnostics" };
const KEY = "orchestra-keys";
const bornAt = new WeakMap();
let going = 0;

/** Whether single letters do something; people can switch them off. */
export const keysOn = () => { try { return localStorage.getItem(KEY) !== "off"; } catch { return true; } };
/** Whether somebody is in a field that takes letters. */
export const typing = (target) => target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");
const asks = () => [...document.querySelectorAll(".ask")].filter((ask) => ask.offsetParent !== null);

// A question is armed by moving to it, touching it or tabbing into it; not by a script that puts the focus there.
let meant = null;
const armed = () => {
  const ask = document.activeElement?.closest?.(".ask") ?? null;
  return ask && ask === meant ? ask : null;
};
const focusedAsk = () => document.activeElement?.closest?.(".ask") ?? null;
document.addEventListener("pointerdown", (event) => { meant = event.target.closest(".ask"); });
document.addEventListener("keyup", (event) => { if (event.key === "Tab") meant = focusedAsk(); });

/** A question somebody went to on purpose: it takes the focus, and its letters act once it has been there for a moment. */
export function arm(ask) {
  meant = ask;
  ask.focus({ preventScroll: true });
}

/** Whether somebody went to this question on purpose; without one, whether they went to any. */
export const isArmed = (ask) => meant !== null && meant.isConnected && (ask === undefined || meant === ask);

/** From now on no key answers anything, until somebody moves to a question. */
export function armNothing() { meant = null; }

/** Whether a card has been in place long enough to be meant by a key, a click or a tap. */
function ready(ask) {
  born(ask);
  return performance.now() - bornAt.get(ask) > ARMED_AFTER_MS;
}

function born(within) {
  const fresh = [...(within.querySelectorAll?.(".ask") ?? [])];
  if (within.matches?.(".ask")) fresh.push(within);
  fresh.forEach((ask) => bornAt.has(ask) || bornAt.set(ask, performance.now()));
}

function move(step) {
  const all = asks();
  if (!all.length) return;
  const at = meant === focusedAsk() ? all.indexOf(focusedAsk()) : all.indexOf(focusedAsk()) - (step > 0 && focusedAsk() ? 1 : 0);
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step))];
  meant = next;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  if (!next.hasAttribute("data-open") && !next.hasAttribute("data-closed")) open(next);
}

/** A line becomes the whole card, which keeps the focus and is armed like the line was. */
function open(line) {
  const id = line.id;
  // Not when it has settled: by then other parts of the page may have come, and the line is gone.
  document.addEventListener("htmx:afterSwap", function opened({ detail: { elt: whole } }) {
    if (whole.id !== id && line.isConnected) return;
    document.removeEventListener("htmx:afterSwap", opened);
    if (whole.id !== id) return; // it was opened in another way
    arm(whole);
    whole.scrollIntoView({ block: "nearest" });
  });
  line.querySelector("[data-opener]")?.click();
}

function press(within, key) {
  const target = [...within.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find((one) => one.offsetParent !== null && !one.disabled);
  if (target?.matches("input, textarea")) target.focus();
  else target?.click();
  return Boolean(target);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
    event.preventDefault();
    return event.target.form.requestSubmit();
  }
  if (event.key === "Escape") return letGo(event);
  if (event.key === " " && event.target.matches?.("a[role=button]")) { event.preventDefault(); return event.target.click(); }
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing(event.target) || !keysOn()) return undefined;
  const key = event.key.toLowerCase();
  if (going && GO[key]) { event.preventDefault(); location.href = GO[key]; return undefined; }
  going = 0;
  if (key === "g") { going = setTimeout(() => { going = 0; }, 1500); return undefined; }
  if (key === "?") return document.getElementById("keys").togglePopover();
  if (key === "j" || key === "k") { event.preventDefault(); return move(key === "j" ? 1 : -1); }
  const dialog = document.querySelector("dialog[open]");
  const ask = armed();
  if (OF_A_QUESTION.has(key) || (key === "enter" && event.target === ask)) {
    if (!ask || !ready(ask)) return undefined;
    if (press(ask, key)) event.preventDefault();
  } else if (key.length === 1 && !dialog && press(document, key)) event.preventDefault();
  return undefined;
});

function letGo(event) {
  const ask = focusedAsk();
  const panel = ask?.querySelector("[data-panel]:not([hidden])");
  if (panel) { event.preventDefault(); closePanels(ask); ask.focus(); } else if (!document.querySelector("dialog[open], :popover-open")) {
    document.activeElement?.blur();
  }
}

/** Panels of a question unfold in place, one at a time. Without this script the same links lead to its own page. */
function closePanels(ask) {
  ask.querySelectorAll("[data-panel]").forEach((panel) => { panel.hidden = true; });
  ask.querySelectorAll("[data-opens]").forEach((opener) => opener.setAttribute("aria-expanded", "false"));
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const ask = event.target.closest(".ask");
  if (ask && event.target.closest("button, [data-opens]") && !ready(ask)) {
    event.preventDefault(); // it appeared under the finger
    event.stopPropagation();
    return;
  }
  if (event.target.closest("[data-close-panels]") && ask) { closePanels(ask); ask.focus(); }
  if (!opener || !ask || event.ctrlKey || event.metaKey) return;
  const panel = ask.querySelector(`[data-panel="${opener.dataset.opens}"]`);
  if (!panel) return;
  event.preventDefault();
  const opening = panel.hidden;
  closePanels(ask);
  panel.hidden = !opening;
  opener.setAttribute("aria-expanded", String(opening));
  if (opening) (panel.querySelector("textarea, input:not([type=hidden]), button") ?? panel).focus();
}, true);

const box = document.querySelector("[data-keys-on]");
if (box) {
  box.checked = keysOn();
  box.addEventListener("change", () => {
    try { localStorage.setItem(KEY, box.checked ? "on" : "off"); } catch { /* storage is switched off */ }
    announce(box.checked ? "Single letters are on." : "Single letters are off.");
  });
}
// However a card came into the page: by a swap, by a row of a transcript, by the list of the front page.
new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(born)))
  .observe(document.body, { childList: true, subtree: true });
born(document);
