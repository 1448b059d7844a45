// The pages of the hub in headless Chromium: the family's app and a toy in the browser, used by clicks alone.
// node pages.mjs HUB KEY SECRET KEY SECRET MICROPHONE
// Prints a line of JSON for each step. pages_browser.rs cuts the connection between two of them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [hub, key, secret, otherKey, otherSecret, microphone] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
];
const MICROPHONE = ["--use-fake-ui-for-media-stream", `--use-file-for-fake-audio-capture=${microphone}`];
/** What a family calls itself and its toy; a page that took names for markup would run it. */
const MARKUP = "<img src=x onerror=alert(1)>";
const FIRST_LOAD_MAX_BYTES = 200 * 1024;

/** A page that fails the test on errors, and on requests to other origins. While `isCut`, failed requests are expected. */
async function newPage(browser, options = {}, host = new URL(hub).host) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  const watched = { page, isCut: false, bytes: 0, faults: [] };
  page.setDefaultTimeout(50_000);
  page.on("pageerror", (error) => watched.faults.push(String(error)));
  page.on("dialog", (dialog) => { watched.faults.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  page.on("console", (line) => {
    // Chromium says so of every page over plain HTTP from another machine.
    const isInsecure = /Cross-Origin-Opener-Policy header has been ignored/.test(line.text());
    if (line.type() === "error" && !watched.isCut && !isInsecure) watched.faults.push(line.text());
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!["blob:", "data:"].includes(url.protocol) && url.host !== host) watched.faults.push(request.url());
  });
  page.on("requestfinished", async (request) => {
    const sizes = await request.sizes().catch(() => null);
    watched.bytes += sizes ? sizes.responseBodySize + sizes.responseHeadersSize : 0;
  });
  watched.fine = () => assert.deepEqual(watched.faults, []);
  return watched;
}

/** Nothing serious stands in the way of people who use a keyboard or a screen reader. */
async function accessible(frame, name) {
  await frame.evaluate(axe);
  const { violations } = await frame.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
}

const frameOf = async (page, id) => (await page.$(`#${id}`)).contentFrame();

async function register(app, username, nickname) {
  await app.fill("[name=username]", username);
  await app.fill("[name=password]", "correct horse");
  await app.fill("[name=nickname]", nickname);
  await app.click("#door button.main");
  await app.waitForSelector("#link[data-link=open]");
}

async function bind(app, name, shown = "[data-friend]") {
  await app.fill("#bind [name=toy_name]", name);
  await app.fill("#bind [name=baby_name]", "Emma");
  await app.check("#bind input[type=checkbox]");
  await app.click("#bind button.main");
  await app.waitForSelector(shown);
}

async function logIn(app, password = "correct horse") {
  if (await app.locator("[name=nickname]").count()) await app.click("#door button.quiet");
  await app.fill("[name=username]", "mia");
  await app.fill("[name=password]", password);
  await app.click("#door button.main");
}

/** The app or the toy says this. */
const says = (app, id, words) => app.waitForFunction(([id, words]) =>
  document.getElementById(id)?.textContent.includes(words), [id, words]);

/** Records in the app for as long, and sends. */
async function record(app, seconds) {
  await app.click("#record");
  await app.waitForFunction((seconds) => Number(document.querySelector("output")?.dataset.seconds) >= seconds, seconds);
  await app.click("#send");
}

/** The length of the newest message of the open chat as the browser decodes it, and how loud it is. */
const decoded = (app) => app.evaluate(async () => {
  const { _id, token } = JSON.parse(localStorage.getItem("toyhub.login"));
  const ask = async (path, fields) => {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
    return (await (await fetch(path, { method: "POST", headers, body: JSON.stringify(fields) })).json()).data;
  };
  const [friend] = await ask("/friend_list", { _id });
  const list = await ask("/chat_list", { chat_id: friend.friend_chat, to_user: _id, from_user: friend.friend_id });
  const { url } = list.at(-1);
  const sound = await new AudioContext().decodeAudioData(await (await fetch(url)).arrayBuffer());
  return { seconds: sound.duration, peak: sound.getChannelData(0).reduce((most, value) => Math.max(most, Math.abs(value)), 0) };
});

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...FLAGS, ...MICROPHONE] });

// What a first visit costs.
for (const path of ["/", "/toy"]) {
  const visit = await newPage(browser);
  await visit.page.goto(hub + path, { waitUntil: "networkidle" });
  assert.ok(visit.bytes > 10_000 && visit.bytes < FIRST_LOAD_MAX_BYTES, `${path}: ${visit.bytes} bytes`);
  step("loaded", { path, bytes: visit.bytes });
  visit.fine();
  await accessible(visit.page.mainFrame(), path);
  await visit.page.context().close();
}

