// Single-key shortcuts. `data-key` names an element's key and `data-does` describes its action. A, S, E,
// R, Y, 1 to 9 and Enter act on the armed request, or only on its open panel if there is one. A key that
// decides acts after HOLD_MS, and any other key within that time cancels it: fast typing never decides.

import {
  arm, armed, disarm, focusedAsk, isArmed, isPaused, isQuiet, isRested, onArming, REST_MS, restartRest, restLeft,
  rejectKey, typedAt,
} from "./arming.js";
import { closePanels, enter, openPanel, sendFrom, senderOf } from "./panels.js";
import { announce, note } from "./say.js";
import { acceptLayout } from "./still.js";

const HOLD_MS = 350; // longer than between two letters of a word
const GOING_MS = 1500;
const OF_A_REQUEST = /^[aersy1-9]$/;
const GO = { h: "/", s: "/sessions", t: "/statistics", d: "/diagnostics" };
const KEY = "orchestra-keys";
let goingFrom = -Infinity;
let drawing = 0;
let held = null; // {timer, step: where to move afterwards} of a key that waits

/** Whether single keys are on; people can switch them off. */
export const keysOn = () => { try { return localStorage.getItem(KEY) !== "off"; } catch { return true; } };
/** The text field that `target` is in, if any. */
export const typing = (target) => target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");

const isShown = (one) => one.offsetParent !== null && getComputedStyle(one).visibility !== "hidden" && !one.disabled;
const asks = () => [...document.querySelectorAll(".ask:not([data-closed])")].filter((ask) => ask.offsetParent !== null);
const ownPage = () => document.getElementById("question");

// ── the element of a key ───────────────────────────────────────────────────
/** The question that digits answer: the one with the focus, else the first without an answer. */
function currentQuestion(ask) {
  const all = [...ask.querySelectorAll(".ask-form fieldset:has(.choice)")];
  const open = (one) => !one.querySelector(":checked") && ![...one.querySelectorAll("[type=text]")].some((field) => field.value);
  return all.find((one) => one.contains(document.activeElement)) ?? all.find(open) ?? all.at(-1) ?? null;
}

const choicesOf = (ask) => [...(currentQuestion(ask)?.querySelectorAll(".choice input") ?? [])].slice(0, 9);
const hasAnswer = (ask) => [...ask.querySelectorAll(".choice input")].some((one) => (one.type === "text" ? one.value : one.checked));

function find(ask, key) {
  const panel = openPanel(ask);
  if (/^[1-9]$/.test(key)) return panel ? null : choicesOf(ask)[Number(key) - 1] ?? null;
  const within = [...(panel ?? ask).querySelectorAll(`[data-key="${CSS.escape(key)}"]`)];
  return within.find((one) => isShown(one) && (panel ? !one.matches("summary") : !one.closest("[data-panel]"))) ?? null;
}

// ── the action of a key ────────────────────────────────────────────────────
/** Call `run` after HOLD_MS, unless another key cancels it. */
function hold(run, words = "") {
  const mine = { step: 0 };
  mine.timer = setTimeout(() => { held = null; draw(); run(); if (mine.step) move(mine.step, performance.now()); }, HOLD_MS);
  held = mine;
  draw(words);
}

function cancelHeld() {
  if (!held) return false;
  clearTimeout(held.timer);
  held = null;
  draw();
  return true;
}

function act(ask, target, at) {
  restartRest(at);
  if (target.matches("button[type=submit]")) {
    if (!hasAnswer(ask) && choicesOf(ask).length && !openPanel(ask)) return note("Choose an answer first.");
    return hold(() => {
      if (target.isConnected && armed() === ask) target.click();
      else note("Nothing was done: the request has changed.");
    }, "In a moment. Any other key stops it.");
  }
  if (target.matches("[type=text]")) return target.focus();
  target.click();
  const fold = target.matches("summary") && target.parentElement;
  if (fold?.open) enter(fold);
  return draw();
}

/** Open and arm the next request of a list; on a request's own page go to the next request's page. */
function move(step, at) {
  const own = ownPage();
  if (own) return goToNeighbour(own, step, at);
  const next = neighbour(asks(), step);
  if (next) goTo(next, at);
  return undefined;
}

