// The speech model, and a test of it with the microphone.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { NoMicrophone, Recording } from "../recorder.js";
import { send } from "./api.js";
import { Loading, Page, bytes, useAnswer } from "./parts.js";

const NAMES = new Intl.DisplayNames(["en"], { type: "language" });
const REASONS = {
  mic_insecure: "The browser permits the microphone only on this machine itself, and elsewhere over HTTPS: set console.tls_listen.",
  mic_refused: "The microphone was refused. Permit it in the settings of the browser.",
  mic_missing: "There is no microphone.",
};

function Heard({ heard }) {
  if (heard.reason) return html`<p id="heard" role="status">No words in ${heard.length_s.toFixed(1)} s: ${heard.reason}.</p>`;
  return html`
    <div id="heard" role="status">
      <p class="heard">${heard.text}</p>
      <dl class="facts">
        <div><dt>A toy would</dt><dd>${heard.intent}</dd></div>
        <div><dt>Language</dt><dd>${NAMES.of(heard.language)}</dd></div>
        <div><dt>Confidence</dt><dd>${Math.round(heard.confidence * 100)} %</dd></div>
        <div><dt>Recording</dt><dd>${heard.length_s.toFixed(1)} s</dd></div>
        <div><dt>Recognised in</dt><dd>${heard.took_s.toFixed(2)} s</dd></div>
      </dl>
    </div>`;
}

function Test({ isOn }) {
  const [recording, setRecording] = useState(null);
  const current = useRef(null);
  const isShown = useRef(true);
  const [state, setState] = useState({ isBusy: false, heard: null, failure: "" });
  // The microphone is off on other pages.
  useEffect(() => () => { isShown.current = false; current.current?.finish(); }, []);
  const start = async () => {
    setState({ isBusy: true, heard: null, failure: "" });
    try {
      const started = await Recording.start(() => stop());
      if (!isShown.current) {
        await started.finish();
        return;
      }
      current.current = started;
      setRecording(started);
    } catch (error) {
      const failure = error instanceof NoMicrophone ? REASONS[error.reason] : error.message;
      setState({ isBusy: false, heard: null, failure });
    }
  };
  const stop = async () => {
    const own = current.current;
    if (!own) return;
    current.current = null;
    const { sound } = await own.finish();
    setRecording(null);
    setState({ isBusy: true, heard: null, failure: "" });
    try {
      setState({ isBusy: false, heard: await send("hear", {}, sound), failure: "" });
    } catch (error) {
      setState({ isBusy: false, heard: null, failure: error.message });
    }
  };
  return html`
    <section class="card" aria-labelledby="test-title">
      <h3 id="test-title">Microphone test</h3>
      <p class="soft">Say a command as a child would, such as “what time is it”. The recording is not stored.</p>
      <div class="buttons">
        ${recording
          ? html`<button type="button" class="main" id="stop" onClick=${stop}>Stop and recognise</button><span class="live">Recording…</span>`
          : html`<button type="button" class="main" id="record" disabled=${!isOn || state.isBusy} onClick=${start}>${state.isBusy ? "One moment…" : "Record"}</button>`}
      </div>
      ${state.heard && html`<${Heard} heard=${state.heard} />`}
      ${state.failure && html`<p class="failure" role="alert">${state.failure}</p>`}
    </section>`;
}

export function Speech() {
  const { data, failure } = useAnswer("speech");
  if (!data) return html`<${Loading} failure=${failure} />`;
  const { model, reason, languages } = data;
  return html`
    <${Page} title="Speech" failure=${failure}>
      <div class="columns">
        <section class="card" aria-labelledby="model-title">
          <h3 id="model-title">Model</h3>
          ${model ? html`
            <dl class="facts">
              <div><dt>File</dt><dd><code>${model.name}</code></dd></div>
              <div><dt>Size</dt><dd>${bytes(model.bytes)}</dd></div>
              <div><dt>Origin</dt><dd>${model.is_official ? "official, byte for byte" : "not one of the official models"}</dd></div>
              <div><dt>Languages</dt><dd>${languages.map((code) => NAMES.of(code)).join(", ") || "all that the model knows"}</dd></div>
            </dl>
            <p class="soft">${model.description}</p>
            ${model.missing.length > 0 && html`<p class="failure">The model does not know ${model.missing.map((code) => NAMES.of(code)).join(", ")}.</p>`}`
          : html`<p>${reason ?? "No model is configured, so no recording is recognised. scripts/get-model fetches one."}</p>`}
        </section>
        <${Test} isOn=${Boolean(model)} />
      </div>
    </${Page}>`;
}
