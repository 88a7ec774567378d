// The live connection: driving messages go, pictures come. The protocol is described in docs/service.md.

import { address, protocols } from "./api.js";

const WINDOW = 2; // unanswered messages: one is rendered while the next one is on its way
const UNSEEN = 3; // pictures on the way that were not shown yet
const PATIENCE = 2000; // ms until an unanswered message counts as lost: newest wins, so some never are answered
const TRIES = 5;

const CLOSED = {
  4401: "The API key is not valid (any more).",
  4404: "This avatar is gone.",
  4429: "Too many live connections at a time. Close another one and start again.",
};

/** What one connection heard and sent. Handlers: ready(message), picture(bitmap, header, latency), problem(message), version(mode), lost(words or null). */
export class Live {
  constructor(id, start, handlers) {
    this.handlers = handlers;
    this.start = start;
    this.place = address(`v1/avatars/${id}/live`).replace(/^http/, "ws");
    this.sent = new Map(); // sequence number -> when
    this.number = 0;
    this.shown = 0;
    this.tries = 0;
    this.over = false;
    this.connect();
  }

  connect() {
    this.ready = false;
    this.sent.clear();
    const socket = (this.socket = new WebSocket(this.place, protocols()));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "start", window: UNSEEN, ...this.start }));
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.heard(JSON.parse(data)) : this.pictured(data));
    socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  get open() {
    return this.ready && this.socket.readyState === WebSocket.OPEN;
  }

  /** Whether another driving message may be sent now. */
  get free() {
    if (!this.open || this.socket.bufferedAmount > 0) return false;
    const late = performance.now() - PATIENCE;
    for (const [number, when] of this.sent) if (when < late) this.sent.delete(number);
    return this.sent.size < WINDOW;
  }

  /** jpeg: ArrayBuffer of a driving picture; `when` it was taken, ms of performance.now(). */
  sendPicture(jpeg, when) {
    const [n, t] = this.next(when);
    const message = new Uint8Array(8 + jpeg.byteLength);
    new DataView(message.buffer).setUint32(0, n);
    new DataView(message.buffer).setUint32(4, t);
    message.set(new Uint8Array(jpeg), 8);
    this.socket.send(message);
  }

  sendLandmarks(points, when) {
    const [n, t] = this.next(when);
    this.socket.send(JSON.stringify({ type: "landmarks", n, t, points }));
  }

  sendPose(pose, when) {
    const [n, t] = this.next(when);
    this.socket.send(JSON.stringify({ type: "pose", n, t, pose }));
  }

  close() {
    this.over = true;
    clearTimeout(this.again);
    this.socket.close(1000);
  }

  next(when) {
    this.number += 1;
    this.sent.set(this.number, when);
    return [this.number, Math.round(when) >>> 0];
  }

  /** Everything up to number n is answered: what was passed over never will be. */
  answered(n) {
    for (const number of this.sent.keys()) if (number <= n) this.sent.delete(number);
  }

  heard(message) {
    if (message.type === "ready") {
      this.ready = true;
      this.handlers.ready(message);
      this.handlers.lost(null);
    } else if (message.type === "version") this.handlers.version(message.mode);
    else if (message.type === "problem") {
      this.answered(message.n ?? 0);
      this.handlers.problem(message);
    }
  }

  async pictured(data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const began = this.sent.get(header.n);
    this.answered(header.n);
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
    if (this.over || header.n < this.shown) return picture.close(); // a newer one was decoded first
    this.shown = header.n;
    this.tries = 0; // only now it works again: a connection alone may end as the last one did
    if (this.open) this.socket.send(JSON.stringify({ type: "shown", n: header.n }));
    this.handlers.picture(picture, header, began === undefined ? null : performance.now() - began);
    picture.close();
  }

  closed(code, reason) {
    this.ready = false;
    if (this.over) return;
    if (CLOSED[code] || code === 1008 || this.tries >= TRIES) {
      this.over = true;
      this.handlers.lost(CLOSED[code] ?? (reason || "The connection was lost and could not be made again."), true);
      return;
    }
    this.handlers.lost(code === 1013 ? "The service is busy; trying again …" : "The connection was lost; trying again …", false);
    this.again = setTimeout(() => this.connect(), 500 * 2 ** this.tries);
    this.tries += 1;
  }
}
