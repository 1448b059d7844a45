// A toy in the browser. It speaks MQTT over WebSocket as hardware would: requests on `out`, recordings and sounds in
// chunks, its states, the commands of its owner. docs/mqtt.md describes all of it.

import mqtt from "./vendor/mqtt.js";
import { NoMicrophone, Recording } from "./recorder.js";
import { fill, read, sentence, t, write } from "./texts.js";

const STORED = "toyhub.toy";
const CHUNK_BYTES = 8192;
const CHUNKS_AT_ONCE = 8;
const ANSWER_MS = 60_000;
const REOPEN_MS = 2500;
const SHORTEST_S = 0.4;

/** The connection broke before the answer. */
class LinkLost extends Error {}

const reasonOf = (error) => (error.name === "Refused" ? sentence(error) : error.message);

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);
const player = new Audio();

fill();
document.title = t("toy_title");

/** The device: its key and secret, and the toy that it is bound to. */
let device = null;
let toy = null;
let client = null;
let recording = null;
/** Messages that were not played yet, oldest first. */
let mail = [];
/** Reminders that are due and were not given yet. */
let due = [];
let isPlaying = false;
const seen = new Set();
let names = new Map();

// Who the toy is

function given() {
  const [key, secret] = location.hash.slice(1).split(".");
  // The secret stays out of the history of the browser.
  if (location.hash) history.replaceState(null, "", location.pathname);
  return key && secret ? { key, secret } : JSON.parse(read(STORED) ?? "null");
}

function begin() {
  device = given();
  find("credentials").hidden = Boolean(device);
  find("power").hidden = !device;
  show("off", device ? t("toy_off") : "");
}

find("credentials").addEventListener("submit", (event) => {
  event.preventDefault();
  const { key, secret } = /** @type {any} */ (event.target).elements;
  location.hash = `${key.value.trim()}.${secret.value.trim()}`;
  begin();
});

find("power").addEventListener("click", () => {
  find("power").hidden = true;
  // A page may play sounds once its user has touched it.
  write(STORED, JSON.stringify(device));
  open();
});

/** Shows a state and its sentence. */
function show(state, text) {
  document.body.dataset.state = state;
  find("status").textContent = text;
}

function showReady() {
  show("ready", mail.length > 0 && !isPlaying ? t("toy_tap") : t("toy_ready", { name: toy.name }));
  find("listen").hidden = mail.length === 0;
  find("stop").hidden = true;
  document.body.toggleAttribute("data-mail", mail.length > 0);
}

/** Reports the start to the hub, until the device is bound; then connects. */
async function open() {
  let answer;
  try {
    const response = await fetch("/open_toy", {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${device.secret}` },
      body: JSON.stringify({ device_key: device.key }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    answer = await response.json();
  } catch {
    show("off", t("unreachable"));
    setTimeout(open, REOPEN_MS);
    return;
  }
  const isUnbound = answer.code === 2;
  find("qr").hidden = find("key").hidden = !isUnbound;
  find("controls").hidden = answer.code !== 0;
  if (answer.code === 0) {
    toy = { id: answer.toy_id, name: answer.name };
    find("name").textContent = toy.name;
    connect();
  } else if (isUnbound) {
    find("qr").src = `/get_qr/${encodeURIComponent(device.key)}.png`;
    find("qr").alt = t("toy_qr", { key: device.key });
    find("key").textContent = device.key;
    show("unbound", t("toy_unbound"));
    setTimeout(open, REOPEN_MS);
  } else {
    write(STORED, null);
    find("credentials").hidden = false;
    show("off", answer.msg && answer.code !== 1 ? answer.msg : t("toy_unknown"));
  }
}

// The connection

const asked = new Map();
let number = 0;
/** The chunks of the sound that is being fetched. */
let pieces = new Map();

function connect() {
  show("thinking", t("link_connecting"));
  const url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/mqtt`;
  client = mqtt.connect(url, {
    protocolVersion: 4, clientId: device.key, username: device.key, password: device.secret, clean: false,
    keepalive: 30, reconnectPeriod: REOPEN_MS, timerVariant: "native",
  });
  client.on("connect", async () => {
    try {
      await greet();
    } catch (error) {
      // A connection that broke meanwhile is followed by another one.
      if (client?.connected) show("off", reasonOf(error));
    }
  });
  client.on("close", () => {
    for (const { reject, timer } of asked.values()) {
      clearTimeout(timer);
      reject(new LinkLost(t("link_waiting")));
    }
    asked.clear();
    if (client && !recording) show("thinking", t("link_waiting"));
  });
  // A refused login: the toy was unbound, or has a new secret.
  client.on("error", ({ code }) => {
    if (code !== 4 && code !== 5) return;
    client?.end(true);
    client = null;
    open();
  });
  client.on("message", (topic, payload) => {
    const [, , kind, key, n] = topic.split("/");
    if (kind === "file") pieces.set(Number(n), payload);
    else if (kind === "cmd") obey(key, payload.toString());
    else receive(JSON.parse(payload.toString()));
  });
}

/** What a toy does on each connection. */
async function greet() {
  const base = `toy/${toy.id}`;
  await client.subscribeAsync([`${base}/in`, `${base}/cmd/#`, `${base}/file/#`], { qos: 1 });
  report("volume", find("volume").value);
  report("battery", await batteryLevel());
  await loadFriends();
  if (recording) return;
  showReady();
  // Messages that arrived meanwhile.
  playNext();
}

/** Publishes a state, for the owner; retained. */
function report(key, value) {
  client.publish(`toy/${toy.id}/state/${key}`, String(value), { qos: 1, retain: true });
}

async function batteryLevel() {
  const battery = await /** @type {any} */ (navigator).getBattery?.().catch(() => undefined);
  return Math.round((battery?.level ?? 1) * 100);
}

function obey(key, value) {
  if (key === "volume") setVolume(Number(value));
}

function setVolume(value) {
  if (!Number.isFinite(value)) return;
  const volume = Math.max(0, Math.min(100, value));
  find("volume").value = String(volume);
  player.volume = volume / 100;
  report("volume", volume);
}

find("volume").addEventListener("change", () => setVolume(Number(find("volume").value)));

/** A request on `out`; gives the answer's `data`. */
function ask(fields) {
  const id = ++number;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      asked.delete(id);
      reject(new Error(t("unreachable")));
    }, ANSWER_MS);
    asked.set(id, { resolve, reject, timer });
    client.publish(`toy/${toy.id}/out`, JSON.stringify({ ...fields, id }), { qos: 1 });
  });
}

