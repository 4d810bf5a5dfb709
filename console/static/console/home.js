// The list of requests on the home page. Updates do not move what a person reads or is about to click.

import { hub } from "./hub.js";
import { fetchElement, cardOf } from "./asks.js";
import { acceptLayout } from "./still.js";

const list = () => document.getElementById("asks");
const offer = document.getElementById("fresh");
let touched = false;
let fetching = false;
let next = null; // options of a refresh() call during a fetch

const inUse = () => list().matches(":hover") || list().contains(document.activeElement) || touched;
const opened = () => [...list().querySelectorAll(".ask[data-open]")].map((ask) => ask.dataset.ask);

addEventListener("touchstart", (event) => { touched = list().contains(event.target); }, { passive: true });
addEventListener("touchend", () => setTimeout(() => { touched = false; }, 1500), { passive: true });

/** Update the list. While it is in use, new requests are only offered above it, unless `now` is set. */
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
  if (now) { acceptLayout(); list().querySelector(".ask:not([data-closed])")?.scrollIntoView({ block: "nearest" }); }
  for (const id of ["no-asks", "more-asks"]) {
    document.getElementById(id)?.remove();
    const note = fresh.querySelector(`#${id}`);
    if (note && !(id === "no-asks" && list().querySelector(".ask"))) list().append(note);
  }
  openOne();
  return undefined;
}

const follows = (one, other) => !one || Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);

/** Whether an open card follows `ask` (without `ask`: exists), which a change before it would move. */
const movesAnOpenOne = (ask) =>
  !document.hidden && [...list().querySelectorAll(".ask[data-open]:has(.ask-form)")].some((open) => follows(ask, open));

/** Whether a new request can be inserted after `after` without a click on the offer. */
const mayCome = (after) => !inUse() && !movesAnOpenOne(after);

/** Insert in order: after its predecessor, else before the first open request and below closed ones. */
function insert(ask, after) {
  const first = list().querySelector(".ask:not([data-closed])");
  if (after) after.after(ask);
  else if (first) first.before(ask);
  else list().append(ask);
  window.htmx.process(ask);
}

/** Remove outcomes after 7 s, but those above an open card only once the person moves to another request. */
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
