// Small parts that several views use.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { family } from "./family.js";
import { keepTexts, notifies } from "./notify.js";
import { LANGUAGE_NAMES, language, setLanguage, t } from "./texts.js";

/** The filled fields of a submitted form. */
export function fields(event) {
  const entries = [...new FormData(event.target)].map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}

/**
 * A form that makes a call. `work` gets the fields; after a success they have their defaults again. A field with a `value`
 * would lose what was typed when the form is drawn again: it has a `defaultValue`, or follows its own input.
 */
export function Form({ work, children, id }) {
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const given = fields(event);
    setBusy(true);
    const isDone = await family.attempt(() => work(given));
    setBusy(false);
    if (isDone) form.reset();
  };
  return html`<form class="form" id=${id} onSubmit=${submit}><fieldset disabled=${isBusy}>${children}</fieldset></form>`;
}

/** A place for the focus: it moves to the element after each change of `state`, as the one that had it may be gone. */
export function useFocus(state) {
  const place = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) place.current?.focus();
    isFirst.current = false;
  }, [state]);
  return place;
}

/** A button that asks once more before it acts. */
export function Careful({ label, act }) {
  const [isAsking, setAsking] = useState(false);
  const place = useFocus(isAsking);
  if (!isAsking) {
    return html`<button type="button" key="ask" ref=${place} class="danger" onClick=${() => setAsking(true)}>${label}</button>`;
  }
  return html`
    <span class="careful" key="sure" role="group">
      <span>${t("sure", { what: label })}</span>
      <button type="button" class="danger full" onClick=${() => { setAsking(false); act(); }}>${label}</button>
      <button type="button" ref=${place} onClick=${() => setAsking(false)}>${t("cancel")}</button>
    </span>`;
}

/** The choice of the language. */
export function Languages() {
  return html`
    <label class="languages">${t("language")}
      <select value=${language} onChange=${(event) => { setLanguage(event.target.value); if (notifies()) keepTexts().catch(() => {}); family.changed(); }}>
        ${Object.entries(LANGUAGE_NAMES).map(([code, name]) => html`
          <option value=${code} selected=${code === language}>${name}</option>`)}
      </select>
    </label>`;
}

/** A picture of the hub. */
export const picture = (name) => (name ? `/get_image/${encodeURIComponent(name)}` : undefined);

/** A time of day, with the date unless it is today. */
export function timeOf(seconds) {
  const time = new Date(seconds * 1000);
  const isToday = time.toDateString() === new Date().toDateString();
  const format = isToday ? { timeStyle: "short" } : { dateStyle: "short", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, /** @type {any} */ (format)).format(time);
}

/** A menu behind three dots. One is open at a time; Escape closes it. */
export function Menu({ label, children }) {
  const place = useRef(null);
  const pressed = ({ key }) => {
    if (key !== "Escape") return;
    place.current.open = false;
    place.current.querySelector("summary").focus();
  };
  const toggled = () => { if (place.current.open) place.current.lastElementChild.scrollIntoView({ block: "nearest" }); };
  return html`
    <details class="more" name="more" ref=${place} onKeyDown=${pressed} onToggle=${toggled}>
      <summary aria-label=${label}><${Icon} name="more" /></summary>
      <div class="menu">${children}</div>
    </details>`;
}

const PATHS = {
  chats: "M4 4h16a1 1 0 0 1 1 1v11a1 1 0 0 1-1 1h-9l-5 4v-4H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1z",
  toys: "M6 3.5a3 3 0 0 1 2.6 1.6 8 8 0 0 1 6.8 0A3 3 0 1 1 19.4 9 8 8 0 1 1 4.6 9 3 3 0 0 1 6 3.5zM9 12h.01M15 12h.01M9.5 16q2.5 1.8 5 0",
  people: "M8.5 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2 20a6.5 6.5 0 0 1 13 0M16 5a3.2 3.2 0 0 1 0 6.2M17.5 14.3A6 6 0 0 1 22 20",
  account: "M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM12 2.5v3M12 18.5v3M2.5 12h3M18.5 12h3M5.3 5.3l2.1 2.1M16.6 16.6l2.1 2.1M5.3 18.7l2.1-2.1M16.6 7.4l2.1-2.1",
  microphone: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21M8.5 21h7",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  close: "M6 6l12 12M18 6L6 18",
  back: "M15 5l-7 7 7 7",
  more: "M5 12h.01M12 12h.01M19 12h.01",
};

/** A drawn sign; fonts of small systems lack pictures. */
export function Icon({ name }) {
  return html`<svg class=${`icon ${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}
