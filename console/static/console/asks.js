// Cards of requests on any page: they show recorded decisions, also those made on other surfaces.

import { drawClocks } from "./clock.js";
import { announce, announceNow } from "./say.js";
import { isAboveAnOpenOne } from "./still.js";
import { arm, disarm, isArmed } from "./arming.js";

const OUTCOME_STAYS_MS = 8000;

/** The card of a request on this page, or null. */
export const cardOf = (id) => document.getElementById(`ask-${id}`);

/**
 * Replace `card` by `fresh`. Text typed into a card that closes is kept for copying. A line that only
 * unfolds stays armed; a card whose content may have changed is disarmed.
 */
function replace(card, fresh) {
  const typed = [...card.querySelectorAll("[data-panel]:not([hidden]) textarea, .choice-words input")]
    .filter((field) => field.value && field.value !== field.defaultValue).map((field) => field.value).join("\n\n");
  const focused = card.contains(document.activeElement);
  const unfolds = fresh.hasAttribute("data-open") && !card.hasAttribute("data-open");
  const wasArmed = focused && unfolds && isArmed(card);
  keepViews(card, fresh);
  keepHeight(card, fresh);
  card.replaceWith(fresh);
  if (typed && fresh.hasAttribute("data-closed")) {
    const kept = document.createElement("pre");
    kept.className = "kept";
    kept.textContent = typed;
    fresh.querySelector(".ask-body")?.append(kept);
  }
  if (wasArmed) arm(fresh);
  else if (focused) { disarm(); fresh.focus({ preventScroll: true }); }
  window.htmx.process(fresh);
}

/** Keep the side-by-side view of diffs when a card is drawn again. */
export function keepViews(old, fresh) {
  const splits = (within) => [...within.querySelectorAll(".diff-choice [value=split]")];
  const before = splits(old);
  splits(fresh).forEach((split, at) => { if (before[at]?.checked) split.checked = true; });
}

/** Fetch a card again and replace it. Resolves to the new element, or null on failure. */
export async function refreshCard(id, { line = false } = {}) {
  const card = cardOf(id);
  if (!card) return null;
  const fresh = await fetchElement(`/approvals/${id}/card${line ? "?line" : ""}`);
  if (!fresh || cardOf(id) !== card) return null;
  replace(card, fresh);
  return fresh;
}

/** Fetch a fragment; null on failure. After a 401 the page reloads, which leads to the sign-in page. */
export async function fetchPart(address) {
  const answer = await fetch(address, { headers: { "X-Part": "1" }, cache: "no-store" }).catch(() => null);
  if (answer?.status === 401) location.reload();
  if (!answer?.ok) return null;
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  drawClocks(holder.content);
  return holder.content;
}

/** As fetchPart, for a fragment of one element. */
export const fetchElement = async (address) => (await fetchPart(address))?.firstElementChild ?? null;

/** After an extension update only the countdown, so that nothing else moves while a person reads. */
async function renewCountdown(id) {
  const fresh = await fetchElement(`/approvals/${id}/card?line`);
  const [now, then] = [cardOf(id), fresh].map((one) => one?.querySelector(".countdown[data-expires]"));
  if (!now || !then) return;
  now.dataset.expires = then.dataset.expires;
  now.dataset.whole = then.dataset.whole;
  now.querySelector(".sr")?.replaceWith(then.querySelector(".sr"));
  drawClocks(cardOf(id));
}

/** Keep the height of a card that closes above an open one, until the person moves to another request. */
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

// ── changes on other surfaces ──────────────────────────────────────────────
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
  if (fresh?.hasAttribute("data-closed")) announceClosed(fresh);
});

// ── decisions on this page ─────────────────────────────────────────────────
document.addEventListener("htmx:beforeRequest", (event) => {
  const form = event.target.closest?.(".ask-form");
  const button = event.detail.requestConfig.triggeringEvent?.submitter;
  if (!form || !button) return;
  button.dataset.words = button.innerHTML;
  button.style.minWidth = `${button.offsetWidth}px`; // keeps the buttons beside it in place
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
  if (card.matches?.(".ask[data-closed]")) announceClosed(card, { mine: true });
});

function announceClosed(card, { mine = false } = {}) {
  const outcome = card.querySelector(".verdict b")?.textContent.trim() ?? "Closed";
  const refused = card.querySelector(".verdict[role=alert]");
  if (refused) announceNow(refused.textContent.trim());
  else announce(`${outcome}: ${titleOf(card)}.`);
  if (mine) focusNextRequest(card);
  if (card.closest("#asks")) setTimeout(() => document.body.dispatchEvent(new CustomEvent("asks:settle")), OUTCOME_STAYS_MS);
}

/**
 * After a decision show the next open request, disarmed. If the person has already chosen another
 * request, leave the focus there.
 */
function focusNextRequest(card) {
  if (isArmed() && !isArmed(card)) return undefined;
  const all = [...document.querySelectorAll(".ask:not([data-closed])")].filter((one) => one.offsetParent !== null);
  const next = all.find((one) => card.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) ?? all[0];
  disarm();
  if (!next) return card.focus({ preventScroll: true });
  next.focus({ preventScroll: true }); // replace() keeps the focus when the card is drawn again
  return next.hasAttribute("data-open") ? undefined : refreshCard(next.dataset.ask);
}
