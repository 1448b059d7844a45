// The last lines of the log.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { read } from "./api.js";
import { Page } from "./parts.js";

const INTERVAL_MS = 2000;
const LINES_MAX = 1000;

/** The level of a line, after its time. */
const levelOf = (line) => /^\S+\s+(ERROR|WARN|INFO|DEBUG|TRACE)/.exec(line)?.[1].toLowerCase() ?? "";

export function Log() {
  const [lines, setLines] = useState([]);
  const [filter, setFilter] = useState("");
  const [failure, setFailure] = useState("");
  const [wanted, setWanted] = useState("");
  const [follows, setFollows] = useState(true);
  const end = useRef(null);
  useEffect(() => {
    let next = 0;
    let isOver = false;
    const load = async (isBackground) => {
      if (document.hidden && isBackground) return;
      try {
        const said = await read("log", { from: next }, { isBackground });
        if (isOver) return;
        next = said.next;
        setFilter(said.filter);
        setFailure("");
        if (said.lines.length) {
          const numbered = said.lines.map((text, index) => ({ number: said.first + index, text }));
          setLines((kept) => [...kept, ...numbered].slice(-LINES_MAX));
        }
      } catch (error) {
        if (!isOver) setFailure(error.message);
      }
    };
    load(false);
    const timer = setInterval(() => load(true), INTERVAL_MS);
    return () => { isOver = true; clearInterval(timer); };
  }, []);
  useEffect(() => { if (follows) end.current?.scrollIntoView({ block: "nearest" }); }, [lines, follows, wanted]);
  const shown = lines.filter(({ text }) => text.toLowerCase().includes(wanted.toLowerCase()));
  return html`
    <${Page} title="Log" failure=${failure} hint=${`The last lines, of the filter ${filter}. The whole log is where the service writes its standard error.`}>
      <div class="buttons">
        <input type="search" class="search" aria-label="Contains" placeholder="Contains" onInput=${({ target }) => setWanted(target.value)} />
        <label class="check"><input type="checkbox" checked=${follows} onChange=${({ target }) => setFollows(target.checked)} />Follow the end</label>
      </div>
      <div class="log" tabindex="0" role="log" aria-label="Lines of the log">
        ${shown.map(({ number, text }) => html`<div key=${number} data-level=${levelOf(text)}>${text}</div>`)}
        ${shown.length === 0 && html`<div class="soft">No lines.</div>`}
        <div ref=${end}></div>
      </div>
    </${Page}>`;
}