/** The target of J and K: first a request that has the focus but is not armed. */
function neighbour(all, step) {
  const here = focusedAsk();
  const index = all.indexOf(here);
  if (index >= 0) return step > 0 && !isArmed(here) ? here : all[index + step] ?? here;
  const after = here ? all.findIndex((one) => here.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) : 0;
  if (step > 0) return all[after] ?? all.at(-1);
  return here ? all[(after < 0 ? all.length : after) - 1] ?? all[0] : all.at(-1);
}

function goTo(ask, at) {
  restartRest(at);
  arm(ask, at);
  document.body.dispatchEvent(new CustomEvent("asks:moved"));
  ask.scrollIntoView({ block: "nearest" });
  acceptLayout();
  if (!ask.hasAttribute("data-open")) open(ask);
}

function goToNeighbour(own, step, at) {
  const isOpen = own.querySelector(".ask-form");
  if (own.querySelector(".htmx-request")) return note("Your decision is being recorded.");
  const link = document.querySelector(step > 0 ? "[data-next]" : "[data-previous]");
  if (isOpen && !isArmed(own)) { restartRest(at); arm(own, at); return note(lineOf(own)); }
  if (link) hold(() => link.click(), "In a moment: the neighbour. Any other key stops it.");
  return undefined;
}

/** Unfold a line into the whole card, which gets the focus and is armed. */
function open(line) {
  const id = line.id;
  // afterSwap, not afterSettle: by then another swap may have replaced the line.
  document.addEventListener("htmx:afterSwap", function opened({ detail: { elt: whole } }) {
    if (whole.id !== id && line.isConnected) return;
    document.removeEventListener("htmx:afterSwap", opened);
    if (whole.id !== id) return; // it was opened otherwise
    arm(whole);
    whole.scrollIntoView({ block: "nearest" });
    acceptLayout();
  });
  line.querySelector("[data-opener]")?.click();
}

/** A request key while none is armed: it arms one and shows what the next key will do, but decides nothing. */
function choose(at) {
  if (isPaused()) return rejectKey(at);
  const waiting = asks().filter((ask) => ask.querySelector(".ask-form, .ask-line"));
  const ask = [focusedAsk(), ...waiting].find((one) => waiting.includes(one));
  if (!ask) return undefined;
  if (ask === ownPage()) { restartRest(at); arm(ask, at); } else goTo(ask, at);
  restartRest(at + REST_MS); // longer than after J: this key may be a letter of a slow typist
  const title = ask.querySelector(".ask-title, .what b")?.textContent.trim() ?? "this request";
  return note(`Nothing was decided. Chosen: ${title}. ${lineOf(ask)}`);
}

function handleRequestKey(event, key, at) {
  const ask = armed();
  if (!ask) return choose(at);
  if (!isRested(ask, at)) return rejectKey(at, "That key came too early; nothing was done.");
  const target = find(ask, key);
  if (!target) return rejectKey(at);
  event.preventDefault();
  return act(ask, target, at);
}

function handlePageKey(event, key, at) {
  if (armed() && !isRested(armed(), at)) return rejectKey(at, "That key came too early; nothing was done.");
  const target = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find((one) => isShown(one) && !one.closest(".ask"));
  if (!target) return rejectKey(at);
  event.preventDefault();
  restartRest(at);
  if (target.matches("input, textarea")) return target.focus();
  return target.click();
}

function step(event, key, at) {
  const by = key === "j" ? 1 : -1;
  event.preventDefault();
  if (held && !held.step) { held.step = by; return undefined; }
  return move(by, at);
}

document.addEventListener("keydown", (event) => {
  const { target, key: name, timeStamp: at } = event;
  if (held && name !== "Escape" && !event.repeat && !isMoveAfterHeld(event)) return stopHeld(at);
  if (event.isComposing) return undefined;
  if (name === "Enter" && (event.ctrlKey || event.metaKey) && target.form) {
    event.preventDefault();
    typedAt(-Infinity); // sending ends the typing
    return event.repeat ? undefined : sendFrom(target);
  }
  if (name === "Enter" && target.matches?.("input") && target.form?.matches(".ask-form")) {
    event.preventDefault();
    return note("Nothing was sent. Ctrl and Enter send it.");
  }
  if (name === "Escape") return handleEscape(event);
  if (name === "Tab") return typedAt(-Infinity);
  if (typing(target)) return name.length === 1 ? typedAt(at) : undefined;
  if (name === " " && target.matches?.("a[role=button]")) { event.preventDefault(); return target.click(); }
  const ofTheAsk = name === "Enter" && target === armed();
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !keysOn()) return undefined;
  if (name === " " || (name.length !== 1 && !ofTheAsk)) return undefined;
  return handleKey(event, name.toLowerCase(), at);
});

