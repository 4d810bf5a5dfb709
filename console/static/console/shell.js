// What every page of the console does: it shows the state of the connection, updates title, favicon and
// countdowns, and refreshes the parts of a page that have a trigger for it.

import { hub } from "./hub.js";
import { announce, announceNow, toast } from "./say.js";
import "./asks.js";
import "./keys.js";
import "./notify.js";
import { startClock, timeOfDay } from "./clock.js";

const root = document.documentElement;
const WORDS = {
  connecting: "Connecting", live: "Live", lost: "Live", reconnecting: "Reconnecting", offline: "Offline",
  "signed-out": "Signed out",
};

// A sign-out closes the socket before its response arrives; the page must then not reload.
let leaving = false;
addEventListener("beforeunload", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

// ── the state of the connection ────────────────────────────────────────────
function showState({ detail: { state, lostAt } }) {
  const was = root.dataset.hub;
  root.dataset.hub = state;
  const wire = document.getElementById("wire");
  wire.dataset.state = state === "reconnecting" || state === "offline" ? state : state === "signed-out" ? "offline" : "live";
  wire.firstElementChild.textContent = WORDS[state];
  show("banner-reconnecting", state === "reconnecting");
  show("banner-offline", state === "offline");
  if (state === "offline") {
    const since = timeOfDay(new Date(lostAt));
    document.querySelectorAll("[data-since]").forEach((place) => { place.textContent = since; });
    announceNow(`Offline since ${since}. Nothing can be decided until the connection is back.`);
  }
  if (state === "live" && (was === "offline" || was === "reconnecting")) announce("Connected again. The page is current.");
  if (state === "signed-out" && !leaving) location.reload(); // the server redirects to sign-in, and back to this page
  showNeeding();
}

function show(id, visible) {
  const banner = document.getElementById(id);
  if (banner) banner.hidden = !visible;
}

setInterval(() => {
  if (hub.state !== "reconnecting") return;
  const age = Math.round((Date.now() - hub.lastMessageAt) / 1000);
  document.querySelectorAll("[data-age]").forEach((place) => { place.textContent = `${age} seconds`; });
}, 1000);

// ── the number of open requests: title and favicon ─────────────────────────
function showNeeding() {
  const needing = Number(document.getElementById("navigation")?.dataset.needing ?? 0);
  const title = document.body.dataset.title;
  document.title = `${needing ? `(${needing}) ` : ""}${title} · Orchestra`;
  const icon = document.getElementById("favicon");
  const offline = hub.state === "offline" || hub.state === "signed-out";
  const name = offline ? "favicon-offline.svg" : needing ? "favicon-waiting.svg" : "favicon.svg";
  const address = icon.dataset.folder + name;
  if (icon.getAttribute("href") !== address) icon.setAttribute("href", address);
}

// ── parts that refresh: no swap if nothing has changed ─────────────────────
const lastSeen = new WeakMap();
const text = (element) => {
  const copy = element.cloneNode(true);
  copy.querySelectorAll("[name=csrfmiddlewaretoken]").forEach((field) => field.remove());
  copy.querySelectorAll("[class]").forEach((one) => one.className.baseVal === undefined && one.classList.remove("htmx-request"));
  return copy.innerHTML;
};

function remember(within = document) {
  const parts = [...within.querySelectorAll("[hx-trigger*='hub:']")];
  if (within.matches?.("[hx-trigger*='hub:']")) parts.push(within);
  parts.forEach((part) => lastSeen.has(part) || lastSeen.set(part, text(part)));
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!lastSeen.has(part) || event.detail.xhr.status !== 200) return;
  const holder = document.createElement("template");
  holder.innerHTML = event.detail.xhr.responseText;
  const fresh = holder.content.firstElementChild;
  if (fresh && text(fresh) === lastSeen.get(part)) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:load", (event) => { remember(event.detail.elt); showNeeding(); });

// ── messages about refused and lost requests ───────────────────────────────
document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.requestConfig?.verb === "get") return; // a refresh; the connection's banner shows it
  toast("Not recorded", "The server could not be reached. Try again when the page is live.", "bad");
});
document.addEventListener("htmx:responseError", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status === 401 || requestConfig?.verb === "get") return;
  const why = xhr.getResponseHeader("X-Refused-Because"); // set by the CSRF check, when no right is missing
  const reason = xhr.status === 403 ? "You have no right to do this." : "The server refused; load the page again.";
  toast("Not done", why || reason, "bad");
});

// ── the stop banner: it appears and disappears without moving the page ─────
let placeOfBanner = 0;
document.addEventListener("htmx:beforeSwap", ({ detail: { target } }) => {
  if (target.id === "stop-banner") placeOfBanner = target.querySelector(".floats") ? 0 : target.getBoundingClientRect().height;
});
document.addEventListener("htmx:afterSwap", ({ detail: { elt } }) => {
  if (elt.id !== "stop-banner") return;
  const banner = elt.querySelector(".banner"); // htmx sets the attributes of `elt` itself once more when it settles
  if (banner) banner.classList.toggle("floats", !placeOfBanner);
  if (banner || !placeOfBanner) return;
  const left = document.createElement("div");
  left.className = "lifted";
  left.style.height = `${placeOfBanner}px`;
  elt.append(left);
});

// ── dialogs ────────────────────────────────────────────────────────────────
document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
  if (target.id === "dialog" && !target.open) target.showModal();
  if (target.id === "dialog") target.querySelector("[aria-invalid], textarea, input:not([type=hidden])")?.focus();
});
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest?.("form[data-closes]");
  if (form && event.detail.successful) form.closest("dialog").close();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-try-now]")) hub.tryNow();
  const opener = event.target.closest("[data-dialog]");
  if (opener) {
    opener.closest("[popover]")?.hidePopover();
    document.getElementById(opener.dataset.dialog)?.showModal();
  }
  const closing = event.target.closest("[data-close]");
  if (closing) closing.closest("dialog, .toast, .banner")?.[closing.closest("dialog") ? "close" : "remove"]();
});

root.dataset.hub = "connecting";
document.getElementById("wire").firstElementChild.textContent = "Connecting";
document.body.addEventListener("hub:state", showState);
remember();
startClock();
hub.subscribe("approvals");
hub.subscribe("sessions");
hub.subscribe("stop");
