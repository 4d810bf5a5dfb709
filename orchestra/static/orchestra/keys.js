// Single keys. An element says which with data-key, and with data-does what it does; A, S, E, R, Y, 1 to 9 and Enter belong to the
// armed request, and to its open panel alone while one is open. A key that decides waits a moment, and another key takes it
// back: a burst of typing never decides.

import {
  arm, armed, armNothing, focusedAsk, isArmed, isPaused, isQuiet, isRested, onArming, REST_MS, restAgain, restLeft,
  stray, typedAt,
} from "./arming.js";
import { closePanels, enter, openPanel, sendFrom, senderOf } from "./panels.js";
import { announce, note } from "./say.js";
import { settle } from "./still.js";

const HOLD_MS = 350; // longer than between two letters of a word
const GOING_MS = 1500;
const OF_A_REQUEST = /^[aersy1-9]$/;
const GO = { h: "/", s: "/sessions", t: "/statistics", d: "/diagnostics" };
const KEY = "orchestra-keys";
let goingFrom = -Infinity;
let drawing = 0;
let held = null; // {timer, step: where to move afterwards} of a key that waits

/** Whether single keys do something; people can switch them off. */
export const keysOn = () => { try { return localStorage.getItem(KEY) !== "off"; } catch { return true; } };
/** Whether somebody is in a field that takes letters. */
export const typing = (target) => target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");

const isShown = (one) => one.offsetParent !== null && getComputedStyle(one).visibility !== "hidden" && !one.disabled;
const asks = () => [...document.querySelectorAll(".ask:not([data-closed])")].filter((ask) => ask.offsetParent !== null);
const ownPage = () => document.getElementById("question");

// ── what a key finds ───────────────────────────────────────────────────────
/** The questions of a card; keys choose in the one with the focus, else in the first without an answer. */
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

// ── what a key does ────────────────────────────────────────────────────────
/** Do it in a moment, unless another key comes first. */
function hold(run, words = "") {
  const mine = { step: 0 };
  mine.timer = setTimeout(() => { held = null; draw(); run(); if (mine.step) move(mine.step, performance.now()); }, HOLD_MS);
  held = mine;
  draw(words);
}

function letGoOfHeld() {
  if (!held) return false;
  clearTimeout(held.timer);
  held = null;
  draw();
  return true;
}

function act(ask, target, at) {
  restAgain(at);
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

/** The next request of a list, opened and armed; on a request's own page its neighbour's page. */
function move(step, at) {
  const own = ownPage();
  if (own) return leave(own, step, at);
  const next = neighbour(asks(), step);
  if (next) goTo(next, at);
  return undefined;
}

/** Where J and K lead: a request that has the focus without being chosen comes first. */
function neighbour(all, step) {
  const here = focusedAsk();
  const index = all.indexOf(here);
  if (index >= 0) return step > 0 && !isArmed(here) ? here : all[index + step] ?? here;
  const after = here ? all.findIndex((one) => here.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) : 0;
  if (step > 0) return all[after] ?? all.at(-1);
  return here ? all[(after < 0 ? all.length : after) - 1] ?? all[0] : all.at(-1);
}

function goTo(ask, at) {
  restAgain(at);
  arm(ask, at);
  document.body.dispatchEvent(new CustomEvent("asks:moved"));
  ask.scrollIntoView({ block: "nearest" });
  settle();
  if (!ask.hasAttribute("data-open")) open(ask);
}

function leave(own, step, at) {
  const isOpen = own.querySelector(".ask-form");
  if (own.querySelector(".htmx-request")) return note("Your decision is being recorded.");
  const link = document.querySelector(step > 0 ? "[data-next]" : "[data-previous]");
  if (isOpen && !isArmed(own)) { restAgain(at); arm(own, at); return note(lineOf(own)); }
  if (link) hold(() => link.click(), "In a moment: the neighbour. Any other key stops it.");
  return undefined;
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
    settle();
  });
  line.querySelector("[data-opener]")?.click();
}

