// Small parts that several pages of the console use.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { read } from "./api.js";

const MINUTE_S = 60;
const HOUR_S = 3600;
const DAY_S = 86_400;

/** A number of bytes, for people. @param {number} count */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${at && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

/** A whole number with its groups. @param {number} count */
export const whole = (count) => new Intl.NumberFormat("en").format(Math.round(count));

/** A number of things. @param {number} count @param {string} one the word for one of them */
export const counted = (count, one) => `${whole(count)} ${one}${count === 1 ? "" : "s"}`;

/** How long something has lasted. @param {number} seconds */
export function lasted(seconds) {
  if (seconds < MINUTE_S) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min`;
  if (seconds < 2 * DAY_S) return `${Math.floor(seconds / HOUR_S)} h ${Math.floor((seconds % HOUR_S) / MINUTE_S)} min`;
  return `${Math.floor(seconds / DAY_S)} days`;
}

/** A time, with the date unless it is today. @param {number} seconds since 1970 */
export function timeOf(seconds) {
  const time = new Date(seconds * 1000);
  const isToday = time.toDateString() === new Date().toDateString();
  const format = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(undefined, /** @type {any} */ (format)).format(time);
}

/**
 * The answer of a call, read again at an interval while the page is seen. `load` reads it at once, after a change.
 * @param {string} name @param {Record<string, unknown>} query
 */
export function useAnswer(name, query = {}, intervalS = 0) {
  const [state, setState] = useState({ data: null, failure: "" });
  const key = JSON.stringify([name, query]);
  const current = useRef(key);
  current.current = key;
  const load = async (isBackground = false) => {
    try {
      const data = await read(name, query, { isBackground });
      if (current.current === key) setState({ data, failure: "" });
    } catch (error) {
      if (current.current === key) setState(({ data }) => ({ data, failure: error.message }));
    }
  };
  useEffect(() => {
    load();
    if (!intervalS) return undefined;
    const timer = setInterval(() => { if (!document.hidden) load(true); }, intervalS * 1000);
    return () => clearInterval(timer);
  }, [key]);
  return { ...state, load };
}

/** What a page shows until its answer is there. */
export function Loading({ failure }) {
  if (failure) return html`<p class="failure" role="alert">${failure}</p>`;
  return html`<p class="soft">Loading…</p>`;
}

/** A page of the console with its title. */
export function Page({ title, hint, actions, failure, children }) {
  return html`
    <section class="page" aria-labelledby="title">
      <div class="head">
        <h2 id="title">${title}</h2>
        ${actions && html`<div class="buttons">${actions}</div>`}
      </div>
      ${hint && html`<p class="soft hint">${hint}</p>`}
      ${failure && html`<p class="failure" role="alert">${failure}</p>`}
      ${children}
    </section>`;
}

/** Notes the name of its column in each cell, for phones, where a row is a block. */
function named(rows, columns) {
  for (const row of rows.flat()) {
    const cells = [row.props.children].flat().filter((cell) => cell?.type === "td");
    cells.forEach((cell, index) => {
      const [name] = columns[index];
      if (typeof name === "string") cell.props["data-label"] = name;
    });
  }
  return rows;
}

/**
 * A table, which scrolls on its own where it is too wide.
 * @param {{caption: string, columns: Array<[string, string?]>, empty: string, children: any}} props
 */
export function Table({ caption, columns, empty, children }) {
  if (!children?.length) return html`<p class="soft empty">${empty}</p>`;
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label=${caption}>
      <table>
        <thead><tr>${columns.map(([name, kind]) => html`<th scope="col" class=${kind}>${name}</th>`)}</tr></thead>
        <tbody>${named(children, columns)}</tbody>
      </table>
    </div>`;
}

/** A field that searches after a moment's pause. */
export function Search({ label, onsearch }) {
  const timer = useRef(0);
  const changed = ({ target }) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onsearch(target.value.trim()), 250);
  };
  return html`<input type="search" class="search" aria-label=${label} placeholder=${label} onInput=${changed} autocomplete="off" spellcheck=${false} />`;
}

/** A button that asks once more before it acts. The focus follows, as the button that had it is gone. */
export function Careful({ label, question, act }) {
  const [isAsking, setAsking] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const place = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) place.current?.focus();
    isFirst.current = false;
  }, [isAsking]);
  if (!isAsking) {
    return html`<button type="button" key="ask" ref=${place} class="danger" onClick=${() => setAsking(true)}>${label}</button>`;
  }
  const confirm = async () => {
    setBusy(true);
    await act();
    setBusy(false);
    setAsking(false);
  };
  return html`
    <span class="careful" key="sure" role="group" aria-label=${question}>
      <span>${question}</span>
      <button type="button" class="danger full" disabled=${isBusy} onClick=${confirm}>${label}</button>
      <button type="button" ref=${place} disabled=${isBusy} onClick=${() => setAsking(false)}>Cancel</button>
    </span>`;
}

/** A form that makes a call; its error is shown in it. `work` gets the filled fields. */
export function Form({ work, children, label }) {
  const [state, setState] = useState({ isBusy: false, failure: "" });
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    setState({ isBusy: true, failure: "" });
    try {
      await work(Object.fromEntries(new FormData(form)), form);
      setState({ isBusy: false, failure: "" });
    } catch (error) {
      setState({ isBusy: false, failure: error.message });
    }
  };
  return html`
    <form class="form" aria-label=${label} onSubmit=${submit}>
      <fieldset disabled=${state.isBusy}>${children}</fieldset>
      ${state.failure && html`<p class="failure" role="alert">${state.failure}</p>`}
    </form>`;
}

const WIDTH = 240;
const HEIGHT = 56;
const SHOWN_S = 2 * HOUR_S;

/** The points of a line, from the left at two hours ago to the right at now. */
function points(at, values, max) {
  const now = at[at.length - 1];
  const shown = at.map((time, index) => {
    const x = WIDTH * (1 - (now - time) / SHOWN_S);
    const y = HEIGHT - 3 - (HEIGHT - 8) * (max ? values[index] / max : 0);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return shown.join(" ");
}

/**
 * A small chart of the last two hours.
 * @param {{title: string, at: number[], lines: Array<{name: string, values: number[]}>, show: (value: number) => string}} props
 */
export function Chart({ title, at, lines, show }) {
  const max = Math.max(0, ...lines.flatMap(({ values }) => values));
  const last = ({ values }) => show(values[values.length - 1] ?? 0);
  const said = lines.map((line) => `${line.name} ${last(line)}`).join(", ");
  return html`
    <figure class="chart">
      <figcaption>${title}<span class="soft">highest ${show(max)}</span></figcaption>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${title}: ${said}, highest ${show(max)}">
        <line class="base" x1="0" x2=${WIDTH} y1=${HEIGHT - 3} y2=${HEIGHT - 3} />
        ${[0.5].map((part) => html`<line class="base" x1=${WIDTH * part} x2=${WIDTH * part} y1="0" y2=${HEIGHT - 3} />`)}
        ${lines.map(({ values }, index) => html`<polyline class="line l${index}" points=${points(at, values, max)} />`)}
      </svg>
      <p class="legend">${lines.map((line, index) => html`
        <span class="l${index}"><i aria-hidden="true"></i>${line.name} <b>${last(line)}</b></span>`)}
      </p>
    </figure>`;
}
