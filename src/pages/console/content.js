// The content library.

import { html, useEffect, useState } from "../vendor/preact.js";
import { file, send } from "./api.js";
import { Form, Page, Table, bytes, counted, useAnswer } from "./parts.js";

/** The address of a file of the hub within this page; none until it is there. */
function useFile(name, wanted) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    if (!wanted) return undefined;
    let made = "";
    let isOver = false;
    file(name, { name: wanted }).then((blob) => {
      if (isOver) return;
      made = URL.createObjectURL(blob);
      setAddress(made);
    }, () => {});
    return () => {
      isOver = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [name, wanted]);
  return address;
}

function Cover({ name }) {
  const address = useFile("content/cover", name);
  return address ? html`<img class="cover" src=${address} alt="" />` : html`<span class="cover"></span>`;
}

function Player({ name, title }) {
  const [isWanted, setWanted] = useState(false);
  const address = useFile("content/sound", isWanted ? name : "");
  if (!isWanted) return html`<button type="button" aria-label="Play ${title}" onClick=${() => setWanted(true)}>Play</button>`;
  return address ? html`<audio controls autoplay src=${address} aria-label=${title}></audio>` : html`<span class="soft">Loading…</span>`;
}

function Upload({ maxBytes, onadded }) {
  const [sent, setSent] = useState(-1);
  const [said, setSaid] = useState("");
  const work = async ({ title, sound, cover }, form) => {
    setSaid("");
    if (sound.size + cover.size > maxBytes) throw new Error(`the two files have more than ${bytes(maxBytes)}, console.upload_max_bytes`);
    try {
      setSent(0);
      await send("content", { title, cover_bytes: cover.size }, new Blob([cover, sound]), setSent);
      form.reset();
      setSaid(`${title} is in the library.`);
      await onadded();
    } finally {
      setSent(-1);
    }
  };
  return html`
    <section class="card" aria-labelledby="add-title">
      <h3 id="add-title">Add a song or story</h3>
      <${Form} label="Add a song or story" work=${work}>
        <div class="fields">
          <label>Title<input name="title" required maxlength="64" autocomplete="off" /></label>
          <label>Sound<input type="file" name="sound" accept="audio/*" required /></label>
          <label>Cover, JPEG or PNG<input type="file" name="cover" accept="image/jpeg,image/png" required /></label>
        </div>
        <button class="main">Add</button>
        ${sent >= 0 && html`
          <label class="progress">${sent < 1 ? `Sending, ${Math.round(sent * 100)} %` : "The hub reads the sound…"}
            <progress max="1" value=${sent < 1 ? sent : undefined}></progress>
          </label>`}
      </${Form}>
      ${said && html`<p role="status">${said}</p>`}
    </section>`;
}

export function Content() {
  const { data, failure, load } = useAnswer("content");
  return html`
    <${Page} title="Content" failure=${failure} hint=${data && `${counted(data.rows.length, "piece")}, the newest first.`}>
      <${Upload} maxBytes=${data?.upload_max_bytes ?? 0} onadded=${load} />
      <${Table} caption="Content" empty=${data ? "The library is empty." : "Loading…"} columns=${[["Cover"], ["Title"], ["Sound"], ["File"]]}>
        ${data?.rows.map(({ id, title, music, cover }) => html`
          <tr key=${id} data-content=${id}>
            <td><${Cover} name=${cover} /></td>
            <td class="name">${title}</td>
            <td><${Player} name=${music} title=${title} /></td>
            <td><code>${music}</code></td>
          </tr>`)}
      </${Table}>
    </${Page}>`;
}
