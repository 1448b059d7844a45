// The operator's console in headless Chromium: every page, by clicks alone, and the pages of strangers.
// node console.mjs CONSOLE PASSWORD MICROPHONE SOUND COVER TOY SECRET_TEXT
// Prints a line of JSON for each step. With SCREENSHOTS=FOLDER it also stores pictures of every page.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const jsqr = readFileSync(fileURLToPath(new URL("../../src/pages/vendor/jsqr.js", import.meta.url)), "utf8");
const [hub, password, microphone, sound, cover, toy, secretText] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream", `--use-file-for-fake-audio-capture=${microphone}`,
  // A stranger's name for this machine.
  "--host-resolver-rules=MAP *.rebound.test 127.0.0.1",
];
const NEW_PASSWORD = "a better password";
/** What a piece of content is called; a page that took names for markup would run it. */
const MARKUP = "<img src=x onerror=alert(1)>";
const SIZES = [[360, 740], [768, 1024], [1440, 900]];
const SHOTS = process.env.SCREENSHOTS;
if (SHOTS) mkdirSync(SHOTS, { recursive: true });

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1440, height: 900 }, acceptDownloads: true });
const page = await context.newPage();
page.setDefaultTimeout(50_000);
const faults = [];
/** Whether a refusal is expected, which Chromium reports as an error of the page. */
let expectsRefusal = false;
page.on("pageerror", (error) => faults.push(String(error)));
page.on("dialog", (dialog) => { faults.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
page.on("console", (line) => { if (line.type() === "error" && !expectsRefusal) faults.push(line.text()); });
page.on("request", (request) => {
  const url = new URL(request.url());
  if (!["blob:", "data:"].includes(url.protocol) && url.host !== new URL(hub).host) faults.push(request.url());
});
const fine = () => assert.deepEqual(faults, []);
async function refused(work) {
  expectsRefusal = true;
  await work();
  expectsRefusal = false;
}

/** Nothing serious stands in the way of people who use a keyboard or a screen reader, and nothing is wider than the page. */
async function accessible(name) {
  await page.evaluate(axe);
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(serious.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html }) => html).join(" ")}`), []);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, `${name} on a phone`);
  if (SHOTS) await shoot(name);
  await page.setViewportSize({ width: 1440, height: 900 });
}

async function shoot(name) {
  for (const [width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${SHOTS}/${name.replaceAll(" ", "-")}-${width}-${colorScheme}.png` });
    }
  }
}

/** Opens a page of the console by its link. */
async function open(name) {
  await page.click(`nav a:text-is("${name}")`);
  await page.waitForSelector(`#title:text-is("${name}")`);
}

/** Clicks a button that asks once more. */
async function careful(row, label) {
  await row.locator(`button:text-is("${label}")`).click();
  await row.locator(`.careful button.full:text-is("${label}")`).click();
}

/** The texts of all QR codes of a picture, which is searched code by code. */
async function codesOf(pictures) {
  const reader = await context.newPage();
  await reader.addScriptTag({ content: jsqr });
  const texts = await reader.evaluate(async (pictures) => {
    return Promise.all(pictures.map(async (picture) => {
      const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
      canvas.drawImage(bitmap, 0, 0);
      const { data, width, height } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
      return globalThis.jsQR(data, width, height)?.data;
    }));
  }, pictures.map((picture) => picture.toString("base64")));
  await reader.close();
  return texts;
}

/** The pages of a PDF, in points. */
function pagesOf(pdf) {
  const boxes = pdf.toString("latin1").matchAll(/\/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)\s*\]/g);
  return [...boxes].map(([, width, height]) => [Math.round(Number(width)), Math.round(Number(height))]);
}

// The login.
await page.goto(`${hub}/`);
await page.waitForSelector(".door");
assert.equal(page.url(), `${hub}/console`);
await accessible("login");
await refused(async () => {
  await page.fill("[name=password]", "wrong horse");
  await page.click("button.main");
  await page.waitForSelector("[role=alert]:text-is('wrong password')");
});
await page.fill("[name=password]", password);
await page.click("button.main");
await page.waitForSelector("#title");
assert.deepEqual(await context.cookies(), []);
fine();
step("logged in");

