// The family's app: the frame around the views, and the login.

import { html, render, useEffect, useReducer, useState } from "./vendor/preact.js";
import { Account } from "./account.js";
import { Chats } from "./chat.js";
import { family } from "./family.js";
import { People } from "./people.js";
import { Icon, Languages, fields } from "./parts.js";
import { Toys } from "./toys.js";
import { read, sentence, t } from "./texts.js";

const VIEWS = { chats: Chats, toys: Toys, people: People, account: Account };

function Door() {
  const [isNew, setNew] = useState(!read("toyhub.known"));
  const [failure, setFailure] = useState("");
  const [isBusy, setBusy] = useState(false);
  const enter = async (event) => {
    event.preventDefault();
    const given = fields(event);
    setBusy(true);
    try {
      if (isNew) await family.hub.call("/reg", given);
      await family.login(given.username, given.password);
    } catch (error) {
      setFailure(sentence(error));
      setBusy(false);
    }
  };
  return html`
    <main class="door">
      <img src="${icon}" alt="" width="88" height="88" />
      <h1>${t("welcome")}</h1>
      <form class="card form" onSubmit=${enter} id="door">
        <h2>${t(isNew ? "register" : "log_in")}</h2>
        <label>${t("username")}<input name="username" autocomplete="username" required maxlength="64" /></label>
        <label>${t("password")}
          <input name="password" type="password" required autocomplete=${isNew ? "new-password" : "current-password"} />
        </label>
        ${isNew && html`
          <label>${t("nickname")}<input name="nickname" autocomplete="nickname" required maxlength="64" /></label>
          <label>${t("gender")}
            <select name="gender"><option value="2">${t("woman")}</option><option value="1">${t("man")}</option></select>
          </label>
          <label>${t("invite_code")}<input name="invite" autocomplete="off" /></label>`}
        ${failure && html`<p role="alert" class="failure">${failure}</p>`}
        <button class="main" disabled=${isBusy}>${t(isNew ? "register" : "log_in")}</button>
        <button type="button" class="quiet" onClick=${() => { setNew(!isNew); setFailure(""); }}>
          ${t(isNew ? "to_log_in" : "to_register")}
        </button>
      </form>
      <${Languages} />
      ${family.note && html`<p role="status" class="note">${family.note}</p>`}
    </main>`;
}

const icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]")).href;

function App() {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const [view, setView] = useState("chats");
  useEffect(() => {
    family.addEventListener("change", redraw);
    return () => family.removeEventListener("change", redraw);
  }, []);
  // A new family begins with its toy. Later events change no view: the user may be typing in it.
  useEffect(() => {
    if (family.isLoaded && family.toys.length === 0 && family.friends.size === 0) setView("toys");
  }, [family.isLoaded]);
  if (family.isResuming) {
    return html`<main class="door"><h1>toyhub</h1><p role="status">${t(`link_${family.link === "waiting" ? "waiting" : "connecting"}`)}</p></main>`;
  }
  if (!family.me) return html`<${Door} />`;
  const unread = [...family.friends.values()].reduce((sum, friend) => sum + friend.unread, 0);
  const badges = { chats: unread, people: family.requests.length, toys: family.wantIn.size };
  return html`
    <div class=${`app ${family.chat && view === "chats" ? "in-chat" : ""}`}>
      <header>
        <h1><img src=${icon} alt="" width="28" height="28" /> toyhub</h1>
        <span role="status" class="link" data-link=${family.link} id="link">${t(`link_${family.link}`)}</span>
      </header>
      <nav aria-label=${t("nav")}>
        ${Object.keys(VIEWS).map((name) => html`
          <button type="button" key=${name} data-view=${name} aria-current=${view === name ? "page" : undefined}
              onClick=${() => { setView(name); family.note = ""; family.openChat(null); }}>
            <${Icon} name=${name} /> ${t(name)}
            ${badges[name] > 0 && html`<span class="badge">${badges[name]}</span>`}
          </button>`)}
      </nav>
      <main><${VIEWS[view]} go=${setView} /></main>
      <p role="status" class=${`note ${family.note ? "" : "empty"}`} id="note">
        ${family.note && html`<span>${family.note}</span>
          <button type="button" class="quiet" aria-label=${t("close")} onClick=${() => family.say("")}><${Icon} name="close" /></button>`}
      </p>
    </div>`;
}

document.title = "toyhub";
render(html`<${App} />`, document.getElementById("root"));
family.resume();
// Only a page of this machine or over HTTPS may have one.
navigator.serviceWorker?.register("/sw.js").catch(() => {});
