// The first page: health, figures, charts, limits, backup.

import { html, useState } from "../vendor/preact.js";
import { change } from "./api.js";
import { Chart, Loading, Page, bytes, counted, lasted, timeOf, useAnswer, whole } from "./parts.js";

const PARTS = {
  store: "Database",
  disk: "Disk",
  files: "Files",
  bus: "Other hubs",
  sessions: "Sessions",
  speech: "Speech",
};
const STATES = { ok: "works", off: "off", loading: "is being loaded", degraded: "does not work", failed: "failed" };
const INTERVAL_S = 5;
const MINUTE_S = 60;

function Part({ name, part, hub }) {
  const more = {
    disk: () => `${bytes(hub.disk.free_bytes)} free, ${bytes(hub.disk.reserve_bytes)} of it in reserve`,
    files: () => (part.state === "off" ? "in the data folder" : "in a bucket"),
    bus: () => (part.state === "off" ? "a single hub" : ""),
    sessions: () => `${whole(hub.sessions.connected)} with a connection, ${whole(hub.sessions.away)} without`,
    store: () => "",
    speech: () => (part.state === "off" ? "no model is configured" : ""),
  };
  return html`
    <li class="part" data-part=${name} data-state=${part.state}>
      <span class="dot" aria-hidden="true"></span>
      <b>${PARTS[name]}</b>
      <span>${STATES[part.state]}</span>
      <span class="soft">${part.reason ?? more[name]()}</span>
    </li>`;
}

/** The changes of a counter, in a minute. */
function perMinute(at, values) {
  return values.map((value, index) => {
    if (index === 0) return 0;
    const seconds = at[index] - at[index - 1];
    return seconds > 1 ? Math.max(0, ((value - values[index - 1]) * MINUTE_S) / seconds) : 0;
  });
}

/** The mean time of a commit, in milliseconds. */
function meanMs(count, seconds) {
  return count.map((value, index) => {
    const commits = index ? value - count[index - 1] : 0;
    return commits > 0 ? ((seconds[index] - seconds[index - 1]) * 1000) / commits : 0;
  });
}

/** The figures without the last point, whose interval is too short for a rate. */
function Charts({ history }) {
  const isLong = history.at.length > 2;
  const at = isLong ? history.at.slice(0, -1) : history.at;
  const of = Object.fromEntries(history.series.map(({ name, values }) => [name, isLong ? values.slice(0, -1) : values]));
  const rate = (name) => perMinute(at, of[name]);
  const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const per = (value) => `${value < 10 && value % 1 ? value.toFixed(1) : whole(value)}/min`;
  return html`
    <div class="charts">
      <${Chart} title="Connections" at=${at} show=${whole} lines=${[
        { name: "MQTT", values: of.mqtt }, { name: "app sockets", values: of.app }, { name: "HTTP", values: of.http },
      ]} />
      <${Chart} title="Messages" at=${at} show=${per} lines=${[
        { name: "received", values: rate("received") }, { name: "sent", values: rate("sent") },
      ]} />
      <${Chart} title="Calls" at=${at} show=${per} lines=${[
        { name: "calls", values: rate("calls") }, { name: "refused", values: rate("refused") },
      ]} />
      <${Chart} title="Queues" at=${at} show=${whole} lines=${[{ name: "queued messages", values: of.queued }]} />
      <${Chart} title="Dropped" at=${at} show=${per} lines=${[{ name: "dropped", values: rate("dropped") }]} />
      <${Chart} title="Commits" at=${at} show=${milliseconds} lines=${[
        { name: "mean time", values: meanMs(of.commits, of.commit_s) },
      ]} />
      <${Chart} title="Recognition" at=${at} show=${per} lines=${[{ name: "recognised", values: rate("recognised") }]} />
      <${Chart} title="Free disk" at=${at} show=${bytes} lines=${[{ name: "free", values: of.disk_free }]} />
    </div>`;
}