// The pages that show something.
assert.equal(await page.locator(".part[data-state=ok]").count(), 4, "with the speech model");
await page.waitForSelector(".chart polyline", { state: "attached" });
assert.equal(await page.locator(".chart").count(), 8);
await page.waitForFunction(() => document.querySelector("#mqtt-open").textContent === "1");
await page.click("#backup button");
await page.waitForSelector("#backup [role=status]");
await accessible("overview");
await open("Connections");
await page.waitForSelector(`td:has-text("${toy}")`);
assert.match(await page.locator(`tr:has-text("${toy}")`).textContent(), /MQTT 3\.1\.1127\.0\.0\.1.*\d+ B/);
await accessible("connections");
await page.fill(".search", "ffffffffffffffffffffffff");
await page.waitForSelector(".empty");
await open("Topics");
step("looks at topics");
await page.waitForSelector(`td code:text-is("toy/${toy}/state/note")`);
assert.ok(!(await page.content()).includes(secretText), "no content");
await accessible("topics");
await open("Refusals");
await page.waitForSelector("td:has-text('nothing at this path')");
await accessible("refusals");
await open("Log");
await page.waitForSelector(".log [data-level=warn]:has-text('a wrong password for the console')");
const log = await page.textContent(".log");
assert.ok(!log.includes(password) && !log.includes("wrong horse"), "no secret");
await accessible("log");
fine();
step("looked");

// Devices: a batch, its file, its sheets.
await open("Devices");
await page.fill("[name=count]", "30");
await page.fill(".search", "no such device");
await page.waitForSelector(".empty:text-is('No device.')");
assert.equal(await page.inputValue("[name=count]"), "30", "what is typed stays when the page is drawn again");
await page.fill(".search", "");
await page.click("button:text-is('Make')");
await page.waitForSelector("#batch");
await accessible("devices");
const [download] = await Promise.all([page.waitForEvent("download"), page.click("button:text-is('Save as CSV')")]);
const lines = readFileSync(await download.path(), "utf8").trim().split("\r\n");
assert.equal(lines.length, 31);
const keys = lines.slice(1).map((line) => line.split(",")[0]);
await page.click("#batch button:text-is('Print QR codes')");
await page.waitForSelector(".label svg path");
for (const [size, count, points] of [
  ["a4-24", 2, [595, 842]], ["a4-12", 3, [595, 842]], ["label-62", 30, [176, 82]], ["label-50", 30, [142, 85]],
]) {
  await page.selectOption("[aria-label=Paper]", size);
  await page.waitForSelector(`.sheets.${size}`);
  const pdf = await page.pdf({ preferCSSPageSize: true, printBackground: true });
  if (SHOTS) writeFileSync(`${SHOTS}/sheet-${size}.pdf`, pdf);
  assert.deepEqual(pagesOf(pdf), Array(count).fill(points), size);
  if (SHOTS) await shoot(`sheet ${size}`);
  const label = page.locator(".label").nth(7);
  assert.deepEqual(await codesOf([await label.screenshot()]), [keys[7]], size);
  assert.equal((await label.locator(".digits").textContent()).replaceAll(" ", ""), keys[7]);
  const overflows = await page.$$eval(".label", (labels) => labels.filter((label) =>
    label.scrollWidth > label.clientWidth || label.scrollHeight > label.clientHeight).length);
  assert.equal(overflows, 0, `${size}: a label is too small`);
}
await accessible("sheet");
await page.click("button:text-is('Back')");
await page.click("#batch button:text-is('Close')");
await page.fill(".search", keys[0]);
const device = page.locator(`[data-device="${keys[0]}"]`);
await page.waitForFunction(() => document.querySelectorAll("[data-device]").length === 1);
await careful(device, "New secret");
await page.waitForSelector(`[role=status] code:has-text("${keys[0]}")`);
await careful(device, "Remove");
await page.waitForSelector(".empty:text-is('No device.')");
await page.fill(".search", toy);
await page.waitForSelector(`[data-device]:has-text("${toy}"):has-text("online")`);
fine();
step("devices");

// Users.
await open("Users");
await accessible("users");
const parent = page.locator("[data-user=parent]");
await careful(parent, "Reset password");
const code = await page.textContent("#said .code");
await careful(parent, "Log out");
await page.waitForSelector("#said:has-text('logged out')");
await careful(page.locator("[data-user=leaving]"), "Erase");
await page.waitForFunction(() => !document.querySelector("[data-user=leaving]"));
fine();
step("users", { code });

