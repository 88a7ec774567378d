// What the page asks of the service. Whatever goes wrong becomes a Problem, whose message is for a person.

const KEPT = "raytalk-key";
let key = "";
try {
  key = sessionStorage.getItem(KEPT) ?? "";
} catch {
  // A browser that keeps nothing: the key lives as long as the page.
}

export class Problem extends Error {
  constructor(status, document) {
    const words = document.detail || document.title || `The service answered ${status}.`;
    super(/^[a-z]+ /.test(words) ? words[0].toUpperCase() + words.slice(1) : words); // not the names of files
    this.status = status;
    this.code = document.code ?? "";
    this.field = document.field ?? "";
  }
}

export const hasKey = () => key !== "";
export const protocols = () => (key ? ["raytalk.v1", `bearer.${key}`] : ["raytalk.v1"]);

export function keepKey(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // as above
  }
}

/** The full address of something below the page's own. */
export const address = (path) => new URL(path, document.baseURI).href;

/** fetch(), with the key; throws a Problem unless the answer is a good one. */
export async function ask(path, { headers = {}, ...more } = {}) {
  let answer;
  try {
    answer = await fetch(address(path), { cache: "no-store", ...more, headers: { ...headers, ...withKey() } });
  } catch (error) {
    if (more.signal?.aborted) throw error;
    throw unreachable();
  }
  if (!answer.ok) throw refused(answer.status, await answer.text());
  return answer;
}

export const askJson = async (path, more) => (await ask(path, more)).json();

/** POST a form; `progressed` hears the share that is sent. Resolves to the JSON of the answer. */
export function send(path, form, { headers = {}, progressed = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch() does not tell how much is sent
    request.open("POST", address(path));
    for (const [name, value] of Object.entries({ ...headers, ...withKey() })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progressed(event.loaded / event.total);
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(refused(request.status, request.responseText));
    };
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

const shown = new WeakMap();

/** Show a picture or film that only who has the key may fetch; resolves to its bytes, or null if there is none. */
export async function show(element, path, signal) {
  let blob;
  try {
    blob = await (await ask(path, { signal })).blob();
  } catch (error) {
    if (error instanceof Problem && [404, 409].includes(error.status)) return null;
    throw error;
  }
  showBlob(element, blob);
  return blob;
}

/** The same for bytes that are here; what the element showed before is let go. */
export function showBlob(element, blob) {
  if (shown.has(element)) URL.revokeObjectURL(shown.get(element));
  const place = URL.createObjectURL(blob);
  shown.set(element, place);
  if ("src" in element) element.src = place;
  if ("href" in element) element.href = place;
  element.hidden = false;
}

/** A name for a request that may be sent twice. Not randomUUID, which only secure pages have. */
export const idempotencyKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

export const withKey = () => (key ? { Authorization: `Bearer ${key}` } : {});

function unreachable() {
  return new Problem(0, { code: "unreachable", detail: "The service cannot be reached. Are you connected? Try again in a moment." });
}

function refused(status, text) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = {}; // something between here and the service answered
  }
  if (status === 401) document.dispatchEvent(new CustomEvent("key-refused"));
  return new Problem(status, problem);
}
