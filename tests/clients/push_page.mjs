// The family's app subscribes to push messages, and its service worker shows them while the app is closed. Chromium has no
// push service here: in its place, the page gets a subscription at push_service.mjs, and what that service decrypts is
// delivered to the service worker by the protocol of the developer tools.
// node push_page.mjs HUB PASSWORD
// The hub has the user mia.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { notifications } from "./notifications.mjs";
import { pushService } from "./push_service.mjs";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const [hub, password] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

let take;
const messages = [];
const { server, subscriptions: [subscription] } = await pushService(["browser"], (seen) => {
  if (take) take(seen);
  else messages.push(seen);
});
const nextMessage = () => messages.shift() ?? new Promise((resolve) => { take = (seen) => { take = null; resolve(seen); }; });

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const context = await browser.newContext({ locale: "de-DE" });
await context.grantPermissions(["notifications"], { origin: hub });
/** The push manager of a browser whose push service is the one of this test. */
await context.addInitScript(({ endpoint, p256dh, auth }) => {
  const KEY = "test.subscription";
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
  const made = (key) => ({
    endpoint, options: { applicationServerKey: bytes(key).buffer, userVisibleOnly: true },
    toJSON: () => ({ endpoint, expirationTime: null, keys: { p256dh, auth } }),
    unsubscribe: async () => { localStorage.removeItem(KEY); return true; },
  });
  PushManager.prototype.getSubscription = async () => {
    const key = localStorage.getItem(KEY);
    return key && made(key);
  };
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    if (!userVisibleOnly || applicationServerKey.length !== 65) throw new TypeError("Chromium would refuse that");
    const key = btoa(String.fromCharCode(...applicationServerKey)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    localStorage.setItem(KEY, key);
    return made(key);
  };
}, subscription);

const faults = [];
async function open() {
  const page = await context.newPage();
  page.setDefaultTimeout(50_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(hub);
  return page;
}

let app = await open();
await app.click("#door button.quiet");
await app.fill("[name=username]", "mia");
await app.fill("[name=password]", password);
await app.click("#door button.main");
await app.waitForSelector("#link[data-link=open]");
await app.evaluate(() => navigator.serviceWorker.ready);
await app.click("[data-view=account]");
assert.equal(await app.locator("#pushes li").count(), 0);
await app.check("#notify");
await app.waitForSelector("#pushes li");
assert.match(await app.textContent("#pushes li"), /^127\.0\.0\.1:\d+, /);
// The registration of the service worker, as the developer tools name it.
const tools = await context.newCDPSession(app);
const registered = new Promise((resolve) => tools.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
  const found = registrations.find(({ scopeURL }) => scopeURL === `${hub}/`);
  if (found) resolve(found.registrationId);
}));
await tools.send("ServiceWorker.enable");
const registrationId = await registered;
// Another page of this origin without the app stays, so that there is somebody to ask for the notifications.
const watcher = await context.newPage();
await watcher.goto(`${hub}/healthz`);
await app.close();
step("closed");

const deliverer = await context.newCDPSession(watcher);
await deliverer.send("ServiceWorker.enable");
const nextNotification = await notifications(deliverer);
async function delivered() {
  const { text, fault } = await nextMessage();
  assert.equal(fault, undefined);
  await deliverer.send("ServiceWorker.deliverPushMessage", { origin: hub, registrationId, data: text });
  return text;
}

assert.equal(await delivered(), "message");
assert.deepEqual(await nextNotification(), { title: "toyhub", body: "Eine neue Nachricht ist da.", tag: "push message" });
step("message");
assert.equal(await delivered(), "request");
assert.deepEqual(await nextNotification(), { title: "toyhub", body: "Eine Freundschaftsanfrage ist da.", tag: "push request" });
step("request");

// It ends with the login.
app = await open();
await app.waitForSelector("#link[data-link=open]");
await app.click("[data-view=account]");
await app.waitForSelector("#pushes li");
await app.click("#log-out");
await app.waitForSelector("#door");
assert.equal(await app.evaluate(() => localStorage.getItem("test.subscription")), null);
assert.deepEqual(faults, []);
await browser.close();
server.close();
step("logged out");
