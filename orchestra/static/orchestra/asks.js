// Cards of questions, wherever they stand: an answer is shown when it is recorded, and one given elsewhere shows up here.

import { drawClocks } from "./clock.js";
import { announce, announceNow } from "./say.js";
import { isAboveAnOpenOne } from "./still.js";
import { arm, armNothing, isArmed } from "./arming.js";

const VERDICT_STAYS_MS = 8000;

/** The card of a question in this page, or null. */
export const cardOf = (id) => document.getElementById(`ask-${id}`);

/**
 * Put `fresh` in the place of `card`. What somebody had typed into it is kept, to be read and copied. A line that only
 * unfolds stays armed if it was; a card whose words may have changed does not.
 */
function replace(card, fresh) {
  const typed = [...card.querySelectorAll("[data-panel]:not([hidden]) textarea, .choice-words input")]
    .filter((field) => field.value && field.value !== field.defaultValue).map((field) => field.value).join("\n\n");
  const focused = card.contains(document.activeElement);
  const unfolds = fresh.hasAttribute("data-open") && !card.hasAttribute("data-open");
  const meant = focused && unfolds && isArmed(card);
  keepViews(card, fresh);
  keepHeight(card, fresh);
  card.replaceWith(fresh);
  if (typed && fresh.hasAttribute("data-closed")) {
    const kept = document.createElement("pre");
    kept.className = "kept";
    kept.textContent = typed;
    fresh.querySelector(".ask-body")?.append(kept);
  }
  if (meant) arm(fresh);
  else if (focused) { armNothing(); fresh.focus({ preventScroll: true }); }
  window.htmx.process(fresh);
}

/** A diff that somebody looks at side by side stays so when it is drawn again. */
export function keepViews(old, fresh) {
  const splits = (within) => [...within.querySelectorAll(".diff-choice [value=split]")];
  const before = splits(old);
  splits(fresh).forEach((split, at) => { if (before[at]?.checked) split.checked = true; });
}

/** Fetch one card anew. Resolves to the new element, or null if it could not be had. */
export async function refreshCard(id, { line = false } = {}) {
  const card = cardOf(id);
  if (!card) return null;
  const fresh = await fetchElement(`/approvals/${id}/card${line ? "?line" : ""}`);
  if (!fresh || cardOf(id) !== card) return null;
  replace(card, fresh);
  return fresh;
}

/** A part of a page, or null if it could not be had; who has been signed out is sent to the sign-in. */
export async function fetchPart(address) {
  const answer = await fetch(address, { headers: { "X-Part": "1" }, cache: "no-store" }).catch(() => null);
  if (answer?.status === 401) location.reload();
  if (!answer?.ok) return null;
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  drawClocks(holder.content);
  return holder.content;
}

/** The same where the part is one element. */
export const fetchElement = async (address) => (await fetchPart(address))?.firstElementChild ?? null;

/** More time was given: nothing else of an open card is drawn anew under who reads it. */
async function renewCountdown(id) {
  const fresh = await fetchElement(`/approvals/${id}/card?line`);
  const [now, then] = [cardOf(id), fresh].map((one) => one?.querySelector(".countdown[data-expires]"));
  if (!now || !then) return;
  now.dataset.expires = then.dataset.expires;
  now.dataset.whole = then.dataset.whole;
  now.querySelector(".sr")?.replaceWith(then.querySelector(".sr"));
  drawClocks(cardOf(id));
}

/** A card that closes above an open one stays as tall as it was, until somebody moves on. */
function keepHeight(card, fresh) {
  if (fresh.hasAttribute("data-closed") && isAboveAnOpenOne(card)) fresh.style.minHeight = `${card.offsetHeight}px`;
}

function releaseHeights() {
  document.querySelectorAll(".ask[data-closed]").forEach((card) => { card.style.minHeight = ""; });
}
document.body.addEventListener("asks:moved", releaseHeights);

function titleOf(card) {
  return (card.querySelector(".ask-title") ?? card.querySelector(".what b"))?.textContent.trim() ?? "Request";
}

// ── news from elsewhere ────────────────────────────────────────────────────
document.body.addEventListener("hub:event", async ({ detail: { kind, payload } }) => {
  if (kind === "approval.requested" && payload.title) {
    announce(`New request, ${payload.risk ?? "unknown"} risk.`);
    return;
  }
  if (kind !== "approval.changed") return;
  const card = cardOf(payload.id);
  if (!card || card.querySelector(".htmx-request") || card.hasAttribute("data-closed")) return;
  if (payload.status === "pending") { renewCountdown(payload.id); return; }
  const fresh = await refreshCard(payload.id, { line: !card.hasAttribute("data-open") });
  if (fresh?.hasAttribute("data-closed")) closed(fresh);
});

// ── an answer given here ───────────────────────────────────────────────────
document.addEventListener("htmx:beforeRequest", (event) => {
  const form = event.target.closest?.(".ask-form");
  const button = event.detail.requestConfig.triggeringEvent?.submitter;
  if (!form || !button) return;
  button.dataset.words = button.innerHTML;
  button.style.minWidth = `${button.offsetWidth}px`; // or its neighbours would move under the finger
  button.textContent = "Recording…";
  button.setAttribute("aria-busy", "true");
});

document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest?.(".ask-form");
  if (!form || event.detail.successful) return;
  form.querySelectorAll("[aria-busy]").forEach((button) => {
    button.removeAttribute("aria-busy");
    button.innerHTML = button.dataset.words;
    if (document.activeElement === document.body) button.focus({ preventScroll: true });
  });
  announceNow("Not recorded. The request is still open.");
});

document.addEventListener("htmx:load", (event) => {
  const card = event.detail.elt;
  if (card.matches?.(".ask[data-closed]")) closed(card, { mine: true });
});

function closed(card, { mine = false } = {}) {
  const verdict = card.querySelector(".verdict b")?.textContent.trim() ?? "Closed";
  const refused = card.querySelector(".verdict[role=alert]");
  if (refused) announceNow(refused.textContent.trim());
  else announce(`${verdict}: ${titleOf(card)}.`);
  if (mine) goOn(card);
  if (card.closest("#asks")) setTimeout(() => document.body.dispatchEvent(new CustomEvent("asks:settle")), VERDICT_STAYS_MS);
}

/**
 * After an answer the next open question is shown, but no key acts on it before somebody moves to it. Who has moved on by
 * themselves meanwhile stays where they are.
 */
function goOn(card) {
  if (isArmed() && !isArmed(card)) return undefined;
  const all = [...document.querySelectorAll(".ask:not([data-closed])")].filter((one) => one.offsetParent !== null);
  const next = all.find((one) => card.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) ?? all[0];
  armNothing();
  if (!next) return card.focus({ preventScroll: true });
  next.focus({ preventScroll: true }); // whoever draws it anew passes the focus on
  return next.hasAttribute("data-open") ? undefined : refreshCard(next.dataset.ask);
}