// The story, on the page that shows both ends.
const demo = await newPage(browser, { viewport: { width: 1440, height: 900 } });
const { page } = demo;
const began = performance.now();
await page.goto(`${hub}/demo#toy=${key}.${secret}`);
const [app, toy] = [await frameOf(page, "app"), await frameOf(page, "toy")];
const demoToy = toy;
await toy.click("#power");
await toy.waitForSelector("body[data-state=unbound]");
await toy.waitForFunction(() => document.getElementById("qr").naturalWidth > 0);
await register(app, "mia", MARKUP);
assert.equal(await app.inputValue("#bind [name=device_key]"), key);
await accessible(app, "bind");
await bind(app, MARKUP);
await toy.waitForSelector("body[data-state=ready]");
assert.equal(await toy.textContent("#name"), MARKUP);

/** The child speaks, to the parent by default. */
async function speak(seconds, target = { label: MARKUP }, [page, toy] = [demo.page, demoToy]) {
  await toy.selectOption("#target", target);
  await toy.hover("#talk");
  await page.mouse.down();
  await toy.waitForSelector("body[data-state=listening]");
  await page.waitForTimeout(seconds * 1000);
  await page.mouse.up();
}
await speak(2.5);
await app.click("[data-view=chats]");
await app.waitForSelector("[data-friend] .badge");
step("first message", { seconds: (performance.now() - began) / 1000 });
await toy.waitForSelector("body[data-state=ready]");
await app.click("[data-friend]");
await app.click("#messages .theirs[data-state=new] .play");
await app.waitForSelector("#messages .theirs[data-state=heard]");
const sound = await decoded(app);
assert.ok(sound.seconds > 1.5 && sound.seconds < 10 && sound.peak > 0.05, JSON.stringify(sound));
// Again, from another position.
await app.click("#messages .theirs .play");
await app.waitForSelector("#messages .theirs input:not([disabled])");
await app.fill("#messages .theirs input", String(sound.seconds - 0.5));
const at = await app.inputValue("#messages .theirs input");
assert.ok(Number(at) > sound.seconds - 0.6, at);
await app.waitForSelector("#messages .theirs .play .icon.play");
await accessible(app, "chat");

// The parent answers, and the toy plays it.
await record(app, 1.5);
await toy.waitForSelector("body[data-state=speaking]");
await app.waitForSelector("#messages .own[data-state=heard]");
await toy.waitForSelector("body[data-state=ready]");
await accessible(toy, "toy");
await accessible(page.mainFrame(), "demo");
step("answered");

// The child asks the toy itself. This hub has no speech model, and the toy says so.
await speak(1, "");
await toy.waitForFunction(() => /no model/.test(document.getElementById("status").textContent));

// Each view, in each language.
for (const view of ["toys", "people", "account"]) {
  await app.click(`[data-view=${view}]`);
  if (view === "toys") await app.click("[data-toy] details summary");
  if (view === "toys") await app.waitForSelector(".settings form");
  await accessible(app, view);
}
for (const [language, title] of [["de", "Konto"], ["zh", "账号"], ["en", "Account"]]) {
  await app.selectOption(".languages select", language);
  assert.match(await app.textContent("[data-view=account]"), new RegExp(title));
}
await app.click("[data-view=chats]");
demo.fine();
step("viewed");

// Another family, on its own phone, asks for a friendship; the two then talk.
const other = await newPage(browser, { viewport: { width: 320, height: 640 }, colorScheme: "dark" });
const fits = async () => assert.equal(await other.page.evaluate(() => document.documentElement.scrollWidth), 320);
await other.page.goto(hub);
await fits();
await register(other.page, "tom", "Tom");
await fits();
await accessible(other.page.mainFrame(), "bind on a phone in the dark");
await app.click("[data-view=people]");
const mia = await app.textContent("#my-id");
await other.page.click("[data-view=people]");
await fits();
await other.page.fill("#add-friend [name=add_user]", mia);
await other.page.fill("#add-friend [name=remark]", "Mia");
await other.page.fill("#add-friend [name=req_info]", MARKUP);
await other.page.click("#add-friend button.main");
await app.waitForSelector("[data-request]");
await accessible(app, "request");
await app.fill("[data-request] input", "Tom");
await app.click("[data-request] button.main");
await other.page.click("[data-view=chats]");
await other.page.click("[data-friend]");
await record(other.page, 1);
await app.click("[data-view=chats]");
await app.click("[data-friend]:has(.badge)");
await app.click("#messages .theirs .play");
await other.page.waitForSelector("#messages .own[data-state=heard]");
await accessible(other.page.mainFrame(), "chat on a phone in the dark");
await fits();

