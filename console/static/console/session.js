// The transcript of one session: new rows are appended, others are fetched in pieces, and the line that
// a person reads never moves.
//
// The server renders the rows. Hub events announce new ones; streaming text is shown in a row of its own
// until the row of the finished text arrives.

import { fetchPart, keepViews } from "./asks.js";
import { hub } from "./hub.js";
import { cardInUse, compensateScroll, acceptLayout } from "./still.js";

const NEAR_PX = 48; // within this distance of the end the page follows it
const AHEAD_PX = 1500; // pieces are fetched this far before they become visible
const MOST_ROWS = 450;
const FETCH_EVERY_MS = 250;
const CHANGED_EVERY_MS = 700;

const pane = document.getElementById("transcript");
const rows = document.getElementById("rows");
const toEnd = document.getElementById("to-end");
const message = document.getElementById("message");
const session = document.getElementById("main").dataset.session;
const topic = `session:${session}`;

let first = Number(pane.dataset.first);
let last = Number(pane.dataset.last);
let newest = Number(pane.dataset.newest);
let following = true;
let missed = 0;
let busy = false;
let fetchedAt = 0;
let timer = 0;

// ── reading position ───────────────────────────────────────────────────────
const gap = () => pane.scrollHeight - pane.scrollTop - pane.clientHeight;
const atEnd = () => last >= newest;

/** Scroll the transcript, and nothing around it, so that `row` is at the top. */
function reveal(row) {
  pane.scrollTop += row.getBoundingClientRect().top - pane.getBoundingClientRect().top - 12;
}

/** Follow the end, but not while a request that can be decided is visible: it would move. */
function scrollToEnd() {
  if (following && !cardInUse()) pane.scrollTop = pane.scrollHeight;
}

/** Apply `change` so that the first visible line, or the request in use, keeps its position. */
function keepPosition(change) {
  const inUse = cardInUse();
  if (following && !inUse) { change(); pane.scrollTop = pane.scrollHeight; acceptLayout(); return; }
  const top = pane.getBoundingClientRect().top;
  const id = inUse?.id;
  const line = inUse ?? [...rows.children].find((row) => row.getBoundingClientRect().bottom > top && !row.hidden);
  const before = line?.getBoundingClientRect().top;
  change();
  const now = id ? document.getElementById(id) : line;
  if (now?.isConnected) compensateScroll(pane, now.getBoundingClientRect().top - before);
  acceptLayout();
}

function drawPill() {
  const asks = [...rows.querySelectorAll(".ask[data-open]")].filter((ask) => ask.getBoundingClientRect().top > pane.getBoundingClientRect().bottom);
  toEnd.hidden = following && atEnd();
  toEnd.classList.toggle("pill-wait", asks.length > 0);
  const words = asks.length ? `${asks.length} request${asks.length > 1 ? "s" : ""} below` : missed ? `Live end, ${missed} new` : "Live end";
  toEnd.querySelector("span").textContent = words;
}

pane.addEventListener("scroll", () => {
  const near = gap() < NEAR_PX && atEnd();
  if (near !== following) { following = near; if (near) missed = 0; }
  drawPill();
  if (pane.scrollTop < AHEAD_PX && first > 1) loadMore("before");
  else if (gap() < AHEAD_PX && !atEnd()) loadMore("after");
}, { passive: true });
for (const name of ["wheel", "touchmove"]) {
  pane.addEventListener(name, (event) => { if (name === "touchmove" || event.deltaY < 0) following = false; }, { passive: true });
}
pane.addEventListener("keydown", (event) => {
  if (["ArrowUp", "PageUp", "Home"].includes(event.key)) following = false;
  if (event.key === "End") { event.preventDefault(); goToEnd(); }
});
toEnd.addEventListener("click", () => {
  const below = [...rows.querySelectorAll(".ask[data-open]")].find((ask) => ask.getBoundingClientRect().top > pane.getBoundingClientRect().bottom);
  if (below && toEnd.classList.contains("pill-wait")) { reveal(below); below.focus({ preventScroll: true }); } else goToEnd();
});

async function goToEnd() {
  if (!atEnd()) await jump(Math.max(1, newest - 100));
  following = true;
  missed = 0;
  pane.scrollTop = pane.scrollHeight;
  drawPill();
}

