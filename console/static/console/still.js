// Layout stability. When the page changes above an open card, the scroll position is corrected so that
// the card does not move; and a click on a button that has just moved or appeared is refused with a note.

import { hasNotStrayed, isReady, REST_MS } from "./arming.js";
import { note } from "./say.js";

const SETTLED_MS = 700;
const RECORD_EVERY_MS = 100;
const NEAR_PX = 3;
const GUARDED = ".ask :is(button, [role=button], summary), .decide-bar :is(a, button)";
const DECIDABLE = ".ask[data-open]:has(.ask-form), .ask.whole:has(.ask-form)";
const seen = new WeakMap(); // button -> {x, y: its position without scrolling, movedAt, appearedAt}
let scrolledAt = -Infinity;

// ── keeping the card in use in place ───────────────────────────────────────
const compensated = new WeakMap(); // scroller -> pixels that this module has scrolled it
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

/** Whether an open card that can be decided follows `card`, and so would move with it. */
export const isAboveAnOpenOne = (card) => [...document.querySelectorAll(DECIDABLE)]
  .some((one) => card !== one && card.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);

/** Scroll by `pixels` to compensate for a change above the visible part. */
export function compensateScroll(scroller, pixels) {
  const before = scroller.scrollTop;
  scroller.scrollTop += pixels;
  compensated.set(scroller, (compensated.get(scroller) ?? 0) + scroller.scrollTop - before);
}

/** Take the current layout as the one to keep: the person caused the changes so far. */
export function acceptLayout() {
  const card = cardInUse();
  held = card ? { id: card.id, top: card.getBoundingClientRect().top, scroll: scrollerOf(card).scrollTop } : { id: "" };
}

/** Undo the movement of the card before it is painted; scrolling by the person is kept. */
function undoMovement() {
  const card = held.id && document.getElementById(held.id);
  if (card && inView(card)) {
    const scroller = scrollerOf(card);
    const moved = card.getBoundingClientRect().top - held.top + scroller.scrollTop - held.scroll;
    if (Math.abs(moved) > 0.5) compensateScroll(scroller, moved);
  }
  acceptLayout();
}

// ── refusing clicks on buttons that moved ──────────────────────────────────
function placeOf(button) {
  const box = button.getBoundingClientRect();
  if (!box.width) return null;
  if (button.closest(".decide-bar")) return { x: box.left, y: box.top };
  const scroller = scrollerOf(button);
  return { x: box.left, y: box.top + scroller.scrollTop - (compensated.get(scroller) ?? 0) };
}

function recordPositions() {
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

/** Why a click on this button is refused, in one sentence, or an empty string. */
function refusalReason(button, event) {
  const now = performance.now();
  if (event.detail === 0) { // by a key
    const ask = button.closest(".ask");
    if (ask && !isReady(ask)) return "This has only just come. Nothing was done.";
    return hasNotStrayed(event.timeStamp) ? "" : "You seem to be typing. Nothing was done.";
  }
  recordPositions();
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
  const why = busy ? "The first press is being recorded." : refusalReason(button, event);
  if (!why) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  note(why);
}, true);

// A person who types into a form expects its buttons to move or appear.
document.addEventListener("input", (event) => {
  const form = event.target.closest?.(".ask-form");
  if (!form) return;
  recordPositions();
  form.querySelectorAll("button").forEach((button) => {
    const place = seen.get(button);
    if (place) seen.set(button, { ...place, movedAt: -Infinity, appearedAt: -Infinity });
  });
});

const changed = () => { if (document.querySelector(DECIDABLE)) { undoMovement(); recordPositions(); } };
new MutationObserver(changed).observe(document.body, {
  childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["hidden", "open", "class"],
});
for (const name of ["scroll", "focusin", "pointerover", "pointerdown", "resize"]) {
  addEventListener(name, () => { if (name === "scroll") scrolledAt = performance.now(); acceptLayout(); }, { passive: true, capture: true });
}
setInterval(() => { if (!document.hidden) { acceptLayout(); recordPositions(); } }, RECORD_EVERY_MS);
acceptLayout();
recordPositions();
