// Where one is on the page, and whether a key is needed.

import { askJson, hasKey, keepKey } from "./api.js";
import { setUpDriving } from "./drive.js";
import { setUpFilms } from "./films.js";
import { showHome } from "./list.js";
import { setUpMaking } from "./make.js";
import { complain, find } from "./parts.js";
import { showPerson } from "./person.js";

const VIEWS = ["wait", "key", "home", "new", "person"];
const TITLES = { key: "API key · raytalk", home: "raytalk", new: "Make an avatar · raytalk", person: "raytalk" };
let session = null, leave = new AbortController(), begun = false;

function view(name) {
  for (const other of VIEWS) find(`view-${other}`).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = TITLES[name] ?? "raytalk";
  // Those who listen hear where they are; at the very first the page is read from its top anyway.
  if (begun) {
    scrollTo(0, 0);
    document.querySelector(`#view-${name} h1`)?.focus({ preventScroll: true });
  }
  begun = true;
}

function route() {
  leave.abort();
  leave = new AbortController();
  if (!session) return;
  const person = /^#\/avatar\/([0-9a-f]{32})$/.exec(location.hash)?.[1];
  if (session.keys && !session.owner) view("key");
  else if (person) view("person"), showPerson(person, leave.signal);
  else if (location.hash === "#/new") view("new");
  else view("home"), showHome(leave.signal);
}

async function open() {
  session = await askJson("v1/session");
  find("owner").hidden = !(session.keys && session.owner);
  find("owner-name").textContent = session.owner ?? "";
}

function refused(words) {
  keepKey("");
  session = { ...session, keys: true, owner: null };
  find("owner").hidden = true;
  route();
  complain("key-error", words, find("key"));
}

function setUpKey() {
  find("key-form").onsubmit = async (event) => {
    event.preventDefault();
    complain("key-error", null, find("key"));
    const key = find("key").value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) return complain("key-error", "Give the key as you got it.", find("key"));
    keepKey(key);
    try {
      await open();
    } catch (error) {
      return refused(error.message);
    }
    if (session.keys && !session.owner) return refused("Nobody here has this key.");
    find("key").value = "";
    route();
  };
  find("forget-key").onclick = () => refused(null);
  document.addEventListener("key-refused", () => hasKey() && session && refused("The key is not valid any more."));
}

async function begin() {
  setUpKey();
  setUpDriving();
  for (;;) {
    try {
      await open();
      break;
    } catch (error) {
      find("waiting").textContent = `${error.message} Trying again …`;
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
  setUpMaking(session);
  setUpFilms(session);
  addEventListener("hashchange", route);
  route();
}

begin();