// ── pieces ─────────────────────────────────────────────────────────────────
async function fetchPiece(query) {
  const found = await fetchPart(`${pane.dataset.src}?${query}`);
  const mark = found?.querySelector("[data-window]");
  if (!mark) return null;
  const span = mark.dataset;
  mark.remove();
  return { items: [...found.children], first: Number(span.first), last: Number(span.last), newest: Number(span.newest) };
}

async function loadMore(direction) {
  if (busy) { if (direction === "after") fetchNewSoon(); return; }
  busy = true;
  const found = await fetchPiece(direction === "before" ? `before=${first}` : `after=${last}`);
  busy = false;
  fetchedAt = Date.now();
  if (!found || !found.first) return;
  keepPosition(() => {
    if (direction === "before") {
      rows.prepend(...found.items);
      first = found.first;
      dropFarRows(rows.lastElementChild, "previousElementSibling");
    } else {
      append(found.items);
      last = Math.max(last, found.last);
      if (!following) dropFarRows(rows.firstElementChild, "nextElementSibling");
    }
    newest = Math.max(newest, found.newest);
    rows.querySelector("[data-key=none]")?.remove();
  });
  found.items.forEach((item) => item.isConnected && window.htmx.process(item));
  drawEdges();
  if (direction === "after" && !atEnd()) fetchNewSoon();
}

/** Remove rows far from the visible part; scrolling fetches them again. */
function dropFarRows(from, step) {
  let row = from;
  while (rows.children.length > MOST_ROWS && row) {
    const next = row[step];
    if (row !== live) row.remove();
    row = next;
  }
  const seqs = [...rows.querySelectorAll("[data-seq]")].map((one) => Number(one.dataset.seq));
  if (step === "nextElementSibling") first = Math.min(...seqs);
  else { const kept = Math.max(...seqs); if (kept < last) last = kept; }
}

function append(items) {
  for (const item of items) {
    const there = rows.querySelector(`[data-key="${CSS.escape(item.dataset.key)}"]`);
    if (there) redrawRow(there, item);
    else if (!("update" in item.dataset)) {
      if (live.isConnected) live.before(item); else rows.append(item);
      if (!following) missed += 1;
    }
  }
}

/** Replace a row; what the person opened or is typing stays. */
function redrawRow(there, item) {
  if (there.querySelector(".ask[data-open]") && item.querySelector(".ask[data-open]")) return; // an open card changes only when it is closed
  const [old, fresh] = [there.querySelector("details"), item.querySelector("details")];
  if (old && fresh) fresh.open = old.open || fresh.open;
  else if (fresh) fresh.open = true;
  keepViews(there, item);
  const focused = there.contains(document.activeElement);
  there.replaceWith(item);
  if (focused) { item.tabIndex = -1; item.focus({ preventScroll: true }); }
}

async function jump(seq) {
  const found = await fetchPiece(`from=${seq}`);
  if (!found || !found.first) return;
  following = false;
  rows.replaceChildren(...found.items);
  found.items.forEach((item) => window.htmx.process(item));
  ({ first, last } = found);
  newest = Math.max(newest, found.newest);
  if (atEnd()) rows.append(live);
  const target = [...rows.children].find((row) => Number(row.dataset.seq) >= seq) ?? rows.lastElementChild;
  if (target) reveal(target);
  rows.querySelectorAll(".found-row").forEach((row) => row.classList.remove("found-row"));
  target?.classList.add("found-row");
  drawEdges();
}

function drawEdges() {
  const mark = (id, visible, words) => { const place = document.getElementById(id); if (place) { place.hidden = !visible; if (words) place.firstElementChild.textContent = words; } };
  mark("earlier", first > 1, `Earlier: ${first - 1} events before these`);
  mark("later", !atEnd());
  drawPill();
}

// ── new rows ───────────────────────────────────────────────────────────────
/** Fetch new rows, at most a few times a second; far below the visible part only once the person scrolls down. */
function fetchNewSoon() {
  if (timer || !(following || rows.children.length < MOST_ROWS)) return;
  timer = setTimeout(async () => {
    timer = 0;
    if (atEnd()) return;
    await loadMore("after");
    dropFinishedText();
  }, Math.max(20, fetchedAt + FETCH_EVERY_MS - Date.now()));
}

/** Make head, side and foot refresh when this session or one of its requests has changed. */
let changeTimer = 0;
function changed() {
  changeTimer ||= setTimeout(() => { changeTimer = 0; document.body.dispatchEvent(new CustomEvent("session:changed")); }, CHANGED_EVERY_MS);
}

