// The socket client: one connection to /ws/hub, kept up, and its news as events on <body>.
//
//   hub:state     {state}                        connecting, live, reconnecting, offline or signed-out
//   hub:snapshot  {topic, last_seq, …}           after each subscription, so also after each reconnect
//   hub:event     {topic, seq, kind, payload}    each one, in order
//   hub:delta     {topic, text}                  text as the model says it; never repeated
//   hub:approvals, hub:sessions, hub:session, hub:diagnostics, hub:stop, hub:list (approvals or sessions)
//                                                "something changed there": at most one a second, and never the last
//                                                one lost, for parts of a page that fetch themselves again
//
// News are hints. What a page shows comes from the server, when it is told that there is something new.

const PING_MS = 5000;
const STALE_MS = 12000;
const RECONNECTING_AFTER_MS = 3000;
const OFFLINE_AFTER_MS = 15000;
const LONGEST_WAIT_MS = 30000;
const ANSWER_WITHIN_MS = 20000;
const TELL_EVERY_MS = 1000;
const NOT_SIGNED_IN = 4401;

const tell = (name, detail = {}) => document.body.dispatchEvent(new CustomEvent(name, { detail }));

class Hub {
  state = "connecting";
  heardAt = Date.now();
  #socket = null;
  #topics = new Map(); // topic -> {seq: the last one seen, numbered: whether seq is the transcript's}
  #asked = new Map(); // ref -> {resolve, reject, timer}
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

  /** Follow a topic until the page goes; a session's from `after` on. */
  subscribe(topic, { after = 0 } = {}) {
    this.#topics.set(topic, { seq: after, numbered: topic.startsWith("session:") });
    this.start();
    if (this.#isOpen()) this.#follow(topic);
  }

  /** Ask for something; resolves to the answer, rejects with {code, detail, …} or {code: "not_reached"}. */
  request(message) {
    const ref = `r${++this.#refs}`;
    return new Promise((resolve, reject) => {
      if (!this.#isOpen()) return reject({ code: "not_reached", detail: "The server could not be reached." });
      const timer = setTimeout(() => this.#settle(ref, { type: "error", code: "not_reached" }), ANSWER_WITHIN_MS);
      this.#asked.set(ref, { resolve, reject, timer });
      this.#send({ ...message, ref });
    });
  }

  /** Do not wait for the next attempt; a connection that seems to live is asked whether it does. */
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
      this.heardAt = Date.now();
      for (const topic of this.#topics.keys()) this.#follow(topic);
    };
    socket.onmessage = (event) => this.#heard(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  #closed(code) {
    this.#socket = null;
    for (const ref of [...this.#asked.keys()]) this.#settle(ref, { type: "error", code: "not_reached" });
    if (code === NOT_SIGNED_IN) return this.#become("signed-out");
    if (this.state === "live") { this.#lostAt = Date.now(); this.#attempt = 0; this.#become("lost"); }
    const wait = Math.min(LONGEST_WAIT_MS, 1000 * 2 ** this.#attempt++) * (0.75 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #follow(topic) {
    const { seq, numbered } = this.#topics.get(topic);
    this.#send({ type: "subscribe", topic, ...(numbered ? { after: seq } : {}) });
  }

  #heard(message) {
    this.heardAt = Date.now();
    if (message.ref && this.#asked.has(message.ref)) return this.#settle(message.ref, message);
    const followed = this.#topics.get(message.topic);
    if (message.type === "snapshot" && followed) {
      if (!followed.numbered) followed.seq = message.last_seq ?? 0;
      this.#attempt = 0;
      this.#become("live");
      tell("hub:snapshot", message);
      this.#changed(message.topic);
    } else if (message.type === "event" && followed) {
      this.#news(message, followed);
    } else if (message.type === "delta" && followed) {
      tell("hub:delta", message);
    }
  }

  #news(message, followed) {
    const missed = !followed.numbered && message.seq > followed.seq + 1;
    if (followed.numbered && message.seq <= followed.seq) return;
    followed.seq = message.seq;
    tell("hub:event", message);
    this.#changed(message.topic);
    if (missed) this.#follow(message.topic); // a new snapshot says what is true
  }

  #settle(ref, message) {
    const asked = this.#asked.get(ref);
    if (!asked) return;
    clearTimeout(asked.timer);
    this.#asked.delete(ref);
    if (message.type === "error") asked.reject(message);
    else asked.resolve(message);
  }

  #due = new Map(); // name -> {last: when it was told, timer}
  #changed(topic) {
    const name = topic.startsWith("session:") ? "session" : topic;
    this.#soon(`hub:${name}`);
    if (name === "approvals" || name === "sessions") this.#soon("hub:list");
    if (name === "stop") for (const other of ["hub:approvals", "hub:list"]) this.#soon(other); // deadlines move
  }

  #soon(name) {
    const due = this.#due.get(name) ?? { last: 0, timer: 0 };
    this.#due.set(name, due);
    if (due.timer) return;
    const wait = Math.max(30, due.last + TELL_EVERY_MS - Date.now());
    due.timer = setTimeout(() => { due.timer = 0; due.last = Date.now(); tell(name); }, wait);
  }

  #tick() {
    const now = Date.now();
    if (this.#isOpen()) {
      if (now - this.heardAt > STALE_MS) {
        const silent = this.#socket; // half open: close() alone may wait for a far side that is gone
        silent.onclose = null;
        silent.close();
        this.#closed(1006);
      } else if (now - this.heardAt > PING_MS) this.#send({ type: "ping" });
    }
    if (this.state === "live" || this.state === "signed-out") return;
    const lost = now - this.#lostAt;
    if (lost > OFFLINE_AFTER_MS) this.#become("offline");
    else if (lost > RECONNECTING_AFTER_MS) this.#become("reconnecting");
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    tell("hub:state", { state, lostAt: this.#lostAt });
  }
}

export const hub = new Hub();