// Content.
await open("Content");
await page.fill("[name=title]", MARKUP);
await page.setInputFiles("[name=sound]", sound);
await page.setInputFiles("[name=cover]", cover);
await page.click("button:text-is('Add')");
await page.waitForSelector("[data-content] img.cover");
assert.equal(await page.textContent("[data-content] .name"), MARKUP);
await page.click("[data-content] button");
await page.waitForFunction(() => document.querySelector("audio")?.currentTime > 0.2);
await accessible("content");
await refused(async () => {
  await page.fill("[name=title]", "No sound");
  await page.setInputFiles("[name=sound]", { name: "song.mp3", mimeType: "audio/mpeg", buffer: Buffer.from("no sound at all") });
  await page.setInputFiles("[name=cover]", cover);
  await page.click("button:text-is('Add')");
  await page.waitForSelector("form [role=alert]");
});
fine();
step("content");

// Speech.
await open("Speech");
await page.click("#record");
await page.waitForSelector(".live");
await new Promise((resolve) => setTimeout(resolve, 4000));
await page.click("#stop");
await page.waitForSelector("#heard");
assert.match(await page.textContent("#heard"), /what time is it.*A toy wouldtime/i);
await accessible("speech");
fine();
step("speech");

// Another password, and the end of the session.
await open("Password");
await accessible("password");
const change = async (old, wanted, again) => {
  await page.fill("[name=old]", old);
  await page.fill("[name=new]", wanted);
  await page.fill("[name=again]", again);
  await page.click("form button");
};
await change(password, NEW_PASSWORD, "another one");
await page.waitForSelector("[role=alert]:has-text('differ')");
await refused(async () => {
  await change("wrong horse", NEW_PASSWORD, NEW_PASSWORD);
  await page.waitForSelector("[role=alert]:text-is('wrong password')");
});
await change(password, NEW_PASSWORD, NEW_PASSWORD);
await page.waitForSelector("[role=status]");
await page.reload();
await page.waitForSelector("#title");
await page.click("#log-out");
await page.waitForSelector(".door");
await page.fill("[name=password]", NEW_PASSWORD);
await page.click("button.main");
await page.waitForSelector("#title");
fine();
step("password", { password: NEW_PASSWORD });

// A session that the hub has ended: a page that looks from time to time asks for the password again.
await open("Overview");
await refused(async () => {
  step("ready for the end");
  await page.waitForSelector(".door");
});
fine();

// Pages of strangers.
const body = `<!doctype html><iframe src="${hub}/console"></iframe><form method="post" action="${hub}/console/api/backup" enctype="text/plain"><input name='{"a' value='"}'></form>`;
const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(body));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const stranger = await context.newPage();
// Of this machine, as the browser itself protects local addresses from pages of others.
await stranger.goto(`http://evil.rebound.test:${server.address().port}/`);
const framed = await (await stranger.$("iframe")).contentFrame();
await stranger.waitForFunction(() => document.readyState === "complete");
assert.equal(await framed.locator(".door, .app").count(), 0, "no frame");
const statuses = await stranger.evaluate(async (hub) => {
  const call = (name, init) => fetch(`${hub}/console/api/${name}`, init).then((response) => response.status, () => "refused by the browser");
  return [
    await call("overview", {}),
    await call("login", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }),
    await call("overview", { headers: { Authorization: "Bearer x" } }),
  ];
}, hub);
assert.deepEqual(statuses, Array(3).fill("refused by the browser"));
// What a page may send without asking is refused by the hub, and it gets no answer.
for (const name of ["backup", "login"]) {
  const sent = await stranger.evaluate(([hub, name]) => fetch(`${hub}/console/api/${name}`, { method: "POST", mode: "no-cors", body: "{}" })
    .then(() => "answered", () => "refused"), [hub, name]);
  assert.equal(sent, "refused");
}
const [answer] = await Promise.all([
  stranger.waitForResponse((response) => response.url().endsWith("/console/api/backup")),
  stranger.evaluate(() => document.querySelector("form").submit()),
]);
assert.equal(answer.status(), 403);
const rebound = await context.newPage();
const { port } = new URL(hub);
const led = await rebound.goto(`http://x.rebound.test:${port}/console`);
assert.equal(led.status(), 421);
await browser.close();
server.close();
step("strangers");
