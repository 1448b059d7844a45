// The users: a new password, the end of all logins, erasure.

import { html, useState } from "../vendor/preact.js";
import { change } from "./api.js";
import { Careful, Page, Search, Table, counted, useAnswer, whole } from "./parts.js";

export function Users() {
  const [search, setSearch] = useState("");
  const [said, setSaid] = useState(null);
  const { data, failure, load } = useAnswer("users", { search });
  const rows = data?.rows ?? [];
  const act = async (name, username, tell) => {
    try {
      const { lines } = await change(name, { username });
      setSaid(tell(lines));
    } catch (error) {
      setSaid({ text: error.message, isFailure: true });
    }
    await load();
  };
  return html`
    <${Page} title="Users" failure=${failure}
      hint=${data && `${counted(data.count, "user")}${data.count > rows.length ? `, of which ${whole(rows.length)} are shown; search for the others` : ""}.`}>
      ${said && html`
        <div class="card" id="said" role=${said.isFailure ? "alert" : "status"}>
          <p class=${said.isFailure ? "failure" : ""}>${said.text} ${said.code && html`<code class="code">${said.code}</code>`}</p>
        </div>`}
      <${Search} label="Name contains" onsearch=${setSearch} />
      <${Table} caption="Users" empty=${data ? "No user." : "Loading…"} columns=${[["Name"], ["Id"], ["State"], ["Actions"]]}>
        ${rows.map(({ id, username, is_online }) => html`
          <tr key=${id} data-user=${username}>
            <td class="name">${username}</td>
            <td><code>${id}</code></td>
            <td class="state"><span class="dot ${is_online ? "on" : ""}" aria-hidden="true"></span> ${is_online ? "online" : "offline"}</td>
            <td><div class="buttons">
              <${Careful} label="Reset password" question="The old one ends, and all logins."
                act=${() => act("users/password", username, ([code]) => ({ text: `The new password of ${username}, which is shown only now:`, code }))} />
              <${Careful} label="Log out" question="On all phones and pages."
                act=${() => act("users/log-out", username, () => ({ text: `${username} is logged out everywhere.` }))} />
              <${Careful} label="Erase" question="With all chats, recordings and toys. This cannot be undone."
                act=${() => act("users/erase", username, () => ({ text: `${username} is erased.` }))} />
            </div></td>
          </tr>`)}
      </${Table}>
    </${Page}>`;
}
