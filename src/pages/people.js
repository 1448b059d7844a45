// Friends: requests to the user and to the user's toys, new requests, and blocked parties.

import { html, useEffect, useState } from "./vendor/preact.js";
import { family } from "./family.js";
import { Form } from "./parts.js";
import { t } from "./texts.js";

function Request({ request }) {
  const answer = (word, more) => family.attempt(async () => {
    await family.hub.ask(word, { req_id: request._id, ...more });
    await Promise.all([family.loadRequests(), family.loadFriends(), family.loadToys()]);
  });
  const from = family.toys.some(({ _id }) => _id === request.req_user) ? family.nameOf(request.req_user) : request.nickname;
  const to = request.add_user === family.me._id ? t("me") : request.toy_name || request.add_user;
  const [remark, setRemark] = useState(request.nickname);
  return html`
    <li class="card" data-request=${request._id}>
      <p><b>${t("request_line", { from, to })}</b></p>
      ${request.req_info && html`<p class="quote">${request.req_info}</p>`}
      <label>${t("your_name")}<input value=${remark} onInput=${(event) => setRemark(event.target.value)} maxlength="64" /></label>
      <div class="buttons">
        <button type="button" class="main" onClick=${() => answer("acc_req", { remark })}>${t("accept")}</button>
        <button type="button" onClick=${() => answer("ref_req")}>${t("refuse")}</button>
      </div>
    </li>`;
}

function Blocked() {
  const [list, setList] = useState([]);
  const load = () => family.attempt(async () => setList(await family.hub.ask("block_list", { user_id: family.me._id })));
  useEffect(() => { load(); }, []);
  if (list.length === 0) return null;
  return html`
    <h3>${t("blocked")}</h3>
    <ul class="plain">${list.map(({ friend_id, friend_nick }) => html`
      <li key=${friend_id}>${friend_nick || friend_id}
        <button type="button" onClick=${() => family.attempt(async () => {
          await family.hub.ask("unblock", { user_id: family.me._id, friend_id });
          await load();
        })}>${t("unblock")}</button>
      </li>`)}
    </ul>`;
}

export function People() {
  const add = async ({ add_user, req_user, remark, req_info }) => {
    const type = req_user === family.me._id ? "app" : "toy";
    const fields = { req_user, add_user, type, remark, req_info: req_info ?? "" };
    // With the token this is the guardian's consent for its toy, too.
    await family.hub.call("/add_req", fields);
    family.say(t("request_sent"));
  };
  return html`
    <section aria-labelledby="people-title">
      <h2 id="people-title">${t("people")}</h2>
      <h3>${t("requests")}</h3>
      ${family.requests.length === 0 && html`<p class="empty-hint">${t("no_requests")}</p>`}
      <ul class="cards">${family.requests.map((request) => html`<${Request} key=${request._id} request=${request} />`)}</ul>
      <div class="card">
        <h3>${t("add_friend")}</h3>
        <${Form} id="add-friend" work=${add}>
          <label>${t("friend_id")}<input name="add_user" required pattern="[0-9a-fA-F]{24}" autocomplete="off" spellcheck=${false} /></label>
          <label>${t("as_whom")}
            <select name="req_user">
              <option value=${family.me._id}>${t("me")}</option>
              ${family.toys.map(({ _id, toy_name }) => html`<option value=${_id}>${toy_name}</option>`)}
            </select>
          </label>
          <label>${t("your_name")}<input name="remark" required maxlength="64" autocomplete="off" /></label>
          <label>${t("greeting")}<input name="req_info" maxlength="200" autocomplete="off" /></label>
          <button class="main">${t("add_friend")}</button>
        </${Form}>
      </div>
      <div class="card">
        <p>${t("my_id")}: <code id="my-id">${family.me._id}</code></p>
        ${family.toys.map(({ _id, toy_name }) => html`<p key=${_id}>${toy_name}: <code>${_id}</code></p>`)}
      </div>
      <${Blocked} />
    </section>`;
}
