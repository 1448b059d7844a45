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
await page.fill("#bind [name=device_key]", "a");
await page.fill("#bind [name=device_key]", "");
await page.fill("#bind [name=toy_name]", "Fluffy");
await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
// A browser offers to install it; not in the private windows of this test.
const session = await page.context().newCDPSession(page);
const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"), []);
step("kept");

await page.waitForSelector("#link[data-link=waiting]");
assert.equal(await page.inputValue("#bind [name=toy_name]"), "Fluffy", "what is typed stays without a connection");
assert.ok(await page.isVisible("#bind [name=toy_name]"), "and stays in sight");
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
