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
  const open = () => source?.readyState === EventSource.OPEN;
  const soon = () => {
    if (timer || document.hidden) return;
    timer = setTimeout(async () => {
      timer = null;
      looked = Date.now();
      const asked = anew;
      anew = false;
      const seen = await look(asked ? "no-cache" : "default");
      anew ||= asked && !seen;
      if (!seen && source) show("lost", "reconnecting…");
      if (open()) seen ? show("live", "live") : soon();  // nobody else asks again while nothing happens
    }, Math.max(0, looked + PAUSE - Date.now()));
  };
  const freshly = () => { anew = true; soon(); };  // what no event has told of may be missing in an answer kept there
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENCE);
  };
  const close = (state, words) => {
    source?.close();
    source = null;
    for (const waiting of [timer, retry, silence]) clearTimeout(waiting);
    timer = null;
    show(state, words);
  };
  const lost = () => {  // connecting is not left to the browser, which gives up on some errors and waits on for others
    close("lost", "reconnecting…");
    retry = setTimeout(connect, waits);
    waits = Math.min(2 * waits, LAST_WAIT);
    freshly();  // whoever is no longer logged in is told so by the page, not by the stream
  };
  const connect = () => {
    clearTimeout(retry);
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
  const rest = () => close("off", "paused");
  // A browser opens six connections to one host, for all of its tabs: those that nobody sees hold none.
  const attend = () => { if (document.hidden) rest(); else if (!source) connect(); };
  document.addEventListener("visibilitychange", attend);
  document.addEventListener("changed", soon);
  addEventListener("pagehide", rest);
  addEventListener("pageshow", attend);
  attend();
}

async function look(cache) {
  let answer;
  try {
    answer = await fetch(location.href, { cache, headers: { Accept: "text/html" } });
  } catch { return false; }  // the sign says so, and the next event tries again
  const login = answer.redirected && new URL(answer.url).pathname.endsWith("/login");
  if (login || answer.status === 404) { location.reload(); return true; }
  if (!answer.ok) return answer.status < 500;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const parts = [...document.querySelectorAll("[data-live]")].map((part) => [part, fresh.getElementById(part.id)]);
  if (parts.some(([, other]) => !other)) { location.reload(); return true; }  // a compared run was removed
  for (const [part, other] of parts) morph(part, other);
  if (document.title !== fresh.title) document.title = fresh.title;
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
