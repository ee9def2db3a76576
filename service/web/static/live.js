// News: one EventSource a page tells that something changed, then the page is fetched again and its live parts are made
// equal to the new ones. What is shown is written in one place, the templates; and a lost event costs nothing.
import { morph } from "./morph.js";

const PAUSE = 800;       // milliseconds between two looks
const FIRST_WAIT = 500;  // before a connection that was lost is tried again …
const LAST_WAIT = 5000;  // … and at most, after tries in vain
const SILENCE = 40_000;  // after which a connection is dead, whatever the browser thinks: a tick comes every 15 seconds
const EVENTS = ["ready", "reset", "run", "log", "removed", "workers", "queues"];
const OF_RUNS = ["run", "log", "removed"];
const root = document.documentElement.dataset.root;

// The page of a run does not mind what becomes of others; the other pages show no logs.
function concerns(name, event) {
  const mine = document.getElementById("main").dataset.run;
  if (!mine) return name !== "log";
  return !OF_RUNS.includes(name) || String(JSON.parse(event.data).id) === mine;
}

export function follow(sign) {
  let timer = null, looked = 0, anew = false, waits = FIRST_WAIT, source = null, retry = null, silence = null;

  const show = (state, words) => {
    if (sign.dataset.state === state) return;
    sign.dataset.state = state;
    sign.lastElementChild.textContent = words;
  };
  const open = () => source.readyState === EventSource.OPEN;
  const soon = () => {
    if (timer || document.hidden) return;
    timer = setTimeout(async () => {
      timer = null;
      looked = Date.now();
      const asked = anew;
      anew = false;
      const seen = await look(asked ? "no-cache" : "default");
      anew ||= asked && !seen;
      if (!seen) show("lost", "reconnecting…");
      if (open()) seen ? show("live", "live") : soon();  // nobody else asks again while nothing happens
    }, Math.max(0, looked + PAUSE - Date.now()));
  };
  const freshly = () => { anew = true; soon(); };  // what no event has told of may be missing in an answer kept there
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENCE);
  };
  const lost = () => {  // connecting is not left to the browser, which gives up on some errors and waits on for others
    source.close();
    clearTimeout(silence);
    clearTimeout(retry);
    show("lost", "reconnecting…");
    retry = setTimeout(connect, waits);
    waits = Math.min(2 * waits, LAST_WAIT);
  };
  const connect = () => {
    source = new EventSource(`${root}/api/v1/events`);
    heard();
    source.onopen = () => { waits = FIRST_WAIT; heard(); show("live", "live"); freshly(); };
    source.onerror = lost;
    source.addEventListener("tick", heard);
    source.addEventListener("away", () => { heard(); show("lost", "database away"); });
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => { heard(); if (concerns(name, event)) soon(); });
    }
  };
  document.addEventListener("visibilitychange", soon);
  document.addEventListener("changed", soon);
  addEventListener("pagehide", () => { clearTimeout(retry); clearTimeout(silence); source.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  connect();
}

async function look(cache) {
  let answer;
  try {
    answer = await fetch(location.href, { cache, headers: { Accept: "text/html" } });
  } catch { return false; }  // the sign says so, and the next event tries again
  if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) { location.reload(); return true; }
  if (!answer.ok) return answer.status < 500;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other) morph(part, other);
  }
  for (const part of document.querySelectorAll("[data-later]")) {
    const other = fresh.getElementById(part.id);
    if (other && part.dataset.ready !== other.dataset.ready) {
      part.replaceWith(document.importNode(other, true));
      document.dispatchEvent(new CustomEvent("ready"));
    }
  }
  document.dispatchEvent(new CustomEvent("looked"));
  return true;
}
