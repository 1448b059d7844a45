// Publishes many messages of QoS 2 over version 3.1.1 in one go: node mqttjs_many.mjs URL USER PASSWORD TOPIC COUNT.
import { createRequire } from "node:module";
import { once } from "node:events";

const mqtt = createRequire(`${process.env.NODE_PATH}/`)("mqtt");
const [url, username, password, topic, count] = process.argv.slice(2);

const client = mqtt.connect(url, { protocolVersion: 4, username, password, reconnectPeriod: 0 });
client.on("error", (error) => { console.error(error); process.exit(1); });
client.on("close", () => { console.error("closed"); process.exit(1); });
setTimeout(() => { console.error("not all in time"); process.exit(1); }, 30_000).unref();
await once(client, "connect");
const published = [];
for (let number = 0; number < Number(count); number += 1) {
  published.push(client.publishAsync(topic, String(number), { qos: 2 }));
}
await Promise.all(published);
console.log("ok publish");
client.removeAllListeners("close");
await client.endAsync();
