// The page of tests/clients/legacy in headless Chromium, as an app and as a toy:
// node legacy.mjs PAGE HUB USER PASSWORD KEY RECORDING
// Prints a line of JSON for each step that was seen. What happens between the steps, legacy_page.rs does.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.NODE_PATH}/`)("playwright-core");
const [site, hub, username, password, key, recording] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});

async function open(name) {
  const page = await browser.newPage();
  page.setDefaultTimeout(50_000);
  page.on("pageerror", (error) => { console.error(name, error); process.exit(1); });
  await page.goto(`${site}/?hub=${encodeURIComponent(hub)}`);
  return page;
}

const counts = (page) => page.evaluate(() => ({
  total: document.getElementById("total").textContent,
  friends: Object.fromEntries([...document.querySelectorAll("li")].map((row) => [row.dataset.friend, row.textContent])),
}));
const seen = (page) => page.evaluate(() => seen);
const until = (page, total) =>
  page.waitForFunction((total) => Number(document.getElementById("total").textContent) >= total, total);
const played = (page, count) => page.waitForFunction((count) => seen.played.length + seen.failed.length >= count, count);

const app = await open("app");
await app.evaluate(([username, password]) => logIn(username, password), [username, password]);
await app.waitForSelector("body[data-app=open]", { state: "attached" });
step("counted", await counts(app));
await until(app, 2);
step("one more", await counts(app));
await app.reload();
const id = await app.evaluate(([username, password]) => new Promise((resolve) => {
  post("/login", { username, password }, (answer) => resolve(answer.DATA._id));
}), [username, password]);
await app.evaluate((id) => openApp(id), id);
await app.waitForSelector("body[data-app=open]", { state: "attached" });
await until(app, 2);
step("reloaded", await counts(app));

const toy = await open("toy");
await toy.evaluate((key) => openToy(key), key);
await toy.waitForSelector("body[data-toy=open]", { state: "attached" });
await played(toy, 1);
step("opened", await seen(toy));
await played(toy, 3);
step("told", await seen(toy));
await toy.evaluate(() => press());
await toy.waitForSelector("body[data-heard=all]", { state: "attached" });
await played(toy, 6);
step("heard", await seen(toy));
await toy.evaluate((bytes) => answerWith(bytes), [...readFileSync(recording)]);
await played(toy, 7);
step("answered", await seen(toy));

// The toy is unbound meanwhile, and its page reconnects without a pause.
await toy.waitForFunction(() => seen.closes >= 4);
await app.reload();
await app.evaluate((id) => openApp(id), id);
await app.waitForSelector("body[data-app=open]", { state: "attached" });
step("unbound", await seen(toy));
await browser.close();