document.body.addEventListener("hub:event", ({ detail }) => {
  if (detail.payload?.id === session || detail.payload?.session === session) changed();
  if (detail.topic !== topic) return;
  if (detail.kind !== "text" && detail.kind !== "thinking") changed();
  newest = Math.max(newest, detail.seq);
  if (detail.kind === "text" && !detail.payload?.parent_tool_use_id) finished.push({ seq: detail.seq, length: streamed.length });
  if (detail.kind === "result" || detail.kind === "status") finished.push({ seq: detail.seq, length: streamed.length });
  fetchNewSoon();
});
document.body.addEventListener("hub:snapshot", ({ detail }) => {
  if (detail.topic !== topic) return;
  changed();
  newest = Math.max(newest, detail.last_seq ?? 0);
  if (last < newest) fetchNewSoon();
});

// ── streaming text ─────────────────────────────────────────────────────────
const live = document.createElement("li");
live.className = "said said-agent live";
live.hidden = true;
live.innerHTML = '<span class="who" aria-hidden="true">…</span><div class="text" dir="auto"><p class="as-typed"></p></div>';
const words = document.createTextNode("");
const caret = document.createElement("span");
caret.className = "caret";
caret.setAttribute("aria-hidden", "true");
live.querySelector("p").append(words, caret);
if (atEnd()) rows.append(live);
let streamed = "";
let finished = []; // complete texts: the length of `streamed` they end at, and the number of their row
let drawing = 0;

document.body.addEventListener("hub:delta", ({ detail }) => {
  if (detail.topic !== topic || typeof detail.text !== "string") return;
  streamed += detail.text;
  drawSoon();
});

function drawSoon() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    keepPosition(() => {
      words.data = visible(streamed);
      live.hidden = !streamed;
    });
  });
}

/** Once the row of a finished text is there, remove its streamed text. */
function dropFinishedText() {
  const done = finished.filter((one) => one.seq <= last);
  if (!done.length) return;
  const length = Math.max(...done.map((one) => one.length));
  finished = finished.filter((one) => one.seq > last).map((one) => ({ ...one, length: Math.max(0, one.length - length) }));
  streamed = streamed.slice(length);
  keepPosition(() => { words.data = visible(streamed); live.hidden = !streamed; });
}

// The server's rule: characters that could hide or reorder text are shown as escapes.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028-\u202f\u2060-\u206f\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\u200b-\u200f]/g;
const visible = (text) => text.replace(HIDDEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

// ── composer, search, links into the transcript ────────────────────────────
const send = document.getElementById("send");
function drawComposer() {
  const under = document.getElementById("under");
  if (!send || !under) return;
  send.disabled = under.dataset.mayMessage !== "yes";
}
document.addEventListener("htmx:load", drawComposer);
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.target.id !== "composer" || !event.detail.successful) return;
  if (!document.getElementById("under").hasAttribute("data-refused")) { message.value = ""; document.getElementById("attachments").value = ""; following = true; }
});
document.getElementById("composer")?.addEventListener("submit", (event) => {
  if (send.disabled || !message.value.trim()) { event.preventDefault(); event.stopImmediatePropagation(); }
}, true);

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-jump]");
  if (link && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    link.closest("dialog")?.close();
    jump(Number(link.dataset.jump));
  }
  const question = event.target.closest(".side-ask a");
  const card = question && document.querySelector(question.getAttribute("href"));
  if (card) {
    event.preventDefault();
    following = false;
    reveal(card);
    card.focus({ preventScroll: true });
  }
});

rows.addEventListener("toggle", () => requestAnimationFrame(drawPill), true);
new ResizeObserver(scrollToEnd).observe(pane);

/** Show the end, or the start of an open request that is taller than the page. */
function showNewest() {
  pane.scrollTop = pane.scrollHeight;
  const ask = rows.querySelector(".ask[data-open]");
  if (ask && ask.getBoundingClientRect().top < pane.getBoundingClientRect().top) reveal(ask);
}

const start = new URLSearchParams(location.search).get("from");
if (start) {
  following = false;
  reveal([...rows.children].find((row) => Number(row.dataset.seq) >= Number(start)) ?? rows.lastElementChild);
} else showNewest();
drawEdges();
drawComposer();
hub.subscribe(topic, { after: last });
