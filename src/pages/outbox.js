// Recordings that were not sent yet. They are kept in IndexedDB, so that they survive a closed page.

const NAME = "toyhub";
const TABLE = "outbox";

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "upload" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Runs one transaction; resolves after its commit. */
async function inside(mode, work) {
  const base = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = base.transaction(TABLE, mode);
      const request = work(transaction.objectStore(TABLE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    base.close();
  }
}

/**
 * @typedef {{upload: string, owner: string, to: string, sound: Blob, seconds: number, at: number,
 *            state: "waiting" | "sending" | "failed", reason?: unknown}} Item
 */

/** The recordings of one user, oldest first. */
export class Outbox {
  /** @type {Item[]} */
  items = [];
  #owner;
  #isSending = false;

  constructor(owner) {
    this.#owner = owner;
  }

  /** Reads what an earlier page has left. */
  async load() {
    const all = await inside("readonly", (table) => table.getAll());
    const known = new Set(this.items.map(({ upload }) => upload));
    const left = all.filter(({ owner, upload }) => owner === this.#owner && !known.has(upload));
    this.items = [...left.map((item) => ({ ...item, state: "waiting" })), ...this.items].sort((a, b) => a.at - b.at);
  }

  /** Adds a recording. Gives whether it is stored: without storage it is kept as long as the page. */
  async add(to, sound, seconds) {
    const random = crypto.getRandomValues(new Uint8Array(16));
    const upload = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
    /** @type {Item} */
    const item = { upload, owner: this.#owner, to, sound, seconds, at: Date.now(), state: "waiting" };
    this.items.push(item);
    try {
      await inside("readwrite", (table) => table.put(item));
      return true;
    } catch {
      return false;
    }
  }

  async drop(item) {
    this.items = this.items.filter((other) => other !== item);
    await inside("readwrite", (table) => table.delete(item.upload)).catch(() => {});
  }

  /**
   * Sends the waiting recordings, one after the other. `send` gives the message's id, `onsent` gets it; `onchange` is
   * called at each change. A refused recording is kept, for the user to decide.
   */
  async flush(send, onsent, onchange) {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      for (let item; (item = this.items.find(({ state }) => state === "waiting"));) {
        item.state = "sending";
        onchange();
        try {
          const { _id } = await send(item);
          await this.drop(item);
          onsent(item, _id);
        } catch (error) {
          const isRefused = error.name === "Refused";
          item.state = isRefused ? "failed" : "waiting";
          item.reason = error;
          if (!isRefused) return;
        } finally {
          onchange();
        }
      }
    } finally {
      this.#isSending = false;
    }
  }
}
