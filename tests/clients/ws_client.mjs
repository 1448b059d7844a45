// The app socket for a client that offers compression: node ws_client.mjs WS_URL TOKEN MQTT_URL USER PASSWORD TOY. Ends with 0 if all is as
// it should be. `ws` comes with MQTT.js, which is the toy here.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { once } from "node:events";

const require = createRequire(`${process.env.NODE_PATH}/`);
const { WebSocket } = require("ws");
const mqtt = require("mqtt");
const [url, token, mqttUrl, username, password, toy] = process.argv.slice(2);
setTimeout(() => { console.error("no answer in time"); process.exit(1); }, 20_000).unref();

const app = new WebSocket(url, { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: { threshold: 0 } });
const heard = [];
app.on("message", (message) => { heard.push(JSON.parse(message)); app.emit("heard"); });
app.on("error", (error) => { console.error(error); process.exit(1); });
async function hears(is) {
  for (;;) {
    const found = heard.find(is);
    if (found) return found;
    await once(app, "heard");
  }
}

await once(app, "open");
assert.equal(app.extensions, "");
console.log("ok without");

const topic = `toy/${toy}/state/story`;
app.send(JSON.stringify({ id: 7, do: "subscribe", topic }));
assert.equal((await hears((frame) => frame.id === 7)).code, 0);
console.log("ok request");

const story = "Once upon a time there was a bear. ".repeat(500);
const client = mqtt.connect(mqttUrl, { username, password, reconnectPeriod: 0 });
await once(client, "connect");
await client.publishAsync(topic, story, { qos: 1 });
assert.equal((await hears((frame) => frame.type === "publish")).payload, story);
await client.endAsync();
console.log("ok push");

app.send("0".repeat(10_000_000));
const [code] = await once(app, "close");
assert.equal(code, 4502);
console.log("ok too large");
