// The family's app without a connection: it opens, waits, and continues when the hub is back.
// node offline.mjs HUB
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const [hub] = process.argv.slice(2);
const step = (name) => console.log(JSON.stringify({ step: name }));

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const page = await (await browser.newContext({ locale: "en-GB" })).newPage();
page.setDefaultTimeout(50_000);
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("request", (request) => { if (new URL(request.url()).host !== new URL(hub).host) faults.push(request.url()); });

await page.goto(hub);
await page.fill("[name=username]", "mia");
await page.fill("[name=password]", "correct horse");
await page.fill("[name=nickname]", "Mia");
await page.click("#door button.main");
await page.waitForSelector("#link[data-link=open]");
await page.evaluate(() => navigator.serviceWorker.ready);
await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
step("kept");

await page.waitForSelector("#link[data-link=waiting]");
await page.reload();
await page.waitForSelector("main.door [role=status]:has-text('connection')");
assert.equal(await page.locator("#door").count(), 0, "the login is kept");
step("opened without the hub");

await page.waitForSelector("#link[data-link=open]");
// One version of the program is kept, and nothing of a family.
const kept = await page.evaluate(async () => {
  const names = await caches.keys();
  const paths = (await (await caches.open(names[0])).keys()).map(({ url }) => new URL(url).pathname);
  return { names, paths };
});
assert.equal(kept.names.length, 1);
assert.ok(kept.paths.length > 15 && kept.paths.every((path) => path === "/" || path.startsWith("/web/")), kept.paths.join(" "));
assert.deepEqual(faults, []);
await browser.close();
step("back");
