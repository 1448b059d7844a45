// Topics and sizes, without any content.

import { html, useState } from "../vendor/preact.js";
import { Page, Search, Table, bytes, useAnswer, whole } from "./parts.js";

const INTERVAL_S = 3;

const clock = (seconds) => new Intl.DateTimeFormat(undefined, /** @type {any} */ ({ timeStyle: "medium" })).format(new Date(seconds * 1000));
const shown = (count, rows) => (count > rows.length ? `${whole(rows.length)} of ${whole(count)}` : whole(count));

export function Topics() {
  const [search, setSearch] = useState("");
  const { data, failure } = useAnswer("topics", { search }, INTERVAL_S);
  const { published = [], retained = [], filters = [] } = data ?? {};
  return html`
    <${Page} title="Topics" failure=${failure} hint="Names and sizes alone: the console never shows what families send.">
      <${Search} label="Topic contains" onsearch=${setSearch} />
      <h3>Published now</h3>
      <${Table} caption="Published now" empty="Nothing was published since this page is open."
        columns=${[["Time", "number"], ["Topic"], ["Size", "number"], ["QoS", "number"], ["Receivers", "number"], ["By"]]}>
        ${published.map(({ at, topic, bytes: size, qos, is_retained, is_of_hub, subscribers }) => html`
          <tr>
            <td class="number">${clock(at)}</td><td><code>${topic}</code></td><td class="number">${bytes(size)}</td>
            <td class="number">${qos}${is_retained ? ", retained" : ""}</td><td class="number">${whole(subscribers)}</td>
            <td>${is_of_hub ? "hub" : "client"}</td>
          </tr>`)}
      </${Table}>
      <h3>Retained messages <span class="soft">${shown(data?.retained_count ?? 0, retained)}</span></h3>
      <${Table} caption="Retained messages" columns=${[["Topic"], ["Size", "number"], ["QoS", "number"]]} empty="None.">
        ${retained.map(({ topic, bytes: size, qos }) => html`
          <tr><td><code>${topic}</code></td><td class="number">${bytes(size)}</td><td class="number">${qos}</td></tr>`)}
      </${Table}>
      <h3>Subscriptions <span class="soft">${shown(data?.filters_count ?? 0, filters)}</span></h3>
      <${Table} caption="Subscriptions" columns=${[["Filter"], ["Subscribers", "number"]]} empty="None.">
        ${filters.map(({ filter, subscribers }) => html`
          <tr><td><code>${filter}</code></td><td class="number">${whole(subscribers)}</td></tr>`)}
      </${Table}>
    </${Page}>`;
}