/** A key for a request while none is chosen: it chooses one and says what the next key will do. It decides nothing. */
function choose(at) {
  if (isPaused()) return stray(at);
  const waiting = asks().filter((ask) => ask.querySelector(".ask-form, .ask-line"));
  const ask = [focusedAsk(), ...waiting].find((one) => waiting.includes(one));
  if (!ask) return undefined;
  if (ask === ownPage()) { restAgain(at); arm(ask, at); } else goTo(ask, at);
  restAgain(at + REST_MS); // longer than after J: this one may be a letter of somebody who types slowly
  const title = ask.querySelector(".ask-title, .what b")?.textContent.trim() ?? "this request";
  return note(`Nothing was decided. Chosen: ${title}. ${lineOf(ask)}`);
}

function forRequest(event, key, at) {
  const ask = armed();
  if (!ask) return choose(at);
  if (!isRested(ask, at)) return stray(at, "That key came too early; nothing was done.");
  const target = find(ask, key);
  if (!target) return stray(at);
  event.preventDefault();
  return act(ask, target, at);
}

function forPage(event, key, at) {
  if (armed() && !isRested(armed(), at)) return stray(at, "That key came too early; nothing was done.");
  const target = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find((one) => isShown(one) && !one.closest(".ask"));
  if (!target) return stray(at);
  event.preventDefault();
  restAgain(at);
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
  if (held && name !== "Escape" && !event.repeat && !goesOn(event)) return stopHeld(at);
  if (event.isComposing) return undefined;
  if (name === "Enter" && (event.ctrlKey || event.metaKey) && target.form) {
    event.preventDefault();
    typedAt(-Infinity); // who sends has stopped typing
    return event.repeat ? undefined : sendFrom(target);
  }
  if (name === "Enter" && target.matches?.("input") && target.form?.matches(".ask-form")) {
    event.preventDefault();
    return note("Nothing was sent. Ctrl and Enter send it.");
  }
  if (name === "Escape") return letGo(event);
  if (name === "Tab") return typedAt(-Infinity);
  if (typing(target)) return name.length === 1 ? typedAt(at) : undefined;
  if (name === " " && target.matches?.("a[role=button]")) { event.preventDefault(); return target.click(); }
  const ofTheAsk = name === "Enter" && target === armed();
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !keysOn()) return undefined;
  if (name === " " || (name.length !== 1 && !ofTheAsk)) return undefined;
  return pressed(event, name.toLowerCase(), at);
});

/** J or K right after a key that waits does not stop it: they move on once it was done. */
const goesOn = (event) => /^[jk]$/i.test(event.key) && !held.step && !ownPage()
  && !(event.ctrlKey || event.altKey || event.metaKey || event.isComposing) && !typing(event.target);

/** Every other key does, a space or a Shift too: it may be the next of a word. */
function stopHeld(at) {
  letGoOfHeld();
  stray(at, "Two keys at once: nothing was done.");
}

function pressed(event, key, at) {
  if (document.querySelector("dialog[open]") || (key !== "?" && document.querySelector(":popover-open"))) return typedAt(at);
  const moves = key === "j" || key === "k";
  if (!isQuiet(at)) return stray(at);
  if (at - goingFrom < GOING_MS && GO[key]) { goingFrom = -Infinity; event.preventDefault(); return hold(() => { location.href = GO[key]; }); }
  goingFrom = -Infinity;
  if (key === "g") { goingFrom = at; return restAgain(at); }
  if (key === "?") return document.getElementById("keys").togglePopover();
  if (moves) return step(event, key, at);
  return OF_A_REQUEST.test(key) || key === "enter" ? forRequest(event, key, at) : forPage(event, key, at);
}

function letGo(event) {
  if (letGoOfHeld()) return note("Stopped. Nothing was done.");
  const ask = focusedAsk();
  if (closePanels(ask)) { event.preventDefault(); restAgain(event.timeStamp); return arm(ask, event.timeStamp); }
  if (document.querySelector("dialog[open], :popover-open")) return undefined;
  armNothing();
  return document.activeElement?.blur();
}

// ── what the next key will do, in words, beside the card ───────────────────
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

/** In a field a letter is a letter: what remains is to send and to leave. */
function lineOfField(field) {
  const does = senderOf(field)?.dataset.does;
  const back = field.closest("[data-panel], details.fold") ? "Esc goes back" : "Esc stops writing";
  return does ? `Ctrl ↵ ${does} · ${back}` : back;
}

function told(ask, words) {
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
    const now = told(line.closest(".ask"), words);
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