function receive(event) {
  if (event.id !== undefined && asked.has(event.id)) {
    const { resolve, reject, timer } = asked.get(event.id);
    asked.delete(event.id);
    clearTimeout(timer);
    if (event.code === 0 || event.code === undefined) resolve(event.data);
    else reject(Object.assign(new Error(event.msg), { name: "Refused", code: event.code }));
  } else if (event.type === "message" && !seen.has(event._id)) {
    seen.add(event._id);
    mail.push(event);
    if (document.body.dataset.state === "ready") playNext();
  } else if (event.type === "reminder" && !seen.has(event._id)) {
    seen.add(event._id);
    due.push(event);
    if (document.body.dataset.state === "ready") playNext();
  } else if (event.type === "play") {
    playMusic(event.music);
  } else if (event.type === "command") {
    const by = { louder: 15, softer: -15 }[event.command];
    if (by) setVolume(Number(find("volume").value) + by);
    if (event.command === "stop") player.pause();
  } else if (event.type === "friend_added" || event.type === "friend_removed") {
    loadFriends().catch(() => {});
  }
}

async function loadFriends() {
  const friends = await ask({ do: "friend_list" });
  names = new Map(friends.map((friend) => [friend.friend_id, friend.friend_remark || friend.friend_nick]));
  const chosen = find("target").value;
  find("target").replaceChildren(
    new Option(t("assistant"), ""), ...friends.map(({ friend_id }) => new Option(names.get(friend_id), friend_id)),
  );
  find("target").value = names.has(chosen) ? chosen : "";
}

// Sounds

/** Fetches a sound in chunks over the same connection. */
async function fetchSound(name, kind) {
  const about = { do: "get_file", name, kind, chunk_bytes: CHUNK_BYTES };
  const { chunks } = await ask({ ...about, count: 0 });
  pieces = new Map();
  for (let first = 0; first < chunks; first += CHUNKS_AT_ONCE) {
    await ask({ ...about, first, count: CHUNKS_AT_ONCE });
  }
  return new Blob(Array.from({ length: chunks }, (_, n) => pieces.get(n)), { type: "audio/mpeg" });
}

