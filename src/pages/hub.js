// A client of the hub: calls over HTTP, and a socket that reconnects and continues after the last event.
// An ES module without dependencies, also for other pages: see examples/.

const PROTOCOL = "toyhub.v1";
/** Base64 of it, with the rest of the request, fits into `ws.message_max_bytes`. */
const CHUNK_BYTES = 30 * 1024;
/** The hub closes on more than `ws.requests_per_second`: this many at once, and then one each so many ms. */
const BURST = 4;
const PAUSE_MS = 70;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** After close code 4002, too many connections or requests. */
const TOO_MANY_WAIT_MS = 5_000;
const SILENCE_MS = 30_000;
const ANSWER_MS = 60_000;
/** Messages that are remembered, to drop repeats. */
const REMEMBERED = 1_000;

/** The hub refused a call; `code` is of the table in docs/http.md. */
export class Refused extends Error {
  /** @type {number} */
  code;
  /** @type {any} */
  data;

  constructor({ code, msg, data }) {
    super(msg);
    Object.assign(this, { name: "Refused", code, data });
  }
}

/** The connection broke before the answer: whether the call was executed is not known. */
export class LinkLost extends Error {
  constructor(message = "the connection was lost") {
    super(message);
    this.name = "LinkLost";
  }
}

/**
 * One user at one hub.
 *
 * Events: `state` (detail `{state, code, reason, wait_ms}`, where `state` is `connecting`, `open`, `waiting` or
 * `closed`), `event` for every push of the hub, and each push by its own type.
 */
export class Toyhub extends EventTarget {
  profile = null;
  state = "closed";
  #token = null;
  #load;
  #socket = null;
  /** The number of the connection; work of an earlier one is dropped. */
  #turn = 0;
  #tries = 0;
  #timer = null;
  #watch = null;
  /** The number of the last event; a new connection continues after it, once all has been loaded. */
  #seen = 0;
  #loaded = false;
  #ids = new Set();
  #asked = new Map();
  #number = 0;
  #room = 0;
  #topics = new Set();

