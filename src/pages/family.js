// What the app knows: the user, friends, toys, chats and messages, kept current by the hub's events. The views read it
// and are drawn again after each change.

import { Toyhub } from "./hub.js";
import { keepTexts, notify, subscribe, unsubscribe } from "./notify.js";
import { Outbox } from "./outbox.js";
import { read, sentence, t, write } from "./texts.js";

const STORED = "toyhub.login";
/** Logging out waits no longer for the push service and the hub. */
const FAREWELL_MS = 3000;
const STATES = ["sent", "delivered", "heard"];

/**
 * @typedef {{_id: string, own: boolean, sound?: string, blob?: Blob, time: number, state: string}} Message
 */

class Family extends EventTarget {
  hub = new Toyhub(location.origin, () => this.#load());
  link = "closed";
  /** Whether the login of an earlier visit is being continued. */
  isResuming = false;
  /** Whether the lists of this login were loaded once. */
  isLoaded = false;
  friends = new Map();
  toys = [];
  requests = [];
  online = new Map();
  /** The reported states of toys: a map of each one's keys. */
  reported = new Map();
  /** Toys that were refused at a new address. */
  wantIn = new Set();
  outbox = new Outbox("");
  /** The friend whose chat is open. */
  chat = null;
  /** @type {Message[]} */
  messages = [];
  /** Whether only unread messages of the open chat are shown. */
  isPartial = false;
  /** The notice at the bottom of the page. */
  note = "";
  #receipts = new Map();

  constructor() {
    super();
    this.hub.addEventListener("state", (/** @type {CustomEvent} */ { detail }) => this.#linked(detail));
    this.hub.addEventListener("event", (/** @type {CustomEvent} */ { detail }) => {
      this.#apply(detail);
      this.changed();
    });
  }

  get me() {
    return this.hub.profile;
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  say(text) {
    this.note = text;
    this.changed();
  }

  /** Does something that can fail, and says why it did. Gives whether it succeeded. */
  async attempt(work) {
    try {
      await work();
      this.changed();
      return true;
    } catch (error) {
      this.say(sentence(error));
      return false;
    }
  }

  // Log in and out

  async login(username, password) {
    const token = await this.hub.login(username, password);
    this.remember(token);
    await this.#enter();
  }

  remember(token) {
    this.hub.token = token;
    write(STORED, JSON.stringify({ _id: this.me._id, token }));
  }

  /** Continues an earlier login, if there is one. Without a connection it is tried again until there is an answer. */
  async resume() {
    const stored = JSON.parse(read(STORED) ?? "null");
    if (!stored) return;
    this.isResuming = true;
    this.changed();
    for (;;) {
      try {
        await this.hub.resume(stored._id, stored.token);
        break;
      } catch (error) {
        if (error.name === "Refused" && error.code !== 17) {
          write(STORED, null);
          this.isResuming = false;
          return this.say(sentence(error));
        }
        this.link = "waiting";
        this.changed();
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
    this.isResuming = false;
    await this.#enter();
  }

  async #enter() {
    this.note = "";
    write("toyhub.known", "1");
    this.outbox = new Outbox(this.me._id);
    await this.outbox.load().catch(() => {});
    this.hub.open();
    this.subscribe();
    this.changed();
  }

  async logOut() {
    const late = new Promise((resolve) => setTimeout(resolve, FAREWELL_MS));
    await Promise.race([unsubscribe(this.hub).catch(() => {}), late]);
    this.hub.close();
  }

  /** Keeps the push subscription of this browser current: it belongs to the login, and to the language. */
  async subscribe() {
    try {
      await subscribe(this.hub);
    } catch (error) {
      // Without the push service, notifications come while the app is open.
      console.info("no push messages:", error.message);
    }
  }

  #linked({ state, code }) {
    this.link = state;
    if (state === "open") this.flush();
    if (state === "closed") {
      write(STORED, null);
      this.hub.profile = null;
      Object.assign(this, { isLoaded: false, friends: new Map(), toys: [], requests: [], messages: [], chat: null });
      if (code >= 4500) this.note = t("code_10");
    }
    this.changed();
  }

  // What the hub knows

  /** Loads all that the app shows: at the start, and if missed events are no longer kept. */
  async #load() {
    await Promise.all([this.loadFriends(), this.loadToys(), this.loadRequests()]);
    this.isLoaded = true;
    if (this.chat) await this.openChat(this.friends.get(this.chat.friend_id) ?? null);
    this.changed();
  }

  async loadFriends() {
    const list = await this.hub.ask("friend_list");
    this.friends = new Map(list.map((friend) => [friend.friend_id, friend]));
    for (const id of this.friends.keys()) this.hub.subscribe(`online/${id}`).catch(() => {});
    if (this.chat) this.chat = this.friends.get(this.chat.friend_id) ?? null;
  }

  async loadToys() {
    this.toys = await this.hub.ask("toy_list");
    for (const { _id, bind_user } of this.toys) {
      if (bind_user === this.me._id) this.hub.subscribe(`toy/${_id}/state/#`).catch(() => {});
      this.hub.subscribe(`online/${_id}`).catch(() => {});
    }
  }

  async loadRequests() {
    this.requests = (await this.hub.ask("req_list")).filter(({ status }) => String(status) === "0");
  }

  nameOf(id) {
    if (id === this.me?._id) return t("you");
    const toy = this.toys.find(({ _id }) => _id === id);
    const friend = this.friends.get(id);
    return toy?.toy_name || friend?.friend_remark || friend?.friend_nick || "?";
  }

  #apply(event) {
    const { type } = event;
    if (type === "message") this.#arrived(event);
    else if (type === "receipt") this.#receipt(event);
    else if (type === "read") this.#read(event);
    else if (type === "publish") this.#published(event);
    else if (type === "friend_request") this.attempt(() => this.loadRequests());
    else if (type === "toy_wants_in") this.wantIn.add(event.toy_id);
    else if (type === "toy_opened") this.wantIn.delete(event.toy_id);
    else if (type === "friend_added" || type === "friend_removed" || type === "erased") {
      this.attempt(() => this.#load());
    }
  }

  #arrived({ _id, from_user, chat, create_time }) {
    const friend = this.friends.get(from_user);
    if (!friend) return;
    friend.unread++;
    if (friend === this.chat) this.#add({ _id, own: false, sound: chat, time: create_time, state: "new" });
    if (document.hidden) notify(this.nameOf(from_user), t("unread", { n: friend.unread }), from_user);
  }

  #receipt({ _id, state, chat_id }) {
    this.#receipts.set(_id, state);
    const last = this.messages.findIndex((message) => message._id === _id);
    if (chat_id === this.chat?.friend_chat && last >= 0) this.#advance(last, state);
  }

