// The list of chats, and one chat: its messages, the player and the recorder.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { family } from "./family.js";
import { Careful, Icon, Menu, picture, timeOf, useFocus } from "./parts.js";
import { NoMicrophone, Recording } from "./recorder.js";
import { t } from "./texts.js";

const player = new Audio();
/** The message in the player, and the friend of its chat. */
let playing = null;
let from = "";

// Nothing is played after the end of a login.
family.addEventListener("change", () => { if (!family.me) player.pause(); });

function friendName(friend) {
  return friend.friend_remark || friend.friend_nick || "?";
}

async function toggle(message) {
  if (playing === message && !player.paused) return player.pause();
  if (playing === message && player.currentTime < player.duration) return player.play();
  player.pause();
  playing = message;
  from = family.chat.friend_id;
  const sound = message.blob ?? await family.hub.sound(message.sound);
  if (playing !== message) return undefined;
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(sound);
  try {
    await player.play();
  } catch {
    family.say(t("cannot_play"));
  }
  return undefined;
}

for (const event of ["play", "pause", "timeupdate", "durationchange"]) {
  player.addEventListener(event, () => family.changed());
}
player.addEventListener("ended", () => {
  // Marked only now: a message that was not played to its end stays unread.
  const [message, friend] = [playing, from];
  family.attempt(() => family.heard(message, friend));
});

function Message({ message }) {
  const isCurrent = playing === message;
  const isRunning = isCurrent && !player.paused;
  const who = message.own ? t("you") : friendName(family.chat);
  const time = timeOf(message.time);
  const length = Number.isFinite(player.duration) ? player.duration : 0;
  return html`
    <li class=${message.own ? "own" : "theirs"} data-state=${message.state} data-message=${message._id}>
      <button type="button" class="play" aria-label=${t(isRunning ? "pause" : "play", { who, time })}
          onClick=${() => family.attempt(() => toggle(message))}><${Icon} name=${isRunning ? "pause" : "play"} /></button>
      <div class="bubble">
        <input type="range" aria-label=${t("position")} min="0" max=${isCurrent && length ? length : 1} step="0.05"
            disabled=${!isCurrent || !length} value=${isCurrent ? player.currentTime : 0}
            onInput=${(event) => { player.currentTime = Number(event.target.value); }} />
        <span class="small">${time} · <span class="state">${t(`state_${message.state}`)}</span></span>
      </div>
      <${Menu} label=${t("message_menu", { who, time })}>
        <${Careful} label=${t("erase_message")} act=${() => family.attempt(async () => {
          await family.hub.ask("erase_message", { message: message._id });
          family.messages = family.messages.filter((other) => other !== message);
        })} />
      </${Menu}>
    </li>`;
}

function Waiting({ item }) {
  return html`
    <li class="own" data-state=${item.state}>
      <div class="bubble">
        <span>${item.seconds.toFixed(1)} s</span>
        <span class="small state">${t(`state_${item.state}`)}${item.state === "failed" ? `: ${item.reason?.message ?? ""}` : ""}</span>
      </div>
      ${item.state !== "sending" && html`
        ${item.state === "failed" && html`<button type="button" onClick=${() => { item.state = "waiting"; family.flush(); }}>${t("again")}</button>`}
        <button type="button" onClick=${() => family.attempt(() => family.outbox.drop(item))}>${t("discard")}</button>`}
    </li>`;
}

function Recorder({ friend }) {
  const [recording, setRecording] = useState(/** @type {Recording | null} */ (null));
  const [, tick] = useState(0);
  const current = useRef(null);
  /** Whether the microphone is being asked for, and whether this chat is still shown. */
  const isStarting = useRef(false);
  const isShown = useRef(true);
  const place = useFocus(recording === null);
  const finish = async (isKept) => {
    const own = current.current;
    if (!own) return;
    current.current = null;
    setRecording(null);
    const { sound, seconds } = await own.finish();
    if (isKept) await family.post(friend.friend_id, sound, seconds);
  };
  // A chat that is left, or a login that ends, keeps the recording.
  useEffect(() => () => { isShown.current = false; finish(true); }, []);
  useEffect(() => {
    if (!recording) return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 200);
    return () => clearInterval(timer);
  }, [recording]);
  const start = async () => {
    if (isStarting.current) return;
    isStarting.current = true;
    family.say("");
    try {
      player.pause();
      const started = await Recording.start(() => finish(true));
      // The user may have left while the browser asked.
      if (!isShown.current) {
        await started.finish();
        return;
      }
      current.current = started;
      setRecording(started);
    } catch (error) {
      if (!(error instanceof NoMicrophone)) throw error;
      family.say(t(error.reason));
    } finally {
      isStarting.current = false;
    }
  };
  if (!recording) {
    return html`
      <div class="recorder">
        <button type="button" key="record" ref=${place} class="main big" id="record" onClick=${start}><${Icon} name="microphone" /> ${t("record")}</button>
      </div>`;
  }
  return html`
    <div class="recorder is-recording">
      <output aria-label=${t("record")} data-seconds=${recording.seconds.toFixed(1)}>${t("recording", { s: recording.seconds.toFixed(0) })}</output>
      <button type="button" key="cancel" id="cancel" onClick=${() => finish(false)}>${t("discard")}</button>
      <button type="button" key="send" ref=${place} class="main" id="send" onClick=${() => finish(true)}>${t("send")}</button>
    </div>`;
}

