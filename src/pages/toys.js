// The toys of the family: their state, their settings, and a new one.

import { html, useEffect, useState } from "./vendor/preact.js";
import { family } from "./family.js";
import { Careful, Form, picture, useFocus } from "./parts.js";
import { language, t } from "./texts.js";

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

function Scanner({ place, onfound, onend }) {
  useEffect(() => {
    let stop = () => {};
    let isOver = false;
    import("./scan.js").then(async ({ watch }) => {
      try {
        stop = await watch(document.getElementById("camera"), onfound);
        if (isOver) stop();
      } catch {
        family.say(t("camera_refused"));
        onend();
      }
    });
    return () => { isOver = true; stop(); };
  }, []);
  return html`
    <div class="scanner">
      <p class="small">${t("scanning")}</p>
      <video id="camera" muted playsinline></video>
      <button type="button" ref=${place} onClick=${onend}>${t("cancel")}</button>
    </div>`;
}

/** The device key of a scanned text. */
const keyOf = (text) => text.trim();

function NewToy({ go }) {
  const [key, setKey] = useState(sessionStorage.getItem("toyhub.bind") ?? "");
  const [isScanning, setScanning] = useState(false);
  const [isOpen, setOpen] = useState(family.toys.length === 0 || key !== "");
  const [consent, setConsent] = useState(null);
  const place = useFocus(isScanning);
  const isLinked = family.link === "open";
  useEffect(() => {
    if (isLinked && consent?.language !== language) family.hub.call("/consent_text", { language }).then(setConsent, () => {});
  }, [isLinked, language]);
  const found = (text) => { setScanning(false); setKey(keyOf(text)); family.say(""); };
  const fromPicture = (event) => family.attempt(async () => {
    const { read } = await import("./scan.js");
    const text = await read(event.target.files[0]);
    if (text) found(text);
    else family.say(t("no_code"));
  });
  const bind = async (given) => {
    const device_key = keyOf(given.device_key);
    await family.hub.ask("scan_qr", { device_key });
    await family.hub.ask("bind_toy", { ...given, device_key, consent: consent?.version });
    sessionStorage.removeItem("toyhub.bind");
    setKey("");
    setOpen(false);
    const isFirst = family.toys.length === 0;
    await family.loadToys();
    await family.loadFriends();
    family.say(t("bound", { name: given.toy_name }));
    if (isFirst) go("chats");
  };
  return html`
    <details class="card" open=${isOpen} onToggle=${(event) => setOpen(event.target.open)} id="new-toy">
      <summary><h3>${t("add_toy")}</h3></summary>
      ${isScanning ? html`<${Scanner} place=${place} onfound=${found} onend=${() => setScanning(false)} />` : html`
        <div class="buttons">
          <button type="button" ref=${place} onClick=${() => setScanning(true)}>${t("scan")}</button>
          <label class="button">${t("from_picture")}<input type="file" accept="image/*" class="unseen" onChange=${fromPicture} /></label>
        </div>`}
      <${Form} id="bind" work=${bind}>
        <label>${t("device_key")}
          <input name="device_key" required value=${key} onInput=${(event) => setKey(event.target.value)} autocomplete="off" spellcheck=${false} />
        </label>
        <label>${t("toy_name")}<input name="toy_name" required maxlength="64" autocomplete="off" /></label>
        <label>${t("baby_name")}<input name="baby_name" required maxlength="64" autocomplete="off" /></label>
        <label>${t("remark")}<input name="remark" required maxlength="64" autocomplete="off" defaultValue=${family.me.nickname} /></label>
        ${consent && html`
          <p class="small consent" tabindex="0">${consent.text}</p>
          <label class="check"><input type="checkbox" required />${t("consent")}</label>`}
        <button class="main">${t("bind")}</button>
      </${Form}>
    </details>`;
}

