// News of an avatar: server-sent events, and asking again and again where these do not come through.

import { Problem, address, askJson, withKey } from "./api.js";
import { pause } from "./parts.js";

const FIRST = 6, SILENCE = 45, POLL = 2;
// seconds: until the first event must be there; without a sign of life; between two questions

export const settled = (record) => record.state === "ready" || record.state === "failed";

/** Call `heard` with each new record until it is settled. Throws a Problem when there is no such avatar (any more). */
export async function follow(id, heard, signal) {
  const path = `v1/avatars/${id}`;
  let record = await askJson(path, { signal });
  heard(record);
  const news = (next) => {
    if (next.revision === record.revision) return;
    record = next;
    heard(record);
  };
  let streams = true;
  while (!settled(record) && !signal.aborted) {
    if (streams) streams = await listen(`${path}/events`, () => record.revision, news, signal);
    if (signal.aborted || settled(record)) return;
    await pause(POLL, signal);
    try {
      news(await askJson(path, { signal }));
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem) || (error.status !== 0 && error.status < 500 && error.status !== 429)) throw error;
    }
  }
}

/** Read one stream to its end. Returns whether it is worth opening another. */
async function listen(path, revision, news, signal) {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(), { once: true });
  let timer = setTimeout(() => stop.abort(), FIRST * 1000);
  let any = false;
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": String(revision()), ...withKey() };
    const answer = await fetch(address(path), { headers, signal: stop.signal, cache: "no-store" });
    if (!answer.ok || !answer.body) return false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return any;
      any = true;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE * 1000);
      const blocks = (text + value.replaceAll("\r", "")).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const event = read(block);
        if (event.event === "avatar") news(JSON.parse(event.data));
      }
    }
  } catch {
    return any;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

function read(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") event.data += (event.data && "\n") + value;
    else if (name) event[name] = value;
  }
  return event;
}
