// The list of questions on the front page: nothing that somebody reads or aims at moves.

import { hub } from "./hub.js";
import { fetchElement, cardOf } from "./asks.js";
import { settle as takeAsItStands } from "./still.js";

const list = () => document.getElementById("asks");
const offer = document.getElementById("fresh");
let touched = false;
let fetching = false;
let next = null; // what was asked of `refresh` while it fetched

const inUse = () => list().matches(":hover") || list().contains(document.activeElement) || touched;
const opened = () => [...list().querySelectorAll(".ask[data-open]")].map((ask) => ask.dataset.ask);

addEventListener("touchstart", (event) => { touched = list().contains(event.target); }, { passive: true });
addEventListener("touchend", () => setTimeout(() => { touched = false; }, 1500), { passive: true });

/** Bring the list up to date: at once where nobody is, else by an offer above it. `now` is somebody's wish. */
async function refresh({ now = false } = {}) {
  if (fetching) { next = { now: now || Boolean(next?.now) }; return; }
  fetching = true;
  const fresh = await fetchElement(`${list().dataset.src}?open=${opened().join(",")}`);
  fetching = false;
  if (fresh) merge(fresh, now);
  if (next) { const wish = next; next = null; refresh(wish); }
}

function merge(fresh, now) {
  const wanted = [...fresh.querySelectorAll(".ask")];
  const isFirst = !list().querySelector(".ask:not([data-closed])");
  tidy();
  let after = null;
  let left = 0;
  for (const ask of wanted) {
    const present = cardOf(ask.dataset.ask);
    if (present) after = present;
    else if (now || isFirst || mayCome(after)) { insert(ask, after); after = ask; } else left += 1;
  }
  offerNews(left);
  if (now) { takeAsItStands(); list().querySelector(".ask:not([data-closed])")?.scrollIntoView({ block: "nearest" }); }
  for (const id of ["no-asks", "more-asks"]) {
    document.getElementById(id)?.remove();
    const note = fresh.querySelector(`#${id}`);
    if (note && !(id === "no-asks" && list().querySelector(".ask"))) list().append(note);
  }
  openOne();
  return undefined;
}

const follows = (one, other) => !one || Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);

/** Whether an open card that can be decided comes after `ask`, or at all: what changes before it would move it. */
const movesAnOpenOne = (ask) =>
  !document.hidden && [...list().querySelectorAll(".ask[data-open]:has(.ask-form)")].some((open) => follows(ask, open));

/** Whether a new request may come in after `after` without anybody's wish. */
const mayCome = (after) => !inUse() && !movesAnOpenOne(after);

/** The order is kept: after its predecessor, or before the first open one, below what has been decided. */
function insert(ask, after) {
  const first = list().querySelector(".ask:not([data-closed])");
  if (after) after.after(ask);
  else if (first) first.before(ask);
  else list().append(ask);
  window.htmx.process(ask);
}

/** Verdicts that have been seen long enough go, but none above an open card before somebody moves on. */
function tidy({ moved = false } = {}) {
  if (inUse() && !moved) return;
  list().querySelectorAll(".ask[data-closed]").forEach((ask) => {
    if (!ask.dataset.closedAt) ask.dataset.closedAt = String(Date.now());
    const isSeen = Date.now() - Number(ask.dataset.closedAt) > 7000;
    if (isSeen && !ask.contains(document.activeElement) && (moved || !movesAnOpenOne(ask))) ask.remove();
  });
}

function openOne() {
  const rest = list().querySelectorAll(".ask:not([data-closed])");
  if (rest.length && !list().querySelector(".ask[data-open]") && !inUse()) rest[0].querySelector("[data-opener]")?.click();
}

function offerNews(count) {
  offer.firstElementChild.hidden = count === 0;
  if (count) offer.firstElementChild.textContent = `${count} new request${count === 1 ? "" : "s"}, show`;
}

offer.firstElementChild.addEventListener("click", () => refresh({ now: true }));
document.body.addEventListener("hub:approvals", () => refresh());
document.body.addEventListener("asks:settle", () => refresh());
document.body.addEventListener("asks:moved", () => tidy({ moved: true }));
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (elt.matches?.(".ask[data-closed]")) elt.dataset.closedAt = String(Date.now());
});
setInterval(() => { if (hub.state === "live" && list().querySelector(".ask[data-closed]")) refresh(); }, 5000);