// Its toy, whose code is typed by hand; the two toys become friends when both families want it, and talk.
const second = await newPage(browser, { viewport: { width: 360, height: 740 } });
await second.page.goto(`${hub}/toy#${otherKey}.${otherSecret}`);
await second.page.click("#power");
await second.page.waitForSelector("body[data-state=unbound]");
await other.page.click("[data-view=toys]");
await other.page.fill("#bind [name=device_key]", await second.page.textContent("#key"));
await bind(other.page, "Rex", "[data-friend]:has-text('Rex')");
await second.page.waitForSelector("body[data-state=ready]");
await app.click("[data-view=people]");
const fluffy = await app.textContent("#my-id >> xpath=../following-sibling::p[1]/code");
await other.page.click("[data-view=people]");
await other.page.fill("#add-friend [name=add_user]", fluffy);
await other.page.selectOption("#add-friend [name=req_user]", { label: "Rex" });
await other.page.fill("#add-friend [name=remark]", "Bear");
await other.page.click("#add-friend button.main");
await app.waitForSelector("[data-request]");
assert.equal(await second.page.locator("#target option").count(), 2, "not without the other family");
await app.fill("[data-request] input", "Rex");
await app.click("[data-request] button.main");
await second.page.waitForFunction(() => document.querySelectorAll("#target option").length === 3);
await toy.waitForSelector("body[data-state=ready]");
await speak(1.5, { label: "Bear" }, [second.page, second.page]);
await says(second.page, "status", "Sent to Bear");
await toy.waitForSelector("body[data-state=speaking]");
await toy.waitForSelector("body[data-state=ready]");
await speak(1.5, { label: "Rex" });
await second.page.waitForSelector("body[data-state=speaking]");
await second.page.waitForSelector("body[data-state=ready]");
second.fine();
await second.page.context().close();
step("toys talked");

// Settings of the toy, the stored data, and the end of an account.
await app.click("[data-view=toys]");
await app.click("[data-toy] details summary");
// Not the hours of this test, in which the toy gets messages. What is typed stays while the toy reports.
const quiet = ["from", "until"].map((name, n) => [
  `.settings form [name=${name}]`, new Date(Date.now() + (n + 2) * 3_600_000).toTimeString().slice(0, 5),
]);
for (const [field, time] of quiet) await app.fill(field, time);
await toy.fill("#volume", "35");
await app.waitForFunction(() => document.querySelector("[data-toy] .volume input").value === "35");
for (const [field, time] of quiet) assert.equal(await app.inputValue(field), time);
await app.click(".settings form .buttons button");
await app.waitForFunction(() => document.querySelectorAll(".settings form:first-of-type .buttons button").length === 2);
for (const [field, time] of quiet) assert.equal(await app.inputValue(field), time);
await app.click("[data-view=account]");
await app.fill("form [name=password]", "correct horse");
await app.click("form .buttons button");
const [download] = await Promise.all([page.waitForEvent("download"), app.click("a[download]")]);
assert.ok(readFileSync(await download.path()).subarray(0, 2).equals(Buffer.from("PK")));
await other.page.click("[data-view=account]");
await fits();
await other.page.click("details:has(#erase) summary");
await other.page.fill("#erase [name=password]", "correct horse");
await other.page.click("#erase button");
await other.page.waitForSelector("#door");
other.fine();
await other.page.context().close();
await app.click("[data-view=chats]");
await app.waitForFunction(() => document.querySelectorAll("[data-friend]").length === 1);
await app.click("[data-friend]");
await app.waitForSelector("#messages .own");
demo.fine();
step("befriended");

// The hub goes away while a recording is made: it is kept, and sent when the hub is back.
await app.click("#record");
await app.waitForSelector("output");
demo.isCut = true;
step("recording");
await app.waitForSelector("#link[data-link=waiting]");
await app.click("#send");
await app.waitForSelector("#messages .own[data-state=waiting]");
await says(app, "note", "is kept");
const stored = () => app.evaluate(() => new Promise((resolve) => {
  indexedDB.open("toyhub").onsuccess = ({ target }) => {
    target.result.transaction("outbox").objectStore("outbox").count().onsuccess = ({ target }) => resolve(target.result);
  };
}));
assert.equal(await stored(), 1);
await toy.waitForSelector("body[data-state=thinking]");
const theirs = await app.locator("#messages .theirs").count();
await speak(1.5);
await toy.waitForSelector("body[data-state=thinking]");
step("kept");
await app.waitForSelector("#link[data-link=open]");
await app.waitForFunction(() => document.querySelectorAll("#messages .own[data-message]").length === 2);
await app.waitForFunction(() => document.querySelectorAll("#messages .own[data-state=heard]").length === 2);
assert.equal(await stored(), 0);
await app.locator("#messages .theirs").nth(theirs).waitFor();
demo.isCut = false;
step("sent later");

