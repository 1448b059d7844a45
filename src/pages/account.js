// The account: language, password, the stored data, the audit log.

import { html, useEffect, useState } from "./vendor/preact.js";
import { family } from "./family.js";
import { Form, Languages, timeOf } from "./parts.js";
import { canNotify, notifies, setNotifies, unsubscribe } from "./notify.js";
import { has, language, t } from "./texts.js";

function Audit() {
  const [entries, setEntries] = useState([]);
  useEffect(() => {
    family.attempt(async () => {
      const about = [{}, ...family.toys.map(({ _id }) => ({ toy_id: _id }))];
      const lists = await Promise.all(about.map((fields) => family.hub.ask("audit", { ...fields, limit: 20 })));
      setEntries(lists.flat().sort((a, b) => b.at - a.at).slice(0, 40));
    });
  }, []);
  const name = (id) => (id ? family.nameOf(id) : t("operator"));
  return html`
    <ul class="plain" id="audit">${entries.map(({ at, action, by, about, place }, n) => html`
      <li key=${n}><span class="small">${timeOf(at)}</span> ${name(by)} ${has(`act_${action}`) ? t(`act_${action}`) : action}${about ? ` (${family.nameOf(about)})` : ""}${place ? ` (${place})` : ""}</li>`)}
    </ul>`;
}

/** What the hub stores, and for how long, by its settings. */
function Stored() {
  const [text, setText] = useState("");
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    if (isOpen) family.attempt(async () => setText((await family.hub.call("/consent_text", { language })).text));
  }, [isOpen, language]);
  return html`
    <details onToggle=${(event) => setOpen(event.target.open)} id="stored">
      <summary>${t("stored")}</summary>
      <p>${text}</p>
    </details>`;
}

function Notifications() {
  const [isOn, setOn] = useState(notifies());
  const [browsers, setBrowsers] = useState([]);
  const load = () => family.attempt(async () => setBrowsers(await family.hub.call("/push_list", { user_id: family.me._id })));
  useEffect(() => { load(); }, []);
  const change = ({ target }) => family.attempt(async () => {
    const isWanted = target.checked;
    if (!await setNotifies(isWanted)) family.say(t("notify_refused"));
    setOn(notifies());
    await (notifies() ? family.subscribe() : unsubscribe(family.hub));
    await load();
  });
  return html`
    ${canNotify() && html`
      <label class="check"><input type="checkbox" id="notify" checked=${isOn} onChange=${change} />${t("notify")}</label>
      <p class="small">${t("notify_how")}</p>`}
    ${browsers.length > 0 && html`
      <p class="small">${t("notified")}</p>
      <ul class="plain small" id="pushes">${browsers.map(({ service, at }) => html`<li key=${at}>${service}, ${timeOf(at)}</li>`)}</ul>`}`;
}

export function Account() {
  const [ticket, setTicket] = useState("");
  const [isAudit, setAudit] = useState(false);
  const me = family.me;
  const changePassword = async ({ password, new_password }) => {
    family.remember(await family.hub.changePassword(password, new_password));
    await family.subscribe();
    family.say(t("done"));
  };
  return html`
    <section aria-labelledby="account-title">
      <h2 id="account-title">${me.nickname} <span class="small">${me.username}</span></h2>
      <div class="card">
        <${Languages} />
        <${Notifications} />
        <button type="button" id="log-out" onClick=${() => family.logOut()}>${t("log_out")}</button>
      </div>
      <div class="card">
        <h3>${t("privacy")}</h3>
        <p>${t("privacy_text")}</p>
        <${Stored} />
        <${Form} work=${async ({ password }) => setTicket((await family.hub.ask("export", { _id: me._id, password })).ticket)}>
          <label>${t("password")}<input type="password" name="password" required autocomplete="current-password" /></label>
          <div class="buttons">
            <button>${t("export")}</button>
            ${ticket && html`<a class="button" href=${`/get_export/${ticket}`} download onClick=${() => setTicket("")}>${t("export_ready")}</a>`}
          </div>
        </${Form}>
        <details onToggle=${(event) => setAudit(event.target.open)}>
          <summary>${t("audit")}</summary>
          ${isAudit && html`<${Audit} />`}
        </details>
      </div>
      <details class="card">
        <summary><h3>${t("change_password")}</h3></summary>
        <${Form} work=${changePassword}>
          <label>${t("password")}<input type="password" name="password" required autocomplete="current-password" /></label>
          <label>${t("new_password")}<input type="password" name="new_password" required autocomplete="new-password" /></label>
          <button>${t("change_password")}</button>
        </${Form}>
      </details>
      <details class="card">
        <summary><h3>${t("erase_account")}</h3></summary>
        <p>${t("erase_warning")}</p>
        <${Form} id="erase" work=${({ password }) => family.hub.call("/erase_account", { _id: me._id, password }).then(() => family.logOut())}>
          <label>${t("password")}<input type="password" name="password" required autocomplete="current-password" /></label>
          <button class="danger full">${t("erase_account")}</button>
        </${Form}>
      </details>
    </section>`;
}
