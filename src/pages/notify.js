// Notifications of new messages. While a page of the app is open, also behind other windows, the page shows them. For a
// closed app the browser subscribes at the push service of its vendor, and the hub sends it the news without its content.

import { read, t, write } from "./texts.js";

const WANTED = "toyhub.notify";
/** The news of push messages, and their texts. The service worker shows these, and has no other way to read them. */
const NEWS = { message: "push_message", request: "push_request", toy: "push_toy" };
const TEXTS_CACHE = "toyhub-texts";
const icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]")).href;

/** Whether this browser has notifications for this page: over HTTPS, and on the machine of the hub itself. */
export const canNotify = () => globalThis.isSecureContext && "Notification" in globalThis;

/** Whether the user wants notifications, and the browser permits them. */
export const notifies = () => canNotify() && Notification.permission === "granted" && read(WANTED) === "1";

/** Turns notifications on or off; the browser asks the user once. Gives whether they are permitted. */
export async function setNotifies(isWanted) {
  const isPermitted = !isWanted || (await Notification.requestPermission()) === "granted";
  write(WANTED, isWanted && isPermitted ? "1" : null);
  return isPermitted;
}

const registered = () => navigator.serviceWorker?.getRegistration();

/** Shows a notification; a later one with the same tag replaces it. */
export async function notify(title, body, tag) {
  if (!notifies()) return;
  const registration = await registered();
  // Phones permit them to the service worker alone.
  if (registration?.active) await registration.showNotification(title, { body, tag, icon });
  else new Notification(title, { body, tag, icon });
}

/** Gives the service worker the texts of push messages in the language of the user. */
export async function keepTexts() {
  const texts = Object.fromEntries(Object.entries(NEWS).map(([news, key]) => [news, t(key)]));
  const cache = await caches.open(TEXTS_CACHE);
  await cache.put("/texts", new Response(JSON.stringify({ ...texts, icon })));
}

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));

/** Whether a subscription was made with this key. */
function hasKey(subscription, key) {
  const bytes = new Uint8Array(subscription.options.applicationServerKey ?? []);
  return bytes.length === key.length && bytes.every((byte, n) => byte === key[n]);
}

/** Subscribes this browser for the user, if notifications are on. Gives whether push messages will come. */
export async function subscribe(hub) {
  const registration = notifies() ? await registered() : null;
  if (!registration?.pushManager) return false;
  await keepTexts();
  const { key } = await hub.call("/push_key");
  if (!key) return false;
  let subscription = await registration.pushManager.getSubscription();
  // Another hub had this address before.
  if (subscription && !hasKey(subscription, bytesOf(key))) {
    await subscription.unsubscribe();
    subscription = null;
  }
  const options = { userVisibleOnly: true, applicationServerKey: bytesOf(key) };
  subscription ??= await registration.pushManager.subscribe(options);
  const { endpoint, keys } = subscription.toJSON();
  await hub.call("/set_push", { user_id: hub.profile._id, endpoint, ...keys });
  return true;
}

/** Ends the subscription of this browser, here and at the hub. */
export async function unsubscribe(hub) {
  const registration = canNotify() ? await registered() : null;
  const subscription = await registration?.pushManager?.getSubscription();
  if (!subscription) return;
  await Promise.allSettled([subscription.unsubscribe(), hub.call("/erase_push", { user_id: hub.profile._id })]);
}