// The login is kept, and ends by a click.
await app.click("[data-view=account]");
await app.goto(`${hub}/`);
await app.waitForSelector("#link[data-link=open]");
await app.click("[data-view=account]");
await app.click("#log-out");
await app.waitForSelector("#door");
assert.equal(await app.evaluate(() => localStorage.getItem("toyhub.login")), null);
demo.fine();
await page.context().close();
await browser.close();
step("logged out");

// A refused microphone, a refused camera and a full storage: each said in words.
const strict = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
const refused = await newPage(strict);
await refused.page.goto(hub);
await logIn(refused.page, "wrong horse");
await refused.page.waitForSelector("[role=alert]");
await logIn(refused.page);
await refused.page.click("[data-friend]");
await refused.page.click("#record");
await says(refused.page, "note", "Allow this page to use the microphone");
await refused.page.click("[data-view=toys]");
await refused.page.click("#new-toy summary");
await refused.page.click("#new-toy .buttons button");
await says(refused.page, "note", "The camera cannot be used");
const [chooser] = await Promise.all([refused.page.waitForEvent("filechooser"), refused.page.click("#new-toy label.button")]);
const qr = await (await fetch(`${hub}/get_qr/${key}.png`)).arrayBuffer();
await chooser.setFiles({ name: "code.png", mimeType: "image/png", buffer: Buffer.from(qr) });
await refused.page.waitForFunction((key) => document.querySelector("#bind [name=device_key]").value === key, key);
refused.fine();
await strict.close();

// A device without a microphone, and a page over plain HTTP from another machine.
const bare = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    ...FLAGS.filter((flag) => flag !== "--use-fake-device-for-media-stream"), "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP toys.test 127.0.0.1",
  ],
});
const elsewhere = `toys.test:${new URL(hub).port}`;
for (const [host, words] of [[new URL(hub).host, "has no microphone"], [elsewhere, "only over HTTPS"]]) {
  const phone = await newPage(bare, {}, host);
  await phone.page.goto(`http://${host}/`);
  await logIn(phone.page);
  await phone.page.click("[data-friend]");
  await phone.page.click("#record");
  await says(phone.page, "note", words);
  await phone.page.waitForSelector("#record");
  await phone.page.goto(`http://${host}/toy#${key}.${secret}`);
  await phone.page.click("#power");
  await phone.page.waitForSelector("body[data-state=ready]");
  await phone.page.hover("#talk");
  await phone.page.mouse.down();
  await says(phone.page, "status", words);
  await phone.page.mouse.up();
  phone.fine();
  await phone.page.context().close();
}
await bare.close();

const full = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...FLAGS, ...MICROPHONE] });
const cramped = await newPage(full);
await cramped.page.addInitScript(() => {
  IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); };
});
await cramped.page.goto(hub);
await logIn(cramped.page);
await cramped.page.click("[data-friend]");
await record(cramped.page, 1);
await cramped.page.waitForFunction(() => /storage/.test(document.getElementById("note").textContent));
await cramped.page.waitForSelector("#messages .own[data-message]");
await cramped.page.waitForFunction(() => !document.querySelector("#messages .own:not([data-message])"));
cramped.fine();
await cramped.page.context().close();

// A connection that breaks between two chunks of a recording: what the hub has is not sent again.
const cut = await newPage(full);
await cut.page.addInitScript(() => {
  const send = WebSocket.prototype.send;
  const voiced = [];
  Object.assign(globalThis, { voiced });
  WebSocket.prototype.send = function (text) {
    const frame = JSON.parse(text);
    if (frame.do === "voice") voiced.push(frame.n);
    if (frame.do === "voice" && frame.n === 1 && voiced.length === 2) this.close();
    else send.call(this, text);
  };
});
await cut.page.goto(hub);
await logIn(cut.page);
await cut.page.click("[data-friend]");
await cut.page.waitForSelector("#earlier, #messages .own[data-message]");
if (await cut.page.locator("#earlier").count()) await cut.page.click("#earlier");
await cut.page.waitForSelector("#messages .own[data-message]");
const before = await cut.page.locator("#messages .own[data-message]").count();
await record(cut.page, 9);
await cut.page.waitForFunction((before) => document.querySelectorAll("#messages .own[data-message]").length > before, before);
const voiced = await cut.page.evaluate(() => globalThis.voiced);
assert.deepEqual(voiced.slice(0, 3), [0, 1, 1], "it continues after the chunk that was confirmed");
cut.fine();
await full.close();
step("refused in words");
