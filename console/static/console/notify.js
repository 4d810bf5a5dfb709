// Browser notifications: only after the person switched them on, and none while the page is visible.

const KEY = "orchestra-notify";
const button = document.querySelector("[data-notify]");
const shown = new Map();

const wanted = () => {
  try { return localStorage.getItem(KEY) === "on" && Notification.permission === "granted"; } catch { return false; }
};

function draw() {
  button.hidden = false;
  button.setAttribute("aria-pressed", String(wanted()));
  button.title = wanted() ? "New requests are notified; press to stop" : "Tell me about new requests";
}

async function toggle() {
  const on = !wanted() && (await Notification.requestPermission()) === "granted";
  try { localStorage.setItem(KEY, on ? "on" : "off"); } catch { /* storage is switched off */ }
  draw();
}

function notify({ detail: { kind, payload } }) {
  if (kind === "approval.requested" && document.hidden && wanted() && !shown.has(payload.id)) {
    const risk = payload.risk ? `${payload.risk[0].toUpperCase()}${payload.risk.slice(1)} risk` : "Request";
    const place = (payload.working_directory ?? "").split("/").filter(Boolean).pop();
    // Never the command itself: lock screens show notifications.
    const note = new Notification(`${risk}: an agent asks`, { tag: payload.id, body: place ? `in ${place}` : "" });
    note.onclick = () => { focus(); location.href = "/"; };
    shown.set(payload.id, note);
  }
  if (kind === "approval.changed" && payload.status !== "pending") {
    shown.get(payload.id)?.close();
    shown.delete(payload.id);
  }
}

if (button && "Notification" in window) {
  draw();
  button.addEventListener("click", toggle);
  document.body.addEventListener("hub:event", notify);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) shown.forEach((note) => note.close());
  });
}