/** Plays a sound to its end. */
async function play(name, kind) {
  const url = URL.createObjectURL(await fetchSound(name, kind));
  try {
    await new Promise((resolve, reject) => {
      player.onended = player.onpause = resolve;
      player.onerror = () => reject(new Error(t("cannot_play")));
      player.src = url;
      player.play().catch(reject);
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Plays the reminders that are due, and then the messages. */
async function playNext() {
  await remind();
  await playMail();
}

/** Says the reminders that are due, and shows what they are about. Those without a sound are only shown. */
async function remind() {
  if (isPlaying || recording || due.length === 0) return;
  isPlaying = true;
  find("stop").hidden = false;
  let text = "";
  while (due.length > 0 && !recording) {
    const { kind, words, sound } = due.shift();
    text = t(`toy_${kind}`, { words }).trim();
    show("speaking", text);
    if (sound) await play(sound, "chat").catch(() => {});
  }
  isPlaying = false;
  if (recording) return;
  showReady();
  find("status").textContent = text;
}

/** Plays all messages, and marks each one as read after its end. */
async function playMail() {
  if (isPlaying || recording || mail.length === 0) return;
  isPlaying = true;
  find("stop").hidden = false;
  try {
    while (mail.length > 0 && !recording) {
      const [{ _id, from_user, chat, notice }] = mail;
      show("speaking", t("toy_plays", { who: names.get(from_user) ?? "?" }));
      if (notice) await play(notice, "chat");
      await play(chat, "chat");
      mail.shift();
      await ask({ do: "mark_read", from_user, message: _id });
      // The next recording is an answer.
      if (names.has(from_user)) find("target").value = from_user;
    }
    isPlaying = false;
    if (!recording) showReady();
  } catch (error) {
    isPlaying = false;
    showReady();
    if (error.name !== "NotAllowedError") find("status").textContent = reasonOf(error);
  }
}

async function playMusic(name) {
  isPlaying = true;
  show("speaking", t("toy_plays", { who: t("music") }));
  find("stop").hidden = false;
  await play(name, "music").catch(() => {});
  isPlaying = false;
  showReady();
  playNext();
}

find("listen").addEventListener("click", playNext);
find("stop").addEventListener("click", () => player.pause());

// Speaking

async function startTalking(event) {
  event.preventDefault();
  if (recording || !client) return;
  player.pause();
  show("listening", t("toy_listens"));
  const started = Recording.start(stopTalking);
  recording = started;
  try {
    await started;
  } catch (error) {
    recording = null;
    show("ready", error instanceof NoMicrophone ? t(error.reason) : error.message);
  }
}

async function stopTalking() {
  const started = recording;
  if (!started) return;
  let finished;
  try {
    finished = await (await started).finish();
  } catch {
    return;
  }
  if (recording !== started) return;
  recording = null;
  if (finished.seconds < SHORTEST_S) {
    showReady();
    find("status").textContent = t("too_short");
    return;
  }
  show("thinking", t("toy_thinks"));
  try {
    await send(finished.sound, find("target").value);
  } catch (error) {
    showReady();
    find("status").textContent = reasonOf(error);
  }
  playNext();
}

/** Sends a recording in chunks, and then the request that uses them. Continues after a broken connection. */
async function upload(sound, request) {
  const bytes = new Uint8Array(await sound.arrayBuffer());
  const random = crypto.getRandomValues(new Uint8Array(12));
  const upload = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
  for (;;) {
    try {
      const { first_missing, finished } = await ask({ do: "upload_state", upload });
      // A chunk after the end would begin a new recording.
      for (let n = finished ? chunks : first_missing; n < chunks; n++) {
        const chunk = bytes.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES);
        await client.publishAsync(`toy/${toy.id}/voice/${upload}/${n}`, chunk, { qos: 1 });
      }
      return await ask({ ...request, upload, chunks });
    } catch (error) {
      if (!(error instanceof LinkLost) || !client) throw error;
      await new Promise((resolve) => client.once("connect", resolve));
    }
  }
}

/** Sends what the child has said: to the assistant, or to a friend. */
async function send(sound, to_user) {
  if (to_user) {
    await upload(sound, { do: "toy_uploader", to_user });
    showReady();
    find("status").textContent = t("toy_sent", { who: names.get(to_user) });
    return;
  }
  const { music, chat, from_user } = await upload(sound, { do: "ai_uploader" });
  if (music) return playMusic(music);
  show("speaking", t("toy_plays", { who: toy.name }));
  await play(chat, "chat");
  // The child has asked for a friend, who gets the next recording.
  if (names.has(from_user)) find("target").value = from_user;
  showReady();
}

const talk = find("talk");
talk.addEventListener("pointerdown", (event) => { talk.setPointerCapture(event.pointerId); startTalking(event); });
talk.addEventListener("pointerup", stopTalking);
talk.addEventListener("pointercancel", stopTalking);
talk.addEventListener("contextmenu", (event) => event.preventDefault());
talk.addEventListener("keydown", (event) => { if (event.key === " " && !event.repeat) startTalking(event); });
talk.addEventListener("keyup", (event) => { if (event.key === " ") stopTalking(); });

window.addEventListener("hashchange", begin);
begin();
