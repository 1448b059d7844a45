// MQTT.js against a hub: node mqttjs_client.mjs URL VERSION USER PASSWORD TOY. Ends with 0 if all is as it should be.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { once } from "node:events";

const mqtt = createRequire(`${process.env.NODE_PATH}/`)("mqtt");
const [url, version, username, password, toy] = process.argv.slice(2);

const client = mqtt.connect(url, {
  protocolVersion: Number(version), username, password, clientId: `mqttjs-${version}`, clean: false, reconnectPeriod: 0,
  properties: version === "5" ? { sessionExpiryInterval: 60 } : undefined,
});
client.on("error", (error) => { console.error(error); process.exit(1); });
setTimeout(() => { console.error("no answer in time"); process.exit(1); }, 20_000).unref();
await once(client, "connect");
console.log("ok connect");

const [granted] = await client.subscribeAsync({ [`toy/${toy}/in`]: { qos: 1 }, [`toy/${toy}/cmd/#`]: { qos: 2 } });
assert.equal(granted.qos, 1);
console.log("ok subscribe");

for (const qos of [0, 1, 2]) {
  await client.publishAsync(`toy/${toy}/state/battery`, `8${qos}`, { qos, retain: true });
}
console.log("ok publish");
await client.endAsync();