function Settings({ toy, isOwner }) {
  const about = { user_id: family.me._id, toy_id: toy._id };
  const ask = (word, more = {}) => family.hub.ask(word, { ...about, ...more });
  const [settings, setSettings] = useState(null);
  const [guardians, setGuardians] = useState([]);
  const [content, setContent] = useState([]);
  const [voice, setVoice] = useState(null);
  const [invite, setInvite] = useState("");
  const load = () => family.attempt(async () => {
    setSettings(await ask("toy_settings"));
    setGuardians(await ask("guardian_list"));
    setContent(await family.hub.ask("content_list"));
    setVoice(await ask("toy_voice"));
  });
  useEffect(() => { load(); }, []);
  if (!settings) return html`<p class="small">…</p>`;
  const change = async (word, more) => { await ask(word, more); await load(); family.say(t("done")); };
  return html`
    <div class="settings">
      <h4>${t("quiet_hours")}</h4>
      <${Form} work=${({ from, until }) => change("set_quiet_hours", { from, until, zone: ZONE })}>
        <div class="pair">
          <label>${t("from")}<input type="time" name="from" required defaultValue=${settings.from ?? "20:00"} /></label>
          <label>${t("until")}<input type="time" name="until" required defaultValue=${settings.until ?? "07:00"} /></label>
        </div>
        <div class="buttons">
          <button>${t("save")}</button>
          ${settings.from && html`<button type="button" onClick=${() => family.attempt(() => change("set_quiet_hours"))}>${t("none_set")}</button>`}
        </div>
      </${Form}>
      <${Form} work=${({ minutes }) => change("set_daily_minutes", minutes ? { minutes, zone: ZONE } : {})}>
        <label>${t("minutes")}<input type="number" name="minutes" min="1" max="1440" defaultValue=${settings.minutes ?? ""} /></label>
        ${settings.minutes_used !== undefined && html`<p class="small">${t("minutes_used", { n: settings.minutes_used })}</p>`}
        <div class="buttons"><button>${t("save")}</button></div>
      </${Form}>
      ${voice && html`
        <${Form} work=${(given) => change("set_toy_voice", given)}>
          <div class="pair">
            <label>${t("voice")}<select name="voice">
              <option value="" defaultSelected=${!voice.voice}>${t("own_voice")}</option>
              ${voice.voices.map((name) => html`<option value=${name} defaultSelected=${name === voice.voice}>${name}</option>`)}
            </select></label>
            <label>${t("pace")}<select name="speed">
              ${voice.speeds.map((speed) => html`<option value=${speed} defaultSelected=${speed === voice.speed}>${speed}</option>`)}
            </select></label>
          </div>
          <div class="buttons"><button>${t("save")}</button></div>
        </${Form}>`}
      <h4>${t("content")}</h4>
      <select aria-label=${t("content")} value=${settings.approved_only ? "approved" : "all"}
          onChange=${(event) => family.attempt(() => change("set_content", { content: event.target.value }))}>
        <option value="all">${t("all_content")}</option>
        <option value="approved">${t("approved_only")}</option>
      </select>
      ${settings.approved_only && html`
        <ul class="plain">${content.map(({ _id, title }) => html`
          <li key=${_id}><label class="check">
            <input type="checkbox" checked=${settings.approved.includes(_id)} onChange=${(event) => family.attempt(() =>
              change("approve_content", { content_id: _id, ...(!event.target.checked && { withdraw: true }) }))} />${title}
          </label></li>`)}
        </ul>`}
      <h4>${t("household")}</h4>
      <ul class="plain">${guardians.map(({ _id, nickname, is_first }) => html`
        <li key=${_id}>${nickname} ${is_first ? html`<span class="small">(${t("owner")})</span>` : ""}
          ${!is_first && (isOwner || _id === family.me._id) && html`
            <${Careful} label=${t("remove")} act=${() => family.attempt(() => change("remove_guardian", { guardian_id: _id }))} />`}
        </li>`)}
      </ul>
      <button type="button" onClick=${() => family.attempt(async () => setInvite((await ask("invite")).invite))}>${t("invite")}</button>
      ${invite && html`<p role="status">${t("invite_shown")} <code>${invite}</code></p>`}
      <h4>${t("address_book", { name: toy.toy_name })}</h4>
      <ul class="plain">${toy.friend_list.map((friend) => html`
        <li key=${friend.friend_id}>${friend.friend_remark || friend.friend_nick}
          ${friend.friend_id !== toy.bind_user && html`
            <${Careful} label=${t("unfriend")} act=${() => family.attempt(async () => {
              await ask("unfriend", { friend_id: friend.friend_id });
              await family.loadToys();
            })} />
            <${Careful} label=${t("block")} act=${() => family.attempt(async () => {
              await ask("block", { friend_id: friend.friend_id });
              await family.loadToys();
            })} />`}
        </li>`)}
      </ul>
      ${isOwner && html`
        <button type="button" onClick=${() => family.attempt(async () => {
          await ask("let_in");
          family.wantIn.delete(toy._id);
          family.say(t("let_in_done", { name: toy.toy_name }));
        })}>${t("let_in", { name: toy.toy_name })}</button>
        <${Careful} label=${t("unbind")} act=${() => family.attempt(async () => {
          await ask("unbind_toy");
          await family.loadToys();
          await family.loadFriends();
        })} />`}
    </div>`;
}

