// Nothing moves under the finger. Where the page changes above an open card, the scroll position gives way and not the card; and
// a press on a button that moved or appeared a moment ago is refused, and the page says so.

import { hasNotStrayed, isReady, REST_MS } from "./arming.js";
import { note } from "./say.js";

const SETTLED_MS = 700;
const LOOK_EVERY_MS = 100;
const NEAR_PX = 3;
const GUARDED = ".ask :is(button, [role=button], summary), .decide-bar :is(a, button)";
const DECIDABLE = ".ask[data-open]:has(.ask-form), .ask.whole:has(.ask-form)";
const seen = new WeakMap(); // button -> {x, y: where it would be had nobody scrolled, movedAt, appearedAt}
let scrolledAt = -Infinity;

// ── what somebody reads stays where it is ──────────────────────────────────
const gaveWay = new WeakMap(); // scroller -> pixels that it was moved by us, with what it shows
let held = { id: "", top: 0, scroll: 0 };

const scrollerOf = (element) => element.closest(".transcript") ?? document.scrollingElement;
const isDecidable = (card) => card?.matches(DECIDABLE) && inView(card);
function inView(card) {
  const box = card.getBoundingClientRect();
  const pane = card.closest(".transcript")?.getBoundingClientRect() ?? { top: 0, bottom: innerHeight };
  return box.height > 0 && box.bottom > pane.top && box.top < pane.bottom;
}

/** The card that must not move: the one with the focus or under the pointer, else the first in view; or null. */
export function cardInUse() {
  const focused = document.activeElement?.closest?.(".ask");
  const hovered = matchMedia("(hover: hover)").matches ? document.querySelector(".ask:hover") : null;
  return [focused, hovered].find(isDecidable) ?? [...document.querySelectorAll(DECIDABLE)].find(inView) ?? null;
}

/** Whether an open card that can be decided comes after `card`: it would move with it. */
export const isAboveAnOpenOne = (card) => [...document.querySelectorAll(DECIDABLE)]
  .some((one) => card !== one && card.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);

/** Scroll because the page changed above, so that what is read stands still. */
export function giveWay(scroller, pixels) {
  const before = scroller.scrollTop;
  scroller.scrollTop += pixels;
  gaveWay.set(scroller, (gaveWay.get(scroller) ?? 0) + scroller.scrollTop - before);
}

/** What has moved until now is somebody's wish: take the page as it stands. */
export function settle() {
  const card = cardInUse();
  held = card ? { id: card.id, top: card.getBoundingClientRect().top, scroll: scrollerOf(card).scrollTop } : { id: "" };
}

/** Undo, before it is drawn, how a change moved the card; what somebody scrolled meanwhile is theirs. */
function hold() {
  const card = held.id && document.getElementById(held.id);
  if (card && inView(card)) {
    const scroller = scrollerOf(card);
    const moved = card.getBoundingClientRect().top - held.top + scroller.scrollTop - held.scroll;
    if (Math.abs(moved) > 0.5) giveWay(scroller, moved);
  }
  settle();
}

// ── a press needs a button that stood still ────────────────────────────────
function placeOf(button) {
  const box = button.getBoundingClientRect();
  if (!box.width) return null;
  if (button.closest(".decide-bar")) return { x: box.left, y: box.top };
  const scroller = scrollerOf(button);
  return { x: box.left, y: box.top + scroller.scrollTop - (gaveWay.get(scroller) ?? 0) };
}

function look() {
  const now = performance.now();
  document.querySelectorAll(GUARDED).forEach((button) => {
    const place = placeOf(button);
    const before = seen.get(button);
    if (!place) { seen.delete(button); return; }
    if (!before) { seen.set(button, { ...place, movedAt: -Infinity, appearedAt: now }); return; }
    const moved = Math.abs(place.x - before.x) > NEAR_PX || Math.abs(place.y - before.y) > NEAR_PX;
    seen.set(button, { ...place, movedAt: moved ? now : before.movedAt, appearedAt: before.appearedAt });
  });
}

/** Why a press on this button does not count, in words, or nothing. */
function refusal(button, event) {
  const now = performance.now();
  if (event.detail === 0) { // by a key
    const ask = button.closest(".ask");
    if (ask && !isReady(ask)) return "This has only just come. Nothing was done.";
    return hasNotStrayed(event.timeStamp) ? "" : "You seem to be typing. Nothing was done.";
  }
  look();
  const { movedAt, appearedAt } = seen.get(button) ?? { movedAt: -Infinity, appearedAt: now };
  if (now - movedAt < SETTLED_MS) return "The page moved under your press. Nothing was done; press again.";
  if (now - appearedAt < REST_MS && !button.matches("summary")) return "This has only just come. Nothing was done; press again.";
  if (button.closest(".decide-bar") && now - scrolledAt < 300) return "The page was scrolling. Nothing was done; press again.";
  return "";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.(GUARDED);
  if (!button) return;
  const busy = (button.form ?? button.closest("form"))?.classList.contains("htmx-request");
  const why = busy ? "The first press is being recorded." : refusal(button, event);
  if (!why) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  note(why);
}, true);

// Who types into a form sees it: what their own words move or brought is no surprise to them.
document.addEventListener("input", (event) => {
  const form = event.target.closest?.(".ask-form");
  if (!form) return;
  look();
  form.querySelectorAll("button").forEach((button) => {
    const place = seen.get(button);
    if (place) seen.set(button, { ...place, movedAt: -Infinity, appearedAt: -Infinity });
  });
});

const changed = () => { if (document.querySelector(DECIDABLE)) { hold(); look(); } };
new MutationObserver(changed).observe(document.body, {
  childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["hidden", "open", "class"],
});
for (const name of ["scroll", "focusin", "pointerover", "pointerdown", "resize"]) {
  addEventListener(name, () => { if (name === "scroll") scrolledAt = performance.now(); settle(); }, { passive: true, capture: true });
}
setInterval(() => { if (!document.hidden) { settle(); look(); } }, LOOK_EVERY_MS);
settle();
look();