/** J or K right after a held key does not cancel it: it moves on after the action. */
const isMoveAfterHeld = (event) => /^[jk]$/i.test(event.key) && !held.step && !ownPage()
  && !(event.ctrlKey || event.altKey || event.metaKey || event.isComposing) && !typing(event.target);

/** Every other key cancels it, including space and Shift: it may continue a word. */
function stopHeld(at) {
  cancelHeld();
  rejectKey(at, "Two keys at once: nothing was done.");
}

function handleKey(event, key, at) {
  if (document.querySelector("dialog[open]") || (key !== "?" && document.querySelector(":popover-open"))) return typedAt(at);
  const moves = key === "j" || key === "k";
  if (!isQuiet(at)) return rejectKey(at);
  if (at - goingFrom < GOING_MS && GO[key]) { goingFrom = -Infinity; event.preventDefault(); return hold(() => { location.href = GO[key]; }); }
  goingFrom = -Infinity;
  if (key === "g") { goingFrom = at; return restartRest(at); }
  if (key === "?") return document.getElementById("keys").togglePopover();
  if (moves) return step(event, key, at);
  return OF_A_REQUEST.test(key) || key === "enter" ? handleRequestKey(event, key, at) : handlePageKey(event, key, at);
}

function handleEscape(event) {
  if (cancelHeld()) return note("Stopped. Nothing was done.");
  const ask = focusedAsk();
  if (closePanels(ask)) { event.preventDefault(); restartRest(event.timeStamp); return arm(ask, event.timeStamp); }
  if (document.querySelector("dialog[open], :popover-open")) return undefined;
  disarm();
  return document.activeElement?.blur();
}

// ── hints beside the card about the available keys ─────────────────────────
function lineOf(ask) {
  const panel = openPanel(ask);
  const words = [...(panel ?? ask).querySelectorAll("[data-does]")]
    .filter((one) => isShown(one) && (panel ? !one.matches("summary") : !one.closest("[data-panel], details.fold > div")))
    .map((one) => `${one.dataset.key ? (one.dataset.key === "enter" ? "↵" : one.dataset.key.toUpperCase()) : "Ctrl ↵"} ${one.dataset.does}`);
  const most = panel ? 0 : choicesOf(ask).length;
  if (most) words.unshift(most === 1 ? "1 writes an answer" : `1 to ${most} choose an answer`);
  if (panel) words.push("Esc goes back");
  return words.join(" · ");
}

/** In a text field only the keys for sending and leaving act. */
function lineOfField(field) {
  const does = senderOf(field)?.dataset.does;
  const back = field.closest("[data-panel], details.fold") ? "Esc goes back" : "Esc stops writing";
  return does ? `Ctrl ↵ ${does} · ${back}` : back;
}

function hintFor(ask, words) {
  const field = document.activeElement;
  if (ask?.contains(field) && typing(field) && field.form) return lineOfField(field);
  if (ask !== armed()) return isPaused() ? "Keys are paused. J goes on" : "J or A chooses this request";
  if (words) return words;
  const wait = restLeft(ask);
  if (wait <= 0) return lineOf(ask);
  clearTimeout(drawing);
  drawing = setTimeout(() => held || draw(), wait + 1);
  return "One moment…";
}

function draw(words = "") {
  document.querySelectorAll("[data-key-line]").forEach((line) => {
    const now = hintFor(line.closest(".ask"), words);
    if (line.textContent !== now) line.textContent = now;
  });
}

onArming(draw);
for (const name of ["focusin", "focusout", "change", "toggle"]) document.addEventListener(name, () => requestAnimationFrame(() => held || draw()), true);
document.addEventListener("htmx:load", () => held || draw());

const box = document.querySelector("[data-keys-on]");
if (box) {
  box.checked = keysOn();
  box.addEventListener("change", () => {
    try { localStorage.setItem(KEY, box.checked ? "on" : "off"); } catch { /* storage is switched off */ }
    announce(box.checked ? "Single keys are on." : "Single keys are off.");
  });
}
draw();