function Toy({ toy }) {
  const isOwner = toy.bind_user === family.me._id;
  const isOnline = family.online.get(toy._id);
  const { battery, volume } = family.reported.get(toy._id) ?? {};
  const [isOpen, setOpen] = useState(false);
  // Where the user has moved the volume, until the toy reports one.
  const [moved, setMoved] = useState(null);
  useEffect(() => setMoved(null), [volume]);
  return html`
    <li class="card toy" data-toy=${toy._id} data-online=${isOnline ? "1" : "0"}>
      <div class="row">
        <img src=${picture(toy.avatar)} alt="" width="56" height="56" />
        <div class="grow">
          <h3>${toy.toy_name}</h3>
          <span class="small">${t("belongs", { name: toy.baby_name })}</span>
          <span class="small"><span class="dot" aria-hidden="true"></span>${t(isOnline ? "online" : "offline")}${battery ? ` · ${t("battery", { n: battery })}` : ""}</span>
        </div>
      </div>
      ${isOwner && isOnline && html`
        <label class="volume">${t("volume")}
          <input type="range" min="0" max="100" step="5" value=${moved ?? volume ?? 70} onInput=${(event) => setMoved(event.target.value)}
              onChange=${(event) => family.attempt(() =>
                family.hub.ask("publish", { topic: `toy/${toy._id}/cmd/volume`, payload: event.target.value }))} />
        </label>`}
      ${family.wantIn.has(toy._id) && html`<p role="status">${t("wants_in", { name: toy.toy_name })}</p>`}
      <details open=${isOpen} onToggle=${(event) => setOpen(event.target.open)}>
        <summary aria-label=${t("settings_of", { name: toy.toy_name })}>${t("settings")}</summary>
        ${isOpen && html`<${Settings} toy=${toy} isOwner=${isOwner} />`}
      </details>
    </li>`;
}

export function Toys({ go }) {
  const join = async ({ invite }) => {
    await family.hub.ask("join", { user_id: family.me._id, invite });
    await family.loadToys();
    await family.loadFriends();
  };
  return html`
    <section aria-labelledby="toys-title">
      <h2 id="toys-title">${t("toys")}</h2>
      ${family.toys.length === 0 && html`<p class="empty-hint">${t("no_toys")}</p>`}
      <ul class="cards">${family.toys.map((toy) => html`<${Toy} key=${toy._id} toy=${toy} />`)}</ul>
      ${family.isLoaded && html`<${NewToy} go=${go} />`}
      <details class="card">
        <summary><h3>${t("join")}</h3></summary>
        <${Form} work=${join}>
          <label>${t("invite_code")}<input name="invite" required autocomplete="off" /></label>
          <button>${t("join")}</button>
        </${Form}>
      </details>
    </section>`;
}
