// A toy in the browser that is given a reminder.
// node toy_reminder.mjs HUB KEY SECRET
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const [hub, key, secret] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const page = await (await browser.newContext({ locale: "en-GB" })).newPage();
page.setDefaultTimeout(50_000);
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
// The lengths of the sounds that were played to their end.
await page.addInitScript(() => {
  globalThis.ended = [];
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    this.addEventListener("ended", () => globalThis.ended.push(this.duration), { once: true });
    return play.call(this);
  };
});
await page.goto(`${hub}/toy#${key}.${secret}`);
await page.click("#power");
await page.waitForSelector("body[data-state=ready]");
step("ready");
await page.waitForFunction(() => globalThis.ended.length === 1);
await page.waitForSelector("body[data-state=ready]");
await page.waitForFunction(() => document.getElementById("status").textContent.includes("cat"));
const [status, [seconds]] = await page.evaluate(() => [document.getElementById("status").textContent, globalThis.ended]);
assert.deepEqual(faults, []);
await browser.close();
step("reminded", { status, seconds });