  #read({ friend_id, unread }) {
    const friend = this.friends.get(friend_id);
    if (!friend) return;
    friend.unread = unread;
    if (friend !== this.chat) return;
    const theirs = this.messages.filter(({ own }) => !own);
    for (const message of theirs.slice(0, theirs.length - unread)) message.state = "heard";
  }

  #published({ topic, payload }) {
    const [root, id, , key] = topic.split("/");
    if (root === "online") this.online.set(id, payload === "1");
    if (root === "toy") this.reported.set(id, { ...this.reported.get(id), [key]: payload });
  }

  // Chats

  /** Opens the chat of a friend. The history would mark all as read; so unread messages are shown alone at first. */
  async openChat(friend) {
    this.chat = friend;
    this.messages = [];
    this.isPartial = false;
    this.note = "";
    this.changed();
    if (!friend) return;
    if (friend.unread === 0) return this.showHistory();
    const { messages } = await this.hub.ask("unread", { limit: 200 });
    if (this.chat !== friend) return;
    this.isPartial = true;
    for (const { _id, from_user, message, create_time } of messages) {
      if (from_user === friend.friend_id) this.#add({ _id, own: false, sound: message, time: create_time, state: "new" });
    }
    this.changed();
  }

  async showHistory() {
    const friend = this.chat;
    const list = await this.hub.ask("chat_list", { chat_id: friend.friend_chat, from_user: friend.friend_id });
    if (this.chat !== friend) return;
    this.isPartial = false;
    friend.unread = 0;
    this.messages = list.map(({ _id, from_user, message, create_time, state }) => {
      const own = from_user === this.me._id;
      return { _id, own, sound: message, time: create_time, state: own ? state : "heard" };
    });
    this.changed();
  }

  #add(message) {
    if (this.messages.some(({ _id }) => _id === message._id)) return;
    this.messages.push(message);
    // The receipt can arrive before the answer to the sender.
    if (message.own && this.#receipts.has(message._id)) {
      this.#advance(this.messages.length - 1, this.#receipts.get(message._id));
    }
  }

  /** Own messages up to this one have reached at least this state. */
  #advance(last, state) {
    for (const message of this.messages.slice(0, last + 1)) {
      if (message.own && STATES.indexOf(message.state) < STATES.indexOf(state)) message.state = state;
    }
  }

  /** Marks a friend's message as read, and those before it. */
  async heard(message, friend) {
    if (message.own || message.state === "heard") return;
    await this.hub.markRead(friend, message._id);
  }

  // Sending

  /** Keeps a recording until the hub has it. */
  async post(to, sound, seconds) {
    const isStored = await this.outbox.add(to, sound, seconds);
    if (!isStored) this.say(t("storage_full"));
    else if (this.link !== "open") this.say(t("kept"));
    this.changed();
    await this.flush();
  }

  flush() {
    if (this.link !== "open") return undefined;
    return this.outbox.flush(
      ({ to, sound, upload }) => this.hub.send(to, sound, upload),
      ({ to, sound }, _id) => {
        if (this.note === t("kept")) this.note = "";
        if (this.chat?.friend_id !== to) return;
        this.#add({ _id, own: true, blob: sound, time: Date.now() / 1000, state: "sent" });
      },
      () => this.changed(),
    );
  }
}

export const family = new Family();