function Backup({ backup, reload }) {
  const [state, setState] = useState({ isBusy: false, said: "", failure: "" });
  const act = async () => {
    setState({ isBusy: true, said: "", failure: "" });
    try {
      const made = await change("backup");
      const said = `${made.name}: ${counted(made.users, "user")}, ${counted(made.toys, "toy")}, ${counted(made.messages, "message")}; ` +
        `${bytes(made.new_bytes)} written in ${made.seconds.toFixed(1)} s`;
      setState({ isBusy: false, said, failure: "" });
      await reload();
    } catch (error) {
      setState({ isBusy: false, said: "", failure: error.message });
    }
  };
  const isRunning = state.isBusy || backup.is_running;
  return html`
    <section class="card" id="backup" aria-labelledby="backup-title">
      <h3 id="backup-title">Backup</h3>
      ${backup.is_on
        ? html`<p>${backup.newest ? `The newest is ${backup.newest.name}, of ${timeOf(backup.newest.taken_at)}.` : "There is none yet."}</p>`
        : html`<p class="soft">No folder for backups is set. Set <code>dir</code> in the section <code>[backup]</code> of broker.toml.</p>`}
      <div class="buttons"><button type="button" disabled=${isRunning || !backup.is_on} onClick=${act}>${isRunning ? "Backing up…" : "Back up now"}</button></div>
      ${state.said && html`<p role="status">${state.said}</p>`}
      ${state.failure && html`<p class="failure" role="alert">${state.failure}</p>`}
    </section>`;
}

function Limits({ limits }) {
  return html`
    <section class="card" aria-labelledby="limits-title">
      <h3 id="limits-title">Limits</h3>
      <ul class="limits">${limits.map(({ name, used, max }) => html`
        <li key=${name}>
          <span>${name}</span>
          <span class="number">${whole(used)} of ${whole(max)}</span>
          <meter min="0" max=${max} high=${max * 0.8} optimum="0" value=${used} aria-label=${name}>${used}</meter>
        </li>`)}
      </ul>
    </section>`;
}

export function Overview() {
  const { data: hub, failure, load } = useAnswer("overview", {}, INTERVAL_S);
  const { data: history } = useAnswer("history", {}, 3 * INTERVAL_S);
  if (!hub) return html`<${Loading} failure=${failure} />`;
  const isReady = hub.health.ready;
  return html`
    <${Page} title="Overview" failure=${failure}>
      <p class="verdict" data-ready=${isReady ? "1" : "0"}>
        <b>${isReady ? "All parts work." : "A part does not work."}</b>
        <span class="soft">toyhub ${hub.version}, running for ${lasted(hub.now - hub.started_at)}</span>
      </p>
      <ul class="parts">${Object.entries(hub.health.parts).map(([name, part]) => html`
        <${Part} key=${name} name=${name} part=${part} hub=${hub} />`)}
      </ul>
      <dl class="figures">
        <div><dt>MQTT</dt><dd id="mqtt-open">${whole(hub.connections.mqtt)}</dd></div>
        <div><dt>App sockets</dt><dd>${whole(hub.connections.app)}</dd></div>
        <div><dt>Legacy sockets</dt><dd>${whole(hub.connections.legacy)}</dd></div>
        <div><dt>HTTP</dt><dd>${whole(hub.connections.http)}</dd></div>
        <div><dt>Queued</dt><dd>${whole(hub.queued)}</dd></div>
        <div><dt>Longest queue</dt><dd>${whole(hub.queued_max)}</dd></div>
        <div><dt>Retained</dt><dd>${whole(hub.retained)}</dd></div>
      </dl>
      <h3>The last two hours</h3>
      ${history ? html`<${Charts} history=${history} />` : html`<${Loading} />`}
      <div class="columns">
        <${Limits} limits=${hub.limits} />
        <${Backup} backup=${hub.backup} reload=${load} />
      </div>
    </${Page}>`;
}