  /** `load` is called at each start that is not a continuation, and fetches all that the app shows. */
  constructor(address, load = async () => {}) {
    super();
    this.address = new URL(address);
    this.#load = load;
    globalThis.addEventListener?.("online", () => { if (this.state === "waiting") this.#connect(); });
  }

  // HTTP

  /** A documented call; gives its `data`. */
  async call(path, fields = {}) {
    return this.#post(path, JSON.stringify(fields), { "Content-Type": "application/json" });
  }

  /** Logs in; gives the token, which `resume` takes. */
  async login(username, password) {
    const { token, ...profile } = await this.call("/login", { username, password });
    this.#token = token;
    this.profile = profile;
    return token;
  }

  /** Continues with the token of an earlier login. */
  async resume(_id, token) {
    this.#token = token;
    this.profile = await this.call("/auto_login", { _id });
  }

  /** The token of the next calls, after a changed password. */
  set token(token) {
    this.#token = token;
  }

  /** The sound of a name from `chat`, `message` or `notice`. */
  async sound(name) {
    // A recording that is stored as it came for toys; browsers play MP3.
    const mp3 = name.replace(/\.amr$/, ".mp3");
    const url = new URL(`/get_chat/${encodeURIComponent(mp3)}`, this.address);
    const answer = await fetch(url, { headers: this.#authorization(), signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) throw new Refused(await answer.json());
    return answer.blob();
  }

  /** Sends a recording in one HTTP request. */
  async sendByHttp(to, recording) {
    const form = new FormData();
    form.append("to_user", to);
    form.append("user_id", this.profile._id);
    form.append("reco_file", recording, "recording");
    return this.#post("/app_uploader", form);
  }

  async #post(path, body, headers = {}) {
    const answer = await fetch(new URL(path, this.address), {
      method: "POST",
      headers: { ...headers, ...this.#authorization() },
      body,
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const { code, msg, data } = await answer.json();
    if (code !== 0) throw new Refused({ code, msg, data });
    return data;
  }

  #authorization() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  // The socket

  /** Opens the socket and keeps it open, until `close` or a code that forbids a reconnect. */
  open() {
    if (this.state === "closed") this.#connect();
  }

  /** Closes the connection, and forgets the token. */
  close() {
    this.#stop(1000, "");
  }

  /** Gives the user another password, and returns the new token. The hub ends all logins, and with them all sockets. */
  async changePassword(password, new_password) {
    this.#leave();
    this.#say("connecting");
    try {
      const { token } = await this.call("/change_password", { user_id: this.profile._id, password, new_password });
      this.#token = token;
      return token;
    } finally {
      this.#connect();
    }
  }

  /** A request; gives the answer's `data`. */
  async ask(word, fields = {}, deadline_ms = ANSWER_MS) {
    const socket = this.#socket;
    await this.#pause();
    if (!socket || socket !== this.#socket || socket.readyState !== WebSocket.OPEN) throw new LinkLost();
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        reject(new LinkLost("no answer came in time"));
      }, deadline_ms);
      this.#asked.set(id, { resolve, reject, timer });
      socket.send(JSON.stringify({ ...fields, id, do: word }));
    });
  }

  /** Subscribes to a topic, such as `online/<id>`, on this connection and on all later ones. */
  async subscribe(topic) {
    this.#topics.add(topic);
    if (this.state === "open") await this.ask("subscribe", { topic });
  }

  /** Marks the message, and those before it, as delivered to this device. */
  delivered(message) {
    return this.ask("delivered", { message });
  }

  /** Marks a friend's messages as read, up to this one. */
  markRead(from_user, message) {
    return this.ask("mark_read", { from_user, message });
  }

  /** Sends a recording in chunks. A repeated call with the same `upload` continues after a broken connection. */
  async send(to_user, recording, upload) {
    const bytes = new Uint8Array(await recording.arrayBuffer());
    const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
    const { first_missing, finished } = await this.ask("upload_state", { upload });
    // A chunk after the end would begin a new recording.
    for (let n = finished ? chunks : first_missing; n < chunks; n++) {
      const chunk = bytes.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES);
      await this.ask("voice", { upload, n, data: btoa(String.fromCharCode(...chunk)) });
    }
    // A repeated request gets the same answer, and the message is sent once.
    return this.ask("app_uploader", { to_user, upload, chunks });
  }

  /** Sends a recording in chunks, and continues after each broken connection. */
  async sendBySocket(to_user, recording) {
    const random = crypto.getRandomValues(new Uint8Array(16));
    const upload = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
    for (;;) {
      await this.#opened();
      try {
        return await this.send(to_user, recording, upload);
      } catch (error) {
        if (!(error instanceof LinkLost)) throw error;
      }
    }
  }

  /** Resolves when the socket is open; rejects when it will not be. */
  async #opened() {
    while (this.state !== "open") {
      if (this.state === "closed") throw new LinkLost("not connected");
      await new Promise((resolve) => this.addEventListener("state", resolve, { once: true }));
    }
  }

  async #pause() {
    const now = performance.now();
    const at = Math.max(this.#room + PAUSE_MS, now - (BURST - 1) * PAUSE_MS);
    this.#room = at;
    if (at > now) await new Promise((resolve) => setTimeout(resolve, at - now));
  }

  async #connect() {
    this.#leave();
    const turn = this.#turn;
    this.#say("connecting");
    let ticket;
    try {
      ({ ticket } = await this.call("/ticket"));
    } catch (error) {
      if (turn !== this.#turn) return;
      // 10: the token is no longer valid. All other errors may be temporary: no network, a starting hub, a rate limit.
      if (error instanceof Refused && error.code === 10) this.#stop(4500, error.message);
      else this.#comeBack(0, error.message);
      return;
    }
    if (turn !== this.#turn) return;
    const url = new URL("/ws", this.address);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("ticket", ticket);
    if (this.#loaded) url.searchParams.set("after", String(this.#seen));
    const socket = new WebSocket(url, PROTOCOL);
    this.#socket = socket;
    this.#expectLife();
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#expectLife();
      this.#take(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.#socket) return;
      if (code >= 4500) this.#stop(code, reason);
      else this.#comeBack(code, reason);
    };
  }

  #take(frame) {
    const { type, seq } = frame;
    if (type === undefined) return this.#answer(frame);
    if (type === "welcome") return this.#welcome(frame);
    if (type === "reload") {
      this.#seen = seq;
      return this.#loadAll();
    }
    if (seq !== undefined) {
      if (seq <= this.#seen) return;
      this.#seen = seq;
    }
    // An unread message is sent again without a number.
    if (type === "message" && this.#isKnown(frame._id)) return;
    if (type === "message") this.delivered(frame._id).catch(() => {});
    this.dispatchEvent(new CustomEvent(type, { detail: frame }));
    this.dispatchEvent(new CustomEvent("event", { detail: frame }));
  }

  #answer({ id, code, msg, data }) {
    const asked = this.#asked.get(id);
    if (!asked) return;
    this.#asked.delete(id);
    clearTimeout(asked.timer);
    if (code === 0) asked.resolve(data);
    else asked.reject(new Refused({ code, msg, data }));
  }

  #welcome({ seq, resumed }) {
    this.#tries = 0;
    this.#say("open");
    for (const topic of this.#topics) this.ask("subscribe", { topic }).catch(() => {});
    if (resumed) return;
    this.#seen = seq;
    this.#loadAll();
  }

  /** Until all is loaded, a new connection starts from the beginning. */
  async #loadAll() {
    const turn = this.#turn;
    this.#loaded = false;
    try {
      await this.#load();
      if (turn === this.#turn) this.#loaded = true;
    } catch (error) {
      if (turn === this.#turn) this.#comeBack(0, error.message);
    }
  }

  #isKnown(id) {
    if (this.#ids.has(id)) return true;
    this.#ids.add(id);
    if (this.#ids.size > REMEMBERED) this.#ids.delete(this.#ids.values().next().value);
    return false;
  }

  /** A connection can be dead without an end: after a silence a ping requires an answer. */
  #expectLife() {
    clearTimeout(this.#watch);
    const turn = this.#turn;
    this.#watch = setTimeout(() => {
      this.ask("ping").catch(() => { if (turn === this.#turn) this.#comeBack(0, "the hub does not answer"); });
    }, SILENCE_MS);
  }

  #comeBack(code, reason) {
    this.#leave();
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#tries++);
    // A random delay, as other clients have lost the connection, too.
    const random = longest * (0.5 + Math.random() / 2);
    const wait_ms = code === 4002 ? Math.max(random, TOO_MANY_WAIT_MS) : random;
    this.#timer = setTimeout(() => this.#connect(), wait_ms);
    this.#say("waiting", { code, reason, wait_ms });
  }

  #stop(code, reason) {
    this.#leave();
    this.#token = null;
    this.#say("closed", { code, reason });
  }

  #leave() {
    this.#turn++;
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(new LinkLost());
    }
    this.#asked.clear();
  }

  #say(state, detail = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...detail } }));
  }
}
