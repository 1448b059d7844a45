// The app and the toy on one screen. The link that `scripts/run` prints names an unbound device: /demo#toy=KEY.SECRET

import { fill, t } from "./texts.js";

const STORED = "toyhub.bind";

fill();
document.title = t("demo_title");

const [, key, secret] = location.hash.match(/^#toy=([^.]+)\.(.+)$/) ?? [];
if (key) {
  // The app proposes this key; the secret stays out of the history of the browser.
  sessionStorage.setItem(STORED, key);
  history.replaceState(null, "", location.pathname);
}

const [app, toy] = ["app", "toy"].map((id) => /** @type {HTMLIFrameElement} */ (document.getElementById(id)));
app.title = t("the_app");
toy.title = t("the_toy");
app.src = "/";
toy.src = key ? `/toy#${key}.${secret}` : "/toy";

/** @type {NodeListOf<HTMLElement>} */
const buttons = document.querySelectorAll("[data-show]");
function show(name) {
  document.body.dataset.shown = name;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.show === name));
}
for (const button of buttons) button.addEventListener("click", () => show(button.dataset.show));
show("app");
