// The WebSocket client: it keeps one connection to /ws/hub and dispatches its messages as events on <body>.
//
//   hub:state     {state}                        connecting, live, reconnecting, offline or signed-out
//   hub:snapshot  {topic, last_seq, …}           after each subscription, so also after each reconnect
//   hub:event     {topic, seq, kind, payload}    each one, in order
//   hub:delta     {topic, text}                  streaming text of the model; never repeated
//   hub:approvals, hub:sessions, hub:session, hub:diagnostics, hub:stop, hub:list (approvals or sessions)
//                                                a change on the topic: at most one event a second, the last one
//                                                is never lost; parts of a page refresh on it
//
// Events are hints. A page loads what it shows from the server when an event announces a change.

const PING_MS = 5000;
const STALE_MS = 12000;
const RECONNECTING_AFTER_MS = 3000;
const OFFLINE_AFTER_MS = 15000;
const LONGEST_WAIT_MS = 30000;
const ANSWER_WITHIN_MS = 20000;
const DISPATCH_EVERY_MS = 1000;
const NOT_SIGNED_IN = 4401;

const dispatch = (name, detail = {}) => document.body.dispatchEvent(new CustomEvent(name, { detail }));

class Hub {
  state = "connecting";
  lastMessageAt = Date.now();
  #socket = null;
  #topics = new Map(); // topic -> {seq: the last one seen, numbered: whether seq is the transcript's}
  #pending = new Map(); // ref -> {resolve, reject, timer}
  #attempt = 0;
  #lostAt = Date.now();
  #retry = 0;
  #refs = 0;

  start() {
    if (this.#socket || this.#retry) return;
    this.#open();
    setInterval(() => this.#tick(), 1000);
    for (const [target, name] of [[window, "online"], [window, "focus"], [document, "visibilitychange"]]) {
      target.addEventListener(name, () => this.tryNow());
    }
    addEventListener("pagehide", () => this.#socket?.close(1000));
    addEventListener("pageshow", (event) => event.persisted && this.tryNow());
  }

  /** Subscribe to a topic until the page is left; to a session's from `after` on. */
  subscribe(topic, { after = 0 } = {}) {
    this.#topics.set(topic, { seq: after, numbered: topic.startsWith("session:") });
    this.start();
    if (this.#isOpen()) this.#sendSubscribe(topic);
  }

  /** Send a request; resolves to the response, rejects with {code, detail, …} or {code: "not_reached"}. */
  request(message) {
    const ref = `r${++this.#refs}`;
    return new Promise((resolve, reject) => {
      if (!this.#isOpen()) return reject({ code: "not_reached", detail: "The server could not be reached." });
      const timer = setTimeout(() => this.#settle(ref, { type: "error", code: "not_reached" }), ANSWER_WITHIN_MS);
      this.#pending.set(ref, { resolve, reject, timer });
      this.#send({ ...message, ref });
    });
  }

  /** Connect without waiting for the next attempt; an open connection gets a ping. */
  tryNow() {
    if (this.#isOpen()) return this.#send({ type: "ping" });
    if (this.state === "signed-out" || this.#socket) return;
    clearTimeout(this.#retry);
    this.#open();
  }

  #isOpen() { return this.#socket?.readyState === WebSocket.OPEN; }

  #send(message) { if (this.#isOpen()) this.#socket.send(JSON.stringify(message)); }

  #open() {
    this.#retry = 0;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/hub`);
    this.#socket = socket;
    socket.onopen = () => {
      this.lastMessageAt = Date.now();
      for (const topic of this.#topics.keys()) this.#sendSubscribe(topic);
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  #closed(code) {
    this.#socket = null;
    for (const ref of [...this.#pending.keys()]) this.#settle(ref, { type: "error", code: "not_reached" });
    if (code === NOT_SIGNED_IN) return this.#setState("signed-out");
    if (this.state === "live") { this.#lostAt = Date.now(); this.#attempt = 0; this.#setState("lost"); }
    const wait = Math.min(LONGEST_WAIT_MS, 1000 * 2 ** this.#attempt++) * (0.75 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #sendSubscribe(topic) {
    const { seq, numbered } = this.#topics.get(topic);
    this.#send({ type: "subscribe", topic, ...(numbered ? { after: seq } : {}) });
  }

  #receive(message) {
    this.lastMessageAt = Date.now();
    if (message.ref && this.#pending.has(message.ref)) return this.#settle(message.ref, message);
    const followed = this.#topics.get(message.topic);
    if (message.type === "snapshot" && followed) {
      if (!followed.numbered) followed.seq = message.last_seq ?? 0;
      this.#attempt = 0;
      this.#setState("live");
      dispatch("hub:snapshot", message);
      this.#changed(message.topic);
    } else if (message.type === "event" && followed) {
      this.#receiveEvent(message, followed);
    } else if (message.type === "delta" && followed) {
      dispatch("hub:delta", message);
    }
  }

  #receiveEvent(message, followed) {
    const missed = !followed.numbered && message.seq > followed.seq + 1;
    if (followed.numbered && message.seq <= followed.seq) return;
    followed.seq = message.seq;
    dispatch("hub:event", message);
    this.#changed(message.topic);
    if (missed) this.#sendSubscribe(message.topic); // a new snapshot replaces what was missed
  }

  #settle(ref, message) {
    const asked = this.#pending.get(ref);
    if (!asked) return;
    clearTimeout(asked.timer);
    this.#pending.delete(ref);
    if (message.type === "error") asked.reject(message);
    else asked.resolve(message);
  }

  #due = new Map(); // name -> {last: when it was dispatched, timer}
  #changed(topic) {
    const name = topic.startsWith("session:") ? "session" : topic;
    this.#dispatchSoon(`hub:${name}`);
    if (name === "approvals" || name === "sessions") this.#dispatchSoon("hub:list");
    if (name === "stop") for (const other of ["hub:approvals", "hub:list"]) this.#dispatchSoon(other); // a stop moves deadlines
  }

  #dispatchSoon(name) {
    const due = this.#due.get(name) ?? { last: 0, timer: 0 };
    this.#due.set(name, due);
    if (due.timer) return;
    const wait = Math.max(30, due.last + DISPATCH_EVERY_MS - Date.now());
    due.timer = setTimeout(() => { due.timer = 0; due.last = Date.now(); dispatch(name); }, wait);
  }

  #tick() {
    const now = Date.now();
    if (this.#isOpen()) {
      if (now - this.lastMessageAt > STALE_MS) {
        const silent = this.#socket; // half open: close() alone may wait for a peer that is gone
        silent.onclose = null;
        silent.close();
        this.#closed(1006);
      } else if (now - this.lastMessageAt > PING_MS) this.#send({ type: "ping" });
    }
    if (this.state === "live" || this.state === "signed-out") return;
    const lost = now - this.#lostAt;
    if (lost > OFFLINE_AFTER_MS) this.#setState("offline");
    else if (lost > RECONNECTING_AFTER_MS) this.#setState("reconnecting");
  }

  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    dispatch("hub:state", { state, lostAt: this.#lostAt });
  }
}

export const hub = new Hub();
