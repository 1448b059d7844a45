// Every view of the family's app, the toy and the demo, in every size of screen and both schemes of colour; then by keyboard.
// node looks.mjs HUB PASSWORD KEY SECRET UNBOUND_KEY UNBOUND_SECRET MICROPHONE CAMERA
// The hub has the user mia, with the toy Fluffy of this key, messages from it, a friend and a request.
// With SCREENSHOTS=FOLDER it stores pictures of each.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [hub, password, key, secret, newKey, newSecret, microphone, camera] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));
const SIZES = [[320, 640], [360, 740], [768, 1024], [1440, 900]];
const SHOTS = process.env.SCREENSHOTS;
if (SHOTS) mkdirSync(SHOTS, { recursive: true });

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-audio-capture=${microphone}`, `--use-file-for-fake-video-capture=${camera}`,
  ],
});
const faults = [];

async function newPage() {
  const page = await (await browser.newContext({ locale: "en-GB" })).newPage();
  page.setDefaultTimeout(50_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => { if (line.type() === "error") faults.push(line.text()); });
  return page;
}

/** Nothing is wider than the screen, or cut off within its element; nothing serious for those who use a screen reader. */
async function look(page, name) {
  await page.evaluate(axe);
  for (const [width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of SHOTS ? ["light", "dark"] : []) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: `${SHOTS}/${name.replaceAll(" ", "-")}-${width}-${colorScheme}.png` });
    }
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${name}, ${width} px`);
    const cut = await page.$$eval("button, summary, label, h1, h2, h3, .badge", (elements) => elements.filter((element) =>
      element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1).map(({ outerHTML }) => outerHTML));
    assert.deepEqual(cut, [], `${name}, ${width} px: text is cut off`);
    for (const colorScheme of width === 320 ? ["light", "dark"] : []) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(serious.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
    }
  }
  step("look", { name });
}

const page = await newPage();
await page.goto(hub);
await look(page, "register");
await page.click("#door button.quiet");
await look(page, "login");
await page.fill("[name=username]", "mia");
await page.fill("[name=password]", password);
await page.click("#door button.main");
await page.waitForSelector("[data-friend] .badge");
await page.waitForSelector("[data-friend][data-online='1']");
await look(page, "chats");
await page.click("[data-friend]:has(.badge)");
await page.waitForSelector("#messages .theirs");
await look(page, "chat unread");
await page.click("#earlier");
await page.waitForFunction(() => document.querySelectorAll("#messages li").length >= 4);
await look(page, "chat");
await page.click(".chat-head .more summary");
await look(page, "menu of a chat");
await page.click("#messages .theirs .more summary");
await page.click("#messages .theirs .more button.danger");
await look(page, "menu of a message");
await page.click("#record");
await page.waitForSelector("#send");
await look(page, "recording");
const own = await page.locator("#messages .own").count();
await page.click("#cancel");
await page.waitForSelector("#record");
assert.equal(await page.locator("#messages .own").count(), own, "a cancelled recording is gone");
await page.click("[data-view=toys]");
assert.match(await page.textContent("[data-toy]"), /Battery 83 %/);
await look(page, "toys");
await page.click("[data-toy] details summary");
await page.waitForSelector(".settings form");
await page.waitForSelector(".settings .check");
await look(page, "toy settings");
await page.click("[data-toy] details summary");
await page.click("#new-toy summary");
await page.waitForSelector("#bind .consent");
await look(page, "new toy");
// The camera sees the code of the other device.
await page.click("#new-toy .buttons button");
await page.waitForFunction((key) => document.querySelector("#bind [name=device_key]").value === key, newKey);
await page.click("[data-view=people]");
await page.waitForSelector("[data-request]");
await look(page, "people");
await page.click("[data-view=account]");
await look(page, "account");
for (const summary of await page.locator("summary").all()) await summary.click();
await page.waitForSelector("#audit li");
await page.waitForSelector("#stored p:has-text('Voice messages are kept')");
await look(page, "account opened");
for (const language of ["de", "zh"]) {
  await page.selectOption(".languages select", language);
  for (const view of ["account", "people", "toys", "chats"]) {
    await page.click(`[data-view=${view}]`);
    await look(page, `${view} ${language}`);
  }
  await page.click("[data-view=account]");
}

// The toy in its states.
const toy = await newPage();
await toy.goto(`${hub}/toy`);
await look(toy, "toy without a key");
await toy.goto(`${hub}/toy#${newKey}.${newSecret}`);
await look(toy, "toy off");
await toy.click("#power");
await toy.waitForSelector("body[data-state=unbound]");
await look(toy, "toy unbound");
await toy.evaluate(() => localStorage.clear());
await toy.goto("about:blank");
await toy.goto(`${hub}/toy#${key}.${secret}`);
await toy.click("#power");
await toy.waitForSelector("body[data-state=ready]");
await look(toy, "toy ready");
await toy.hover("#talk");
await toy.mouse.down();
await toy.waitForSelector("body[data-state=listening]");
await look(toy, "toy listening");
await toy.waitForTimeout(2000);
await toy.mouse.up();
// The assistant has heard a question, and answers.
await toy.waitForSelector("body[data-state=speaking]");
assert.match(await toy.textContent("#status"), /Playing: Fluffy/);
await look(toy, "toy speaking");
await toy.waitForSelector("body[data-state=ready]");

const demo = await newPage();
await demo.goto(`${hub}/demo#toy=${newKey}.${newSecret}`);
await demo.waitForFunction(() => document.getElementById("toy").contentDocument?.querySelector("#power:not([hidden])"));
await look(demo, "demo");

// By keyboard alone, and the focus is never lost.
const typist = await newPage();
await typist.setViewportSize({ width: 360, height: 740 });
await typist.goto(hub);
const press = (...keys) => keys.reduce((before, key) => before.then(() => typist.keyboard.press(key)), Promise.resolve());
const focused = (selector) => typist.waitForFunction((selector) => document.activeElement?.matches(selector), selector);
/** Presses Tab until the focus is there. */
async function tabTo(selector) {
  for (let tabs = 0; tabs < 60; tabs += 1) {
    if (await typist.evaluate((selector) => document.activeElement?.matches(selector), selector)) return;
    await press("Tab");
  }
  assert.fail(`no Tab leads to ${selector}`);
}
await tabTo("#door button.quiet");
await press("Enter");
await press("Shift+Tab", "Shift+Tab", "Shift+Tab");
await focused("[name=username]");
await typist.keyboard.type("mia");
await press("Tab");
await typist.keyboard.type(password);
await press("Enter");
await typist.waitForSelector("[data-friend]");
await tabTo("[data-friend]");
await press("Enter");
await focused("#chat-title");
await tabTo("#record");
await press("Enter");
await focused("#send");
await typist.waitForFunction(() => Number(document.querySelector("output")?.dataset.seconds) > 0.5);
await press("Enter");
await focused("#record");
await typist.waitForSelector("#messages .own:last-child[data-message]");
await tabTo("#messages .own:last-child .more summary");
await press("Enter");
await tabTo("#messages .own:last-child .more button.danger");
await press("Enter");
await focused(".careful button:last-child");
await press("Enter");
await focused("#messages .own:last-child .more button.danger");
await press("Enter");
await focused(".careful button:last-child");
await press("Shift+Tab");
await focused(".careful button.danger.full");
await press("Enter");
await typist.waitForFunction(() => !document.querySelector("#messages .own[data-state=sent]"));
assert.deepEqual(faults, []);
await browser.close();
step("keyboard");
