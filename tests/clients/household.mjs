// The settings of a toy and of an account in the family's app, by clicks alone.
// node household.mjs HUB
// The hub has the users mia and tom, and anna and ben, friends of mia; mia's toy Fluffy; and a piece of content.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

import { notifications } from "./notifications.mjs";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const [hub] = process.argv.slice(2);
const step = (name, seen = {}) => console.log(JSON.stringify({ step: name, ...seen }));

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const faults = [];

async function visit(username, password) {
  const page = await (await browser.newContext({ locale: "en-GB", permissions: ["notifications"] })).newPage();
  page.setDefaultTimeout(50_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => {
    // The windows of this test are private, and Chromium has no push messages in those.
    const isPrivate = /does not support the Push API in incognito mode/.test(line.text());
    if (line.type() === "error" && !isPrivate) faults.push(line.text());
  });
  await page.goto(hub);
  await login(page, username, password);
  return page;
}

async function login(page, username, password) {
  if (await page.locator("[name=nickname]").count()) await page.click("#door button.quiet");
  await page.fill("[name=username]", username);
  await page.fill("[name=password]", password);
  await page.click("#door button.main");
  await page.waitForSelector("#link[data-link=open]");
}

/** Opens the settings of the toy, as they are now. */
async function settings(page) {
  await page.click("[data-view=chats]");
  await page.click("[data-view=toys]");
  await page.click("[data-toy] details summary");
  await page.waitForSelector(".settings form");
}

/** Clicks a button that asks once more. */
async function careful(place, label) {
  await place.locator(`button.danger:text-is("${label}")`).click();
  await place.locator(`.careful button.full:text-is("${label}")`).click();
}

const said = (page, text) => page.waitForFunction((text) => document.getElementById("note").textContent.includes(text), text);

/** Does something that the app confirms. */
async function confirmed(page, act) {
  if (await page.locator("#note button").count()) await page.click("#note button");
  await act();
  await said(page, "Done.");
}

const mia = await visit("mia", "correct horse");
const tom = await visit("tom", "correct horse");

// Another guardian, by a code.
await settings(mia);
await mia.click(".settings button:text-is('Invite a guardian')");
const invite = await mia.textContent(".settings [role=status] code");
await tom.click("[data-view=toys]");
await tom.click("details:has([name=invite]) summary");
await tom.fill("[name=invite]", invite);
await tom.click("form:has([name=invite]) button");
await tom.waitForSelector("[data-toy]:has-text('Fluffy')");
step("joined");

// What the toy may play, and for how long.
await settings(mia);
const minutes = async (count) => {
  await mia.fill(".settings [name=minutes]", count);
  await mia.click(".settings form:has([name=minutes]) button");
};
const piece = mia.locator(".settings label.check:has-text('Ode to Joy') input");
await confirmed(mia, () => mia.selectOption(".settings select:has(option[value=approved])", "approved"));
await confirmed(mia, () => piece.check());
await confirmed(mia, () => minutes("45"));
assert.equal(await mia.inputValue(".settings [name=minutes]"), "45", "the form shows what is set");
step("limited");
await confirmed(mia, () => minutes(""));
await confirmed(mia, () => piece.uncheck());
step("unlimited");

// A toy at a new address.
await mia.click(".settings button:text-is('Let Fluffy in at a new address')");
await said(mia, "may now connect once");

// The other guardian sees the same settings, and is removed.
await settings(tom);
await settings(mia);
const others = mia.locator(".settings li:has-text('tom')");
await careful(others, "Remove");
await others.waitFor({ state: "detached" });
await tom.reload();
await tom.waitForSelector("#link[data-link=open]");
await tom.click("[data-view=toys]");
await tom.waitForFunction(() => document.querySelectorAll("[data-toy]").length === 0);
step("removed");

// A friendship ends.
await mia.click("[data-view=chats]");
await mia.click("[data-friend]:has-text('Ben')");
await mia.click(".chat-head .more summary");
await careful(mia.locator(".chat-head .more"), "End this friendship");
await mia.waitForFunction(() => document.querySelectorAll("[data-friend]").length === 2);
step("parted");

// A friend is blocked, and not blocked any more.
await mia.click("[data-view=chats]");
await mia.click("[data-friend]:has-text('Anna')");
await mia.click(".chat-head .more summary");
await careful(mia.locator(".chat-head .more"), "Block");
await mia.waitForFunction(() => !document.querySelector("[data-friend]")?.textContent.includes("Anna"));
await mia.click("[data-view=people]");
await mia.click("h3:text-is('Blocked') ~ ul button");
await mia.waitForFunction(() => ![...document.querySelectorAll("h3")].some((title) => title.textContent === "Blocked"));
step("blocked and unblocked");

// A message while the page is behind another one.
await mia.click("[data-view=account]");
assert.equal(await mia.isChecked("#notify"), false, "not without the user's wish");
await mia.check("#notify");
await mia.evaluate(() => navigator.serviceWorker.ready);
const nextNotification = await notifications(await mia.context().newCDPSession(mia));
await mia.evaluate(() => Object.defineProperty(document, "hidden", { get: () => true }));
step("wants to be notified");
await mia.waitForSelector("[data-view=chats] .badge");
const { title, body } = await nextNotification();
assert.equal(`${title}: ${body}`, "Fluffy: 1 unread");
await mia.uncheck("#notify");
step("notified");

// The password, and what is noted.
await mia.click("[data-view=account]");
await mia.click("details:has-text('Change the password') summary");
const change = mia.locator("form:has([name=new_password])");
await change.locator("[name=password]").fill("wrong horse");
await change.locator("[name=new_password]").fill("a better password");
await change.locator("button").click();
await said(mia, "password");
await change.locator("[name=password]").fill("correct horse");
await change.locator("button").click();
await said(mia, "Done.");
await mia.waitForSelector("#link[data-link=open]");
await mia.click("summary:text-is('What happened')");
await mia.waitForFunction(() => document.querySelectorAll("#audit li").length >= 5);
await mia.click("#log-out");
await mia.waitForSelector("#door");
await login(mia, "mia", "a better password");
assert.deepEqual(faults, []);
await browser.close();
step("another password");
