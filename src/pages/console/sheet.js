// Sheets of QR codes, to be printed.

import { html, useEffect, useState } from "../vendor/preact.js";
import { change } from "./api.js";
import { Loading } from "./parts.js";

/** The sizes of paper: what a size is called, and how many labels a page has. Their measures are in style.css. */
const SIZES = {
  "a4-24": ["A4, 24 labels of 70 × 37 mm", 24],
  "a4-12": ["A4, 12 cards of 63.5 × 72 mm", 12],
  "label-62": ["Label printer, 62 × 29 mm", 1],
  "label-50": ["Label printer, 50 × 30 mm", 1],
};

/** The digits of a key in groups, so that people can type them. @param {string} key */
const groups = (key) => key.match(/.{1,4}/g) ?? [];

function Label({ code }) {
  return html`
    <div class="label">
      <svg viewBox="0 0 ${code.side} ${code.side}" role="img" aria-label="QR code of ${code.key}" shape-rendering="crispEdges"><path d=${code.path} /></svg>
      <span class="digits">${groups(code.key).map((group) => html`<span>${group}</span> `)}</span>
    </div>`;
}

/** The sheet of these devices. @param {{keys: string[], onend: () => void}} props */
export function Sheet({ keys, onend }) {
  const [size, setSize] = useState("a4-24");
  const [codes, setCodes] = useState(null);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    change("devices/sheet", { keys }).then((said) => setCodes(said.codes), (error) => setFailure(error.message));
  }, []);
  const perPage = SIZES[size][1];
  const pages = Array.from({ length: Math.ceil((codes?.length ?? 0) / perPage) }, (_, page) =>
    (codes ?? []).slice(page * perPage, (page + 1) * perPage));
  return html`
    <section class="page sheet-page" aria-labelledby="title">
      <div class="head unprinted">
        <h2 id="title">QR codes</h2>
        <div class="buttons">
          <select aria-label="Paper" value=${size} onChange=${({ target }) => setSize(target.value)}>
            ${Object.entries(SIZES).map(([name, [text]]) => html`<option value=${name} selected=${name === size}>${text}</option>`)}
          </select>
          <button type="button" class="main" disabled=${!codes} onClick=${() => print()}>Print</button>
          <button type="button" onClick=${onend}>Back</button>
        </div>
      </div>
      <p class="soft unprinted">Print at 100 %, without headers and margins of the browser.</p>
      ${codes ? html`
        <div class="sheets ${size}" tabindex="0" role="region" aria-label="The sheet">
          ${pages.map((page, number) => html`
            <div class="paper" key=${number}>${page.map((code) => html`<${Label} key=${code.key} code=${code} />`)}</div>`)}
        </div>` : html`<${Loading} failure=${failure} />`}
    </section>`;
}
