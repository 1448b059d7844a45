// The notifications that Chromium shows for an origin, as its developer tools record them. `getNotifications` is no way to
// wait for one: Chromium forgets a notification that is asked for between its storing and its showing.

/** Watches for notifications in a session of the developer tools; gives a function that waits for the next one. */
export async function notifications(tools) {
  const shown = [];
  let take;
  tools.on("BackgroundService.backgroundServiceEventReceived", ({ backgroundServiceEvent: { eventName, instanceId, eventMetadata } }) => {
    if (eventName !== "Notification displayed") return;
    const { Title, Body } = Object.fromEntries(eventMetadata.map(({ key, value }) => [key, value]));
    const seen = { title: Title, body: Body, tag: instanceId };
    if (take) take(seen);
    else shown.push(seen);
  });
  await tools.send("BackgroundService.startObserving", { service: "notifications" });
  await tools.send("BackgroundService.setRecording", { service: "notifications", shouldRecord: true });
  return () => shown.shift() ?? new Promise((resolve) => { take = (seen) => { take = null; resolve(seen); }; });
}
