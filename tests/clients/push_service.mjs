// A push service on this machine: it checks what RFC 8030, 8291 and 8292 require of a push message, with Node's OpenSSL, and
// decrypts it as the browser of the subscription would.
// node push_service.mjs NAME...
// Prints a line of JSON with a subscription for each name, then one for each push message. The name chooses the answer.
import assert from "node:assert/strict";
import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

const DAY_S = 24 * 3600;
const hkdf = (secret, salt, info, length) => Buffer.from(hkdfSync("sha256", secret, salt, info, length));
const json = (part) => JSON.parse(Buffer.from(part, "base64url"));

/** The claims of a signature for this origin, and the key that has made it. */
function signedBy(authorization, origin) {
  const [, token, key] = /^vapid t=([\w.-]+), k=([\w-]+)$/.exec(authorization);
  const [header, claims, signature] = token.split(".");
  const point = Buffer.from(key, "base64url");
  assert.equal(point.length, 65);
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((half) => half.toString("base64url"));
  const publicKey = createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
  const signed = Buffer.from(`${header}.${claims}`);
  const isRight = verify("sha256", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
  assert.ok(isRight, "the signature");
  assert.deepEqual(json(header), { typ: "JWT", alg: "ES256" });
  const { aud, exp, ...others } = json(claims);
  assert.equal(aud, origin);
  const left = exp - Date.now() / 1000;
  assert.ok(left > 0 && left <= DAY_S, `it expires in ${left} s`);
  return { key, ...others };
}

/** The text of a message to a subscription. */
function decrypted(body, { ecdh, auth }) {
  const salt = body.subarray(0, 16);
  const idLength = body[20];
  const sender = body.subarray(21, 21 + idLength);
  const record = body.subarray(21 + idLength);
  assert.ok(body.readUInt32BE(16) >= record.length, "one record");
  const info = Buffer.concat([Buffer.from("WebPush: info\0"), ecdh.getPublicKey(), sender]);
  const input = hkdf(ecdh.computeSecret(sender), auth, info, 32);
  const key = hkdf(input, salt, "Content-Encoding: aes128gcm\0", 16);
  const nonce = hkdf(input, salt, "Content-Encoding: nonce\0", 12);
  const cipher = createDecipheriv("aes-128-gcm", key, nonce);
  cipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([cipher.update(record.subarray(0, -16)), cipher.final()]);
  const end = padded.findLastIndex((byte) => byte !== 0);
  assert.equal(padded[end], 2, "the delimiter of the last record");
  return padded.subarray(0, end).toString();
}

/** Starts a service. `pushed` gets each message. */
export async function pushService(names, pushed) {
  const browsers = new Map(names.map((name) => {
    const ecdh = createECDH("prime256v1");
    ecdh.generateKeys();
    return [`/send/${name}`, { name, ecdh, auth: randomBytes(16), messages: 0 }];
  }));
  let origin = "";
  const server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const browser = browsers.get(request.url);
    if (!browser) {
      pushed({ name: `unexpected ${request.method} ${request.url}` });
      response.writeHead(404).end();
      return;
    }
    const { method, headers } = request;
    const body = Buffer.concat(pieces);
    try {
      assert.equal(method, "POST");
      assert.equal(headers["content-encoding"], "aes128gcm");
      assert.match(headers.ttl, /^\d+$/);
      assert.match(headers.topic, /^[\w-]{1,32}$/);
      const signed = signedBy(headers.authorization, origin);
      browser.messages += 1;
      const { name, messages } = browser;
      pushed({ name, messages, text: decrypted(body, browser), bytes: body.length, ttl: headers.ttl, ...signed });
    } catch (error) {
      pushed({ name: browser.name, fault: error.message });
    }
    const { name, messages } = browser;
    if (name === "gone") response.writeHead(410).end();
    else if (name === "refusing") response.writeHead(403).end();
    else if (name === "moved") response.writeHead(307, { Location: `${origin}/send/elsewhere` }).end();
    else if (name === "busy" && messages === 1) response.writeHead(429, { "Retry-After": "1" }).end();
    else if (name === "failing" && messages === 1) response.writeHead(503).end();
    else if (name === "hanging" || (name === "slow" && messages === 1)) return;
    else response.writeHead(201, { Location: `${origin}/message/1` }).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  origin = `http://127.0.0.1:${server.address().port}`;
  const subscriptions = [...browsers].map(([path, { ecdh, auth }]) => ({
    endpoint: `${origin}${path}`, p256dh: ecdh.getPublicKey("base64url"), auth: auth.toString("base64url"),
  }));
  return { server, subscriptions };
}

if (import.meta.url === new URL(process.argv[1], "file:").href) {
  const print = (step, seen) => console.log(JSON.stringify({ step, ...seen }));
  const { subscriptions } = await pushService(process.argv.slice(2), (seen) => print("push", seen));
  subscriptions.forEach((subscription) => print("subscription", subscription));
}
