// The devices: a batch, a sheet of QR codes, states, secrets, and the end of a toy.

import { html, useState } from "../vendor/preact.js";
import { change } from "./api.js";
import { Careful, Form, Page, Search, Table, counted, lasted, useAnswer, whole } from "./parts.js";
import { Sheet } from "./sheet.js";

const INTERVAL_S = 15;
/** The hub knows the last activity to the hour. */
const HOUR_S = 3600;

function seen({ toy, is_online, seen_at }, now) {
  if (!toy) return "";
  if (is_online) return "now";
  if (seen_at === null) return "never";
  return now - seen_at < HOUR_S ? "in the last hour" : `${lasted(now - seen_at)} ago`;
}

/** Saves keys and secrets as a file for a spreadsheet. */
function save(devices) {
  const lines = ["key,secret", ...devices.map(({ key, secret }) => `${key},${secret}`)];
  const address = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: "devices.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function Batch({ devices, onprint, onend }) {
  return html`
    <section class="card" id="batch" aria-labelledby="batch-title">
      <h3 id="batch-title">${counted(devices.length, "new device")}</h3>
      <p><b>The secrets are shown only now.</b> <span class="soft">Save them before you leave this page.</span></p>
      <div class="buttons">
        <button type="button" class="main" onClick=${() => save(devices)}>Save as CSV</button>
        <button type="button" onClick=${() => onprint(devices.map(({ key }) => key))}>Print QR codes</button>
        <button type="button" onClick=${onend}>Close</button>
      </div>
      <${Table} caption="New devices" columns=${[["Key"], ["Secret"]]} empty="">
        ${devices.map(({ key, secret }) => html`<tr key=${key}><td><code>${key}</code></td><td><code>${secret}</code></td></tr>`)}
      </${Table}>
    </section>`;
}

export function Devices() {
  const [search, setSearch] = useState("");
  const [chosen, setChosen] = useState(/** @type {string[]} */ ([]));
  const [batch, setBatch] = useState(null);
  const [printed, setPrinted] = useState(null);
  const [said, setSaid] = useState(null);
  const { data, failure, load } = useAnswer("devices", { search }, INTERVAL_S);
  if (printed) return html`<${Sheet} keys=${printed} onend=${() => setPrinted(null)} />`;
  const rows = data?.rows ?? [];
  const act = async (name, fields, text) => {
    try {
      const { lines } = await change(name, fields);
      setSaid({ text, lines: name === "devices/renew" || name === "devices/unbind" ? lines : [] });
    } catch (error) {
      setSaid({ text: error.message, isFailure: true, lines: [] });
    }
    await load();
  };
  const add = async ({ count }, form) => {
    const { devices } = await change("devices/add", { count: Number(count) });
    form.reset();
    setBatch(devices);
    await load();
  };
  const toggle = (key) => setChosen((keys) => (keys.includes(key) ? keys.filter((other) => other !== key) : [...keys, key]));
  const all = rows.length > 0 && rows.every(({ key }) => chosen.includes(key));
  return html`
    <${Page} title="Devices" failure=${failure}
      hint=${data && `${counted(data.count, "device")}${data.count > rows.length ? `, of which the oldest ${whole(rows.length)} are shown; search for the others` : ""}.`}>
      ${batch
        ? html`<${Batch} devices=${batch} onprint=${setPrinted} onend=${() => setBatch(null)} />`
        : html`<div class="card"><${Form} label="New devices" work=${add}>
            <div class="line">
              <label>New devices<input type="number" name="count" min="1" max=${data?.batch_max ?? 1000} defaultValue="1" required /></label>
              <button class="main">Make</button>
            </div>
          </${Form}></div>`}
      ${said && html`
        <div class="card" role=${said.isFailure ? "alert" : "status"}>
          <p class=${said.isFailure ? "failure" : ""}>${said.text}</p>
          ${said.lines.map((line) => html`<p><code>${line.split("\t").join("  ")}</code></p>`)}
        </div>`}
      <div class="buttons">
        <${Search} label="Key, toy or name contains" onsearch=${setSearch} />
        <button type="button" id="print" disabled=${chosen.length === 0} onClick=${() => setPrinted(chosen)}>
          Print QR codes${chosen.length ? ` (${chosen.length})` : ""}
        </button>
      </div>
      <${Table} caption="Devices" empty=${data ? "No device." : "Loading…"} columns=${[
        [html`<input type="checkbox" aria-label="Choose all that are shown" checked=${all} onChange=${() => setChosen(all ? [] : rows.map(({ key }) => key))} />`],
        ["Key"], ["State"], ["Toy"], ["Last seen"], ["Actions"],
      ]}>
        ${rows.map((row) => html`
          <tr key=${row.key} data-device=${row.key}>
            <td><input type="checkbox" aria-label="Choose ${row.key}" checked=${chosen.includes(row.key)} onChange=${() => toggle(row.key)} /></td>
            <td><code>${row.key}</code>${row.name && html`<br /><span class="soft">${row.name}</span>`}</td>
            <td class="state"><span class="dot ${row.is_online ? "on" : ""}" aria-hidden="true"></span> ${row.toy ? (row.is_online ? "online" : "offline") : "not bound"}</td>
            <td>${row.toy && html`<code>${row.toy}</code>`}</td>
            <td>${seen(row, data.now)}</td>
            <td><div class="buttons">
              <${Careful} label="New secret" question="The old secret ends at once."
                act=${() => act("devices/renew", { key: row.key }, "The key, and the new secret, which is shown only now:")} />
              ${row.toy
                ? html`<${Careful} label="Unbind" question="The toy's data is erased."
                    act=${() => act("devices/unbind", { toy: row.toy }, "The toy is unbound. The key, and the new secret, which is shown only now:")} />`
                : html`<${Careful} label="Remove" question="It cannot be bound any more."
                    act=${() => act("devices/remove", { key: row.key }, "The device is removed.")} />`}
            </div></td>
          </tr>`)}
      </${Table}>
    </${Page}>`;
}
