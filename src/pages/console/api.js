// The calls of the console. The session is a token in this tab alone: no cookie is sent by the browser itself.

const KEPT = "toyhub.console";
/** The hub does not count such a request as a use of the session. */
const BACKGROUND = { "X-Toyhub-Background": "1" };

/** The hub refused a call; the message is for the operator. */
export class Refused extends Error {
  /** @param {string} message @param {number} status the status of HTTP */
  constructor(message, status) {
    super(message);
    this.name = "Refused";
    this.status = status;
  }
}

/** The session of the operator. */
export const session = {
  token: sessionStorage.getItem(KEPT) ?? "",
  /** Called when it has ended. */
  onend: () => {},
  /** @param {string} token */
  begin(token) {
    session.token = token;
    sessionStorage.setItem(KEPT, token);
  },
  end() {
    session.token = "";
    sessionStorage.removeItem(KEPT);
    session.onend();
  },
};

const bearer = () => (session.token ? { Authorization: `Bearer ${session.token}` } : {});

/** @param {Record<string, unknown>} query */
function address(name, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return `/console/api/${name}${text && `?${text}`}`;
}

/** The answer of a response, or why there is none. */
async function answer(response) {
  if (response.ok) return response;
  const { msg } = await response.json().catch(() => ({ msg: `the hub answered with status ${response.status}` }));
  if (response.status === 401 && session.token) session.end();
  throw new Refused(msg, response.status);
}

/** Reads. @param {string} name @param {Record<string, unknown>} [query] */
export async function read(name, query, { isBackground = false } = {}) {
  const headers = { ...bearer(), ...(isBackground && BACKGROUND) };
  return (await answer(await fetch(address(name, query), { headers }))).json();
}

/** A file of the hub, for this page. @param {string} name @param {Record<string, unknown>} [query] */
export async function file(name, query) {
  return (await answer(await fetch(address(name, query), { headers: bearer() }))).blob();
}

/** Changes something. @param {string} name @param {Record<string, unknown>} [fields] */
export async function change(name, fields = {}) {
  const headers = { ...bearer(), "Content-Type": "application/json" };
  const response = await fetch(address(name), { method: "POST", headers, body: JSON.stringify(fields) });
  return (await answer(response)).json();
}

/**
 * Sends a file.
 * @param {string} name @param {Record<string, unknown>} query @param {Blob} body
 * @param {(part: number) => void} onprogress gets the part that was sent, from 0 to 1
 */
export function send(name, query, body, onprogress = () => {}) {
  return new Promise((resolve, reject) => {
    // Only this older interface tells how much of a body was sent.
    const request = new XMLHttpRequest();
    request.open("POST", address(name, query));
    request.setRequestHeader("Authorization", `Bearer ${session.token}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => onprogress(total ? loaded / total : 0);
    request.onerror = () => reject(new Refused("the connection to the hub was lost", 0));
    request.onload = () => {
      let said;
      try {
        said = JSON.parse(request.responseText);
      } catch {
        said = { msg: `the hub answered with status ${request.status}` };
      }
      if (request.status === 200) return resolve(said);
      if (request.status === 401) session.end();
      reject(new Refused(said.msg, request.status));
    };
    request.send(body);
  });
}
