// Notifications of new messages, while a page of the app is open, also behind other windows. A closed app gets none:
// for that the hub would have to send them through the push service of the browser's vendor.

import { read, write } from "./texts.js";

const WANTED = "toyhub.notify";
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

/** Shows a notification; a later one with the same tag replaces it. */
export async function notify(title, body, tag) {
  if (!notifies()) return;
  const registration = await navigator.serviceWorker?.getRegistration();
  // Phones permit them to the service worker alone.
  if (registration?.active) await registration.showNotification(title, { body, tag, icon });
  else new Notification(title, { body, tag, icon });
}
