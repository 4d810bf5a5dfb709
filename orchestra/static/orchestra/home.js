// The list of questions on the front page: nothing that somebody reads or aims at moves.

import { hub } from "./hub.js";
import { fetchElement, cardOf } from "./asks.js";

const list = () => document.getElementById("asks");
const offer = document.getElementById("fresh");
let touched = false;
let fetching = false;
let again = false;

const inUse = () => list().matches(":hover") || list().contains(document.activeElement) || touched;
const opened = () => [...list().querySelectorAll(".ask[data-open]")].map((ask) => ask.dataset.ask);

addEventListener("touchstart", (event) => { touched = list().contains(event.target); }, { passive: true });
addEventListener("touchend", () => setTimeout(() => { touched = false; }, 1500), { passive: true });

/** Bring the list up to date: at once where nobody is, else by an offer above it. `now` is somebody's wish. */
async function refresh({ now = false } = {}) {
  if (fetching) { again = true; return; }
  fetching = true;
  const fresh = await fetchElement(`${list().dataset.src}?open=${opened().join(",")}`);
  fetching = false;
  if (fresh) merge(fresh, now);
  if (again) { again = false; refresh(); }
}

function merge(fresh, now) {
  const wanted = [...fresh.querySelectorAll(".ask")];
  const news = wanted.filter((ask) => !cardOf(ask.dataset.ask));
  const here = [...list().querySelectorAll(".ask:not([data-closed])")];
  const first = here.length === 0;
  if (news.length && inUse() && !now && !first) return offerNews(news.length);
  offer.hidden = true;
  const ids = new Set(wanted.map((ask) => ask.dataset.ask));
  if (!inUse() || now) list().querySelectorAll(".ask[data-closed]").forEach((ask) => ids.has(ask.dataset.ask) || settle(ask));
  let after = null;
  for (const ask of wanted) {
    const present = cardOf(ask.dataset.ask);
    if (!present) {
      if (after) after.after(ask); else list().prepend(ask);
      window.htmx.process(ask);
    }
    after = present ?? ask;
  }
  for (const id of ["no-asks", "more-asks"]) {
    document.getElementById(id)?.remove();
    const note = fresh.querySelector(`#${id}`);
    if (note && !(id === "no-asks" && list().querySelector(".ask"))) list().append(note);
  }
  openOne();
  return undefined;
}

/** A verdict has been seen long enough, unless somebody is looking at it right now. */
function settle(ask) {
  if (!ask.dataset.closedAt) ask.dataset.closedAt = String(Date.now());
  if (Date.now() - Number(ask.dataset.closedAt) > 7000) ask.remove();
}

function openOne() {
  const rest = list().querySelectorAll(".ask:not([data-closed])");
  if (rest.length && !list().querySelector(".ask[data-open]") && !inUse()) rest[0].querySelector("[data-opener]")?.click();
}

function offerNews(count) {
  offer.hidden = false;
  offer.firstElementChild.textContent = `${count} new question${count === 1 ? "" : "s"}, show`;
}

offer.firstElementChild.addEventListener("click", () => refresh({ now: true }));
document.body.addEventListener("hub:approvals", () => refresh());
document.body.addEventListener("asks:settle", () => refresh());
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (elt.matches?.(".ask[data-closed]")) elt.dataset.closedAt = String(Date.now());
});
setInterval(() => { if (hub.state === "live" && list().querySelector(".ask[data-closed]")) refresh(); }, 5000);