function Chat({ friend }) {
  const end = useRef(null);
  const title = useRef(null);
  // On a phone the row that was clicked is gone.
  useEffect(() => title.current?.focus({ preventScroll: true }), []);
  const waiting = family.outbox.items.filter(({ to }) => to === friend.friend_id);
  const count = family.messages.length + waiting.length;
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [count]);
  const about = { user_id: family.me._id, friend_id: friend.friend_id };
  const isOwnToy = family.toys.some(({ _id }) => _id === friend.friend_id);
  return html`
    <section class="chat" aria-labelledby="chat-title">
      <div class="chat-head">
        <button type="button" class="quiet back" onClick=${() => family.openChat(null)} aria-label=${t("back")}><${Icon} name="back" /></button>
        <h2 id="chat-title" ref=${title} tabindex="-1">${friendName(friend)}</h2>
        <${Menu} label=${t("chat_menu")}>
          <button type="button" onClick=${() => family.attempt(async () => {
            await family.hub.ask("mute", { ...about, ...(friend.muted && { withdraw: true }) });
            await family.loadFriends();
          })}>${t(friend.muted ? "unmute" : "mute")}</button>
          <${Careful} label=${t("erase_chat")} act=${() => family.attempt(async () => {
            await family.hub.ask("erase_chat", { chat_id: friend.friend_chat });
            family.messages = [];
          })} />
          ${!isOwnToy && html`
            <${Careful} label=${t("unfriend")} act=${() => family.attempt(() => family.hub.ask("unfriend", about))} />
            <${Careful} label=${t("block")} act=${() => family.attempt(() => family.hub.ask("block", about))} />`}
        </${Menu}>
      </div>
      <div class="scroll" tabindex="0" role="region" aria-labelledby="chat-title">
        ${family.isPartial && html`
          <p class="small">${t("only_unread")}
            <button type="button" class="quiet" id="earlier" onClick=${() => family.attempt(() => family.showHistory())}>${t("earlier")}</button>
          </p>`}
        ${count === 0 && html`<p class="empty-hint">${t("no_messages")}</p>`}
        <ol id="messages">
          ${family.messages.map((message) => html`<${Message} key=${message._id} message=${message} />`)}
          ${waiting.map((item) => html`<${Waiting} key=${item.upload} item=${item} />`)}
        </ol>
        <div ref=${end}></div>
      </div>
      <${Recorder} friend=${friend} key=${friend.friend_id} />
    </section>`;
}

export function Chats() {
  const friends = [...family.friends.values()];
  return html`
    <div class="columns">
      <section class="list" aria-labelledby="chats-title">
        <h2 id="chats-title">${t("chats")}</h2>
        ${friends.length === 0 && html`<p class="empty-hint">${t("no_chats")}</p>`}
        <ul>
          ${friends.map((friend) => html`
            <li key=${friend.friend_id}>
              <button type="button" class="row" data-friend=${friend.friend_id}
                  aria-current=${family.chat?.friend_id === friend.friend_id ? "true" : undefined}
                  data-online=${family.online.get(friend.friend_id) ? "1" : "0"}
                  onClick=${() => family.attempt(() => family.openChat(friend))}>
                <img src=${picture(friend.friend_avatar)} alt="" width="44" height="44" loading="lazy" />
                <span class="grow"><b>${friendName(friend)}</b>
                  <span class="small"><span class="dot" aria-hidden="true"></span>${t(family.online.get(friend.friend_id) ? "online" : "offline")}</span>
                </span>
                ${friend.unread > 0 && html`<span class="badge">${t("unread", { n: friend.unread })}</span>`}
              </button>
            </li>`)}
        </ul>
      </section>
      ${family.chat ? html`<${Chat} friend=${family.chat} key=${family.chat.friend_id} />`
        : html`<p class="empty-hint wide-only">${t("choose_chat")}</p>`}
    </div>`;
}
