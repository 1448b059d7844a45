// The live connections.

import { html, useState } from "../vendor/preact.js";
import { Page, Search, Table, bytes, counted, lasted, useAnswer, whole } from "./parts.js";

const INTERVAL_S = 5;
const KINDS = { app: "user", toy: "toy" };

export function Connections() {
  const [search, setSearch] = useState("");
  const { data, failure } = useAnswer("connections", { search }, INTERVAL_S);
  const rows = data?.rows ?? [];
  return html`
    <${Page} title="Connections" failure=${failure}
      hint=${data && `${counted(data.count, "connection")}${data.count > rows.length ? `, of which ${whole(rows.length)} are shown; search for the others` : ""}. Those with the longest queues come first.`}>
      <${Search} label="Id begins with" onsearch=${setSearch} />
      <${Table} caption="Connections" empty=${data ? "No connection." : "Loading…"}
        columns=${[["Party"], ["Protocol"], ["Address"], ["Since", "number"], ["Received", "number"], ["Sent", "number"], ["Queue", "number"], ["Filters", "number"], ["Dropped", "number"]]}>
        ${rows.map(({ kind, id, link, queued, subscriptions, dropped }) => html`
          <tr>
            <td><span class="soft">${KINDS[kind]}</span> <code>${id}</code></td>
            <td>${link?.protocol ?? "…"}</td>
            <td>${link?.address ?? ""}</td>
            <td class="number">${link ? lasted(data.now - link.since) : ""}</td>
            <td class="number">${link ? bytes(link.received) : ""}</td>
            <td class="number">${link ? bytes(link.sent) : ""}</td>
            <td class="number">${whole(queued)}</td>
            <td class="number">${whole(subscriptions)}</td>
            <td class="number">${whole(dropped)}</td>
          </tr>`)}
      </${Table}>
    </${Page}>`;
}
