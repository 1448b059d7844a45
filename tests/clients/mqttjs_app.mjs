// An app on MQTT.js: node mqttjs_app.mjs URL USER TOKEN. Prints what comes on its inbox, a line for each event; publishes
// what a line of its input says, {"topic":…,"base64":…}, at QoS 1.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const mqtt = createRequire(`${process.env.NODE_PATH}/`)("mqtt");
const [url, user, token] = process.argv.slice(2);
const client = mqtt.connect(url, { protocolVersion: 5, username: user, password: token, clean: true, reconnectPeriod: 0 });
client.on("error", (error) => { console.error(error); process.exit(1); });
client.on("message", (_, payload) => console.log(payload.toString()));
client.on("connect", async () => {
  await client.subscribeAsync(`app/${user}/in`, { qos: 1 });
  console.log(JSON.stringify({ type: "ready" }));
});
for await (const line of createInterface({ input: process.stdin })) {
  const { topic, base64 } = JSON.parse(line);
  await client.publishAsync(topic, Buffer.from(base64, "base64"), { qos: 1 });
}
await client.endAsync();
