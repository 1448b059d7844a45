// The operator's console: the login, and the frame around its pages.

import { html, render, useEffect, useState } from "../vendor/preact.js";
import { change, session } from "./api.js";
import { Connections } from "./connections.js";
import { Content } from "./content.js";
import { Devices } from "./devices.js";
import { Log } from "./log.js";
import { Overview } from "./overview.js";
import { Form } from "./parts.js";
import { Refusals } from "./refusals.js";
import { Speech } from "./speech.js";
import { Topics } from "./topics.js";
import { Users } from "./users.js";

/** The pages by the name in the address, after `#`. */
const PAGES = {
  overview: ["Overview", Overview],
  connections: ["Connections", Connections],
  topics: ["Topics", Topics],
  devices: ["Devices", Devices],
  users: ["Users", Users],
  content: ["Content", Content],
  speech: ["Speech", Speech],
  refusals: ["Refusals", Refusals],
  log: ["Log", Log],
  password: ["Password", Password],
};

function Login({ onlogin }) {
  const work = async ({ password }) => {
    const { token } = await change("login", { password });
    session.begin(token);
    onlogin();
  };
  return html`
    <main class="door">
      <h1>toyhub console</h1>
      <${Form} label="Log in" work=${work}>
        <label>The operator's password
          <input type="password" name="password" required autocomplete="current-password" autofocus />
        </label>
        <button class="main">Log in</button>
      </${Form}>
      <p class="soft">It was printed when the hub started for the first time. <code>toyhub console-password</code> makes a new one.</p>
    </main>`;
}

function Password() {
  const [said, setSaid] = useState("");
  const work = async ({ old, new: wanted, again }, form) => {
    if (wanted !== again) throw new Error("the two new passwords differ");
    await change("password", { old, new: wanted });
    form.reset();
    setSaid("The password is changed. All other sessions have ended.");
  };
  return html`
    <section class="page" aria-labelledby="title">
      <h2 id="title">Password</h2>
      <div class="card narrow">
        <${Form} label="Change the password" work=${work}>
          <label>The old password<input type="password" name="old" required autocomplete="current-password" /></label>
          <label>The new password<input type="password" name="new" required autocomplete="new-password" /></label>
          <label>The new password again<input type="password" name="again" required autocomplete="new-password" /></label>
          <button class="main">Change the password</button>
        </${Form}>
        ${said && html`<p role="status">${said}</p>`}
      </div>
    </section>`;
}

const named = () => (location.hash.slice(1) in PAGES ? location.hash.slice(1) : "overview");

function App() {
  const [isOpen, setOpen] = useState(session.token !== "");
  const [name, setName] = useState(named());
  useEffect(() => {
    session.onend = () => setOpen(false);
    const turned = () => setName(named());
    addEventListener("hashchange", turned);
    return () => removeEventListener("hashchange", turned);
  }, []);
  // On a phone the links are in a row that scrolls.
  useEffect(() => document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }), [name, isOpen]);
  if (!isOpen) return html`<${Login} onlogin=${() => setOpen(true)} />`;
  const View = PAGES[name][1];
  const leave = async () => {
    await change("logout").catch(() => {});
    session.end();
  };
  return html`
    <div class="app">
      <header>
        <h1>toyhub <span class="soft">console</span></h1>
        <button type="button" id="log-out" onClick=${leave}>Log out</button>
      </header>
      <nav aria-label="Pages">${Object.entries(PAGES).map(([page, [title]]) => html`
        <a href="#${page}" aria-current=${page === name ? "page" : undefined}>${title}</a>`)}
      </nav>
      <main><${View} key=${name} /></main>
    </div>`;
}

render(html`<${App} />`, document.getElementById("root"));
