// examples/browser in headless Chromium with a microphone that plays a file:
// node browser.mjs STRANGERS_PAGE PAGE HUB USER PASSWORD TOY MICROPHONE SECONDS
// Prints a line of JSON for each step that was seen. What happens between the steps, browser.rs does.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.NODE_PATH}/`)("playwright-core");
const [strangers, allowed, hub, username, password, toy, microphone, seconds] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", `--use-file-for-fake-audio-capture=${microphone}%noloop`,
  ],
});
const page = await browser.newPage();
page.setDefaultTimeout(50_000);
page.on("pageerror", (error) => { console.error(error); process.exit(1); });

async function logIn(url) {
  await page.goto(url);
  await page.fill("[name=hub]", hub);
  await page.fill("[name=username]", username);
  await page.fill("[name=password]", password);
  await page.click("#login button");
}

async function post(path, fields, token) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const answer = await fetch(hub + path, { method: "POST", headers, body: JSON.stringify(fields) });
  return (await answer.json()).data;
}

/** Records until the clock of the page shows so many seconds; gives what it shows in the end. */
async function record(way, until) {
  await page.selectOption("#way", way);
  await page.click("#record");
  await page.waitForFunction((until) => Number(document.getElementById("elapsed").value) >= until, until);
  return page.evaluate(() => {
    const elapsed = Number(document.getElementById("elapsed").value);
    document.getElementById("stop").click();
    return elapsed;
  });
}

// A page of another origin can neither log in nor open the socket, whoever gave it a ticket.
await logIn(strangers);
await page.waitForSelector("#refusal:not([hidden])");
assert.match(await page.textContent("#refusal"), /does not allow this page/);
const { token } = await post("/login", { username, password });
const { ticket } = await post("/ticket", {}, token);
const socket = `${hub.replace("http", "ws")}/ws?ticket=${ticket}`;
const opens = (url) => new Promise((resolve) => {
  const socket = new WebSocket(url, "toyhub.v1");
  socket.onmessage = () => { socket.close(); resolve(true); };
  socket.onclose = () => resolve(false);
});
assert.equal(await page.evaluate(opens, socket), false);
await page.goto(allowed);
assert.equal(await page.evaluate(opens, socket), true);
step("refused");

await logIn(allowed);
await page.waitForSelector("#state[data-state=open]");
await page.click(`[data-friend="${toy}"][data-online="1"]`);
await page.click("summary");
step("sent", { seconds: await record("http", Number(seconds)) });
await page.waitForSelector("#messages .own[data-state=heard]");
step("heard");

await page.click("#messages .theirs[data-state=new] .play");
await page.waitForFunction(() => document.getElementById("player").ended);
const played = await page.evaluate(() => {
  const { currentTime, duration, played } = document.getElementById("player");
  return { currentTime, duration, from: played.start(0), to: played.end(played.length - 1) };
});
await page.waitForSelector("#messages .theirs[data-state=heard]");
step("played", played);

await page.waitForSelector("#state[data-state=waiting]");
step("lost");
await page.waitForSelector("#state[data-state=open]");
await page.waitForSelector("#messages li:nth-child(4)");
step("back", { new: await page.locator("#messages .theirs[data-state=new]").count() });

await record("socket", 0.5);
await page.locator("#messages .own[data-state=heard]").nth(1).waitFor();
step("sent over the socket", { shown: await page.locator("#messages li").count() });

await page.waitForSelector("#login:not([hidden]) #refusal:not([hidden])");
step("logged out", { reason: await page.textContent("#refusal"), state: await page.textContent("#state") });
await browser.close();
