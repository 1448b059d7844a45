// The service worker of the family's app: it opens without a connection, and waits for the hub.
// The files are those of one version of the program, whose hash is in their path.

const FOLDER = "{{web}}";
const CACHE = `toyhub ${FOLDER}`;
const FILES = [
  "account.js", "app.js", "chat.js", "family.js", "hub.js", "icon.svg", "manifest.json", "notify.js", "outbox.js", "parts.js",
  "people.js", "recorder.js", "scan.js", "style.css", "texts.js", "toys.js", "vendor/jsqr.js", "vendor/preact.js",
];
/** A hub that has not answered by then is taken for one that is away. */
const PATIENCE_MS = 3000;

const worker = /** @type {any} */ (self);

worker.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(["/", ...FILES.map((name) => `${FOLDER}/${name}`)]);
    await worker.skipWaiting();
  };
  event.waitUntil(fill());
});

worker.addEventListener("activate", (event) => {
  const clear = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("toyhub ") && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await worker.clients.claim();
  };
  event.waitUntil(clear());
});

/** The app of the hub, or the kept one if the hub does not answer. */
async function app(request) {
  const kept = () => caches.match("/", { cacheName: CACHE });
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS)).then(kept);
  const asked = fetch(request).catch(kept);
  return (await Promise.race([asked, late])) ?? asked;
}

/** The texts of push messages, which the app keeps here in the language of its user. */
async function texts() {
  const kept = await caches.match("/texts", { cacheName: "toyhub-texts" });
  return kept ? kept.json() : {};
}

// The hub says what kind of news there is, and nothing else. A browser requires a notification for each push message.
worker.addEventListener("push", (event) => {
  const show = async () => {
    const news = event.data?.text() ?? "message";
    const { icon, ...known } = await texts();
    await worker.registration.showNotification("toyhub", { body: known[news] ?? "", tag: `push ${news}`, icon });
  };
  event.waitUntil(show());
});

// A click on a notification shows the app.
worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const show = async () => {
    const [open] = await worker.clients.matchAll({ type: "window" });
    await (open ? open.focus() : worker.clients.openWindow("/"));
  };
  event.waitUntil(show());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (pathname === "/" && request.mode === "navigate") {
    event.respondWith(app(request));
  } else if (pathname.startsWith(`${FOLDER}/`)) {
    event.respondWith(caches.match(request, { cacheName: CACHE }).then((kept) => kept ?? fetch(request)));
  }
});
