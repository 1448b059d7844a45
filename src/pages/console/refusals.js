// The refusals of the last hour.

import { html } from "../vendor/preact.js";
import { Page, Table, timeOf, useAnswer, whole } from "./parts.js";

const INTERVAL_S = 15;

/** What the codes of answers mean (docs/http.md). */
const CODES = {
  1: "a failure that the user can correct, such as a wrong password",
  2: "the device is bound already",
  10: "no valid token",
  11: "a rate limit",
  12: "a limit of a number, such as friends or connections",
  13: "the recording is no sound",
  14: "the recording is empty",
  15: "the recording is too long",
  16: "no speech model",
  17: "the hub is busy",
  18: "not permitted",
  19: "a fault of the hub; see the log",
  20: "the body cannot be read",
  21: "the body is too large",
  22: "the type of the body is not supported",
  23: "the body was sent too slowly",
  24: "nothing at this path",
  25: "the method is not supported",
  26: "not opened as a WebSocket",
  27: "a range behind the end of the file",
  28: "a page of another origin",
  29: "the position in the stream is too old",
  30: "chunks are missing",
  31: "speech cannot be synthesised",
  32: "the disk is full",
  33: "the outcome is not known",
  34: "not from this network",
  35: "the limit of what a party may store",
  36: "erased",
};
/** Why connections are refused. */
const REASONS = {
  full: "too many connections",
  address_full: "too many connections of one address",
  banned: "a banned address",
  handshake: "the handshake of TLS or of the WebSocket failed",
  login: "the login was refused",
};

export function Refusals() {
  const { data, failure } = useAnswer("refusals", {}, INTERVAL_S);
  return html`
    <${Page} title="Refusals" failure=${failure} hint=${data && `Since ${timeOf(data.since)}.`}>
      <h3>Calls</h3>
      <${Table} caption="Refused calls" columns=${[["Code", "number"], ["Meaning"], ["Count", "number"]]} empty="No call was refused.">
        ${data?.codes.map(({ code, count }) => html`
          <tr><td class="number">${code}</td><td>${CODES[code] ?? "see docs/http.md"}</td><td class="number">${whole(count)}</td></tr>`)}
      </${Table}>
      <h3>Connections</h3>
      <${Table} caption="Refused connections" columns=${[["Listener"], ["Reason"], ["Count", "number"]]} empty="No connection was refused.">
        ${data?.connections.map(({ protocol, reason, count }) => html`
          <tr><td>${protocol}</td><td>${REASONS[reason] ?? reason}</td><td class="number">${whole(count)}</td></tr>`)}
      </${Table}>
    </${Page}>`;
}
