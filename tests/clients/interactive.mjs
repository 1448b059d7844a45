// How soon the family's app can be used on a slow phone: Chromium with a slow network and a slow processor.
// node interactive.mjs HUB
// Prints a line of JSON for each page: the median of some visits with an empty cache.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require("playwright-core");
const [hub] = process.argv.slice(2);

const VISITS = 5;
/** A slow mobile network, as Lighthouse simulates it: 1.6 Mbit/s, 150 ms for each round trip. */
const NETWORK = { offline: false, latency: 150, downloadThroughput: (1.6e6 / 8) * 0.9, uploadThroughput: 750e3 / 8 };
/** How many times slower the processor is. */
const SLOWER = 4;
/** What a visitor needs first on each page. */
const PAGES = { "/": "#door button.main", "/toy": "form button, form input" };

async function visit(path, selector) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
  const page = await (await browser.newContext({ viewport: { width: 360, height: 740 }, serviceWorkers: "block" })).newPage();
  const session = await page.context().newCDPSession(page);
  await session.send("Network.emulateNetworkConditions", NETWORK);
  await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
  let bytes = 0;
  page.on("requestfinished", async (request) => {
    const sizes = await request.sizes().catch(() => null);
    bytes += sizes ? sizes.responseBodySize + sizes.responseHeadersSize : 0;
  });
  const began = performance.now();
  await page.goto(`${hub}${path}`, { waitUntil: "commit" });
  await page.waitForSelector(selector);
  // Its script has run and the main thread is free when this is answered.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
  const seconds = (performance.now() - began) / 1000;
  await page.waitForLoadState("networkidle");
  await browser.close();
  return { seconds, bytes };
}

for (const [path, selector] of Object.entries(PAGES)) {
  const visits = [];
  for (let turn = 0; turn < VISITS; turn += 1) visits.push(await visit(path, selector));
  visits.sort((a, b) => a.seconds - b.seconds);
  const { seconds, bytes } = visits[Math.floor(VISITS / 2)];
  console.log(JSON.stringify({ step: "interactive", path, seconds, bytes, slowest: visits[VISITS - 1].seconds }));
}
