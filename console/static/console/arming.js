// Arming: which request single keys act on, and from when. J, K, a click or Tab arms a request; a
// script that moves the focus does not. After each of these actions keys wait before they can decide,
// and input that looks like typing disarms the request until the person chooses one again.

import { note } from "./say.js";

export const REST_MS = 600; // after a card was chosen, opened or inserted, keys and clicks on it wait
export const QUIET_MS = 700; // letters with shorter intervals look like typed text

const PAUSED = "Keys are paused. Press J to go on.";
const bornAt = new WeakMap();
let chosen = null;
let restFrom = -Infinity;
let strayAt = -Infinity;
let fieldAt = -Infinity;
let paused = false;
let redraw = () => {};

/** Register the function that redraws the key hints after each change. */
export function onArming(draw) { redraw = draw; }

export const focusedAsk = () => document.activeElement?.closest?.(".ask") ?? null;

/** The request that keys act on now, or null. */
export function armed() {
  const ask = focusedAsk();
  return ask && ask === chosen && !paused ? ask : null;
}

/** Whether the person chose this request; without an argument, whether they chose any. */
export const isArmed = (ask) => chosen !== null && chosen.isConnected && (ask === undefined || chosen === ask);
export const isPaused = () => paused;

/** Arm a request that the person chose: it gets the focus, and keys act on it after REST_MS. */
export function arm(ask, at = performance.now()) {
  choose(ask, at);
  ask.focus({ preventScroll: true });
  redraw();
}

function choose(ask, at) {
  if (ask !== chosen) restFrom = Math.max(restFrom, at);
  chosen = ask;
  if (ask) paused = false;
}

/** Disarm: no key decides anything until the person chooses a request. */
export function disarm() { chosen = null; redraw(); }

/** After a key has acted, the next one waits for REST_MS. */
export function restartRest(at) { restFrom = at; redraw(); }

/** Whether a key pressed at `at` may act on `ask`: card and choice are older than REST_MS. */
export const isRested = (ask, at) => at - restFrom >= REST_MS && isReady(ask, at);

/** The milliseconds until a key can act on `ask`. */
export function restLeft(ask) {
  recordBirth(ask);
  return Math.max(restFrom, bornAt.get(ask)) + REST_MS - performance.now();
}

/** Whether a card is on the page for longer than REST_MS. */
export function isReady(ask, at = performance.now()) {
  recordBirth(ask);
  return at - bornAt.get(ask) >= REST_MS;
}

/** Record when the cards within `element` appeared. */
export function recordBirth(element) {
  const fresh = [...(element.querySelectorAll?.(".ask") ?? [])];
  if (element.matches?.(".ask")) fresh.push(element);
  fresh.forEach((ask) => bornAt.has(ask) || bornAt.set(ask, performance.now()));
}

/** Whether no rejected key was pressed within QUIET_MS before `at`. */
export const hasNotStrayed = (at) => at - strayAt > QUIET_MS;

/** Whether neither a rejected key nor typing into a field came within QUIET_MS before `at`. */
export const isQuiet = (at) => hasNotStrayed(at) && at - fieldAt > QUIET_MS;

/** Record a letter typed into a field: a letter right after it counts as text, too. */
export function typedAt(at) { fieldAt = at; }

/** Reject a key that was probably not chosen as one: disarm, and show a note if a request is open. */
export function rejectKey(at, words = "") {
  const soon = !isQuiet(at);
  const was = paused;
  strayAt = at;
  if (!document.querySelector(".ask:not([data-closed]) :is(.ask-form, .ask-line)")) return;
  paused = true;
  chosen = null;
  redraw();
  if (words) note(`${words} ${PAUSED}`);
  else if (soon && !was) note(`You seem to be typing. ${PAUSED}`);
  else note(was ? `You seem to be typing. ${PAUSED}` : `This key does nothing here. ${PAUSED}`);
}

document.addEventListener("pointerdown", (event) => { choose(event.target.closest(".ask"), event.timeStamp); redraw(); });
document.addEventListener("keyup", (event) => { if (event.key === "Tab") { choose(focusedAsk(), event.timeStamp); redraw(); } });
// Cards come by htmx swaps, with rows of a transcript, and with the list of the home page.
new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(recordBirth)))
  .observe(document.body, { childList: true, subtree: true });
recordBirth(document);
