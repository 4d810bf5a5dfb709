// Which request the keys mean, and from when on. A request is armed by an act of its own: J or K, a press on it, or Tab into
// it; never by a script that puts the focus there. Each act needs a rest before the next key may decide, and whatever looks
// like typing takes the request away from the keys until somebody chooses it again.

import { note } from "./say.js";

export const REST_MS = 600; // from choosing, opening or a card's appearing until a key or a press may act on it
export const QUIET_MS = 700; // letters closer together than this look like text

const PAUSED = "Keys are paused. Press J to go on.";
const bornAt = new WeakMap();
let meant = null;
let restFrom = -Infinity;
let strayAt = -Infinity;
let fieldAt = -Infinity;
let paused = false;
let redraw = () => {};

/** What draws the line of keys anew after each change. */
export function onArming(draw) { redraw = draw; }

export const focusedAsk = () => document.activeElement?.closest?.(".ask") ?? null;

/** The request that keys act on now, or null. */
export function armed() {
  const ask = focusedAsk();
  return ask && ask === meant && !paused ? ask : null;
}

/** Whether somebody went to this request on purpose; without one, whether they went to any. */
export const isArmed = (ask) => meant !== null && meant.isConnected && (ask === undefined || meant === ask);
export const isPaused = () => paused;

/** A request somebody went to on purpose: it takes the focus, and its keys act after the rest. */
export function arm(ask, at = performance.now()) {
  choose(ask, at);
  ask.focus({ preventScroll: true });
  redraw();
}

function choose(ask, at) {
  if (ask !== meant) restFrom = Math.max(restFrom, at);
  meant = ask;
  if (ask) paused = false;
}

/** From now on no key decides anything, until somebody moves to a request. */
export function armNothing() { meant = null; redraw(); }

/** A key has done something: the next one needs a rest. */
export function restAgain(at) { restFrom = at; redraw(); }

/** Whether a key pressed at `at` may act on `ask`: it and its last change have been there for a moment. */
export const isRested = (ask, at) => at - restFrom >= REST_MS && isReady(ask, at);

/** For how many milliseconds from now no key acts on `ask` yet. */
export function restLeft(ask) {
  born(ask);
  return Math.max(restFrom, bornAt.get(ask)) + REST_MS - performance.now();
}

/** Whether a card has been in place long enough to be meant by a key. */
export function isReady(ask, at = performance.now()) {
  born(ask);
  return at - bornAt.get(ask) >= REST_MS;
}

/** Remember when the cards within `element` appeared. */
export function born(element) {
  const fresh = [...(element.querySelectorAll?.(".ask") ?? [])];
  if (element.matches?.(".ask")) fresh.push(element);
  fresh.forEach((ask) => bornAt.has(ask) || bornAt.set(ask, performance.now()));
}

/** Whether no letter that was not meant as a key came just before `at`. */
export const hasNotStrayed = (at) => at - strayAt > QUIET_MS;

/** Whether no letter at all was typed just before `at`. */
export const isQuiet = (at) => hasNotStrayed(at) && at - fieldAt > QUIET_MS;

/** A letter went into a field: one that comes right after it is text too, wherever it lands. */
export function typedAt(at) { fieldAt = at; }

/** A key that was not meant as one: nothing is armed any more, and the page says so where a request waits. */
export function stray(at, words = "") {
  const soon = !isQuiet(at);
  const was = paused;
  strayAt = at;
  if (!document.querySelector(".ask:not([data-closed]) :is(.ask-form, .ask-line)")) return;
  paused = true;
  meant = null;
  redraw();
  if (words) note(`${words} ${PAUSED}`);
  else if (soon && !was) note(`You seem to be typing. ${PAUSED}`);
  else note(was ? `You seem to be typing. ${PAUSED}` : `This key does nothing here. ${PAUSED}`);
}

document.addEventListener("pointerdown", (event) => { choose(event.target.closest(".ask"), event.timeStamp); redraw(); });
document.addEventListener("keyup", (event) => { if (event.key === "Tab") { choose(focusedAsk(), event.timeStamp); redraw(); } });
// However a card came into the page: by a swap, by a row of a transcript, by the list of the front page.
new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(born)))
  .observe(document.body, { childList: true, subtree: true });
born(document);
