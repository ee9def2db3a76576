// Keeps the page current: asks for it again every two seconds and puts its new <main> in the place of the old one.
const period = 2000;
const note = document.getElementById("live");

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    const old = document.querySelector("main");
    if (fresh && fresh.innerHTML !== old.innerHTML) {
      const offsets = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
      old.replaceWith(fresh);
      fresh.querySelectorAll(".scroll").forEach((box, i) => { box.scrollLeft = offsets[i] ?? 0; });
    }
    note.textContent = "";
  } catch {
    note.textContent = "· the yard does not answer; what you see may be old";
  }
  setTimeout(refresh, document.hidden ? 5 * period : period);
}

setTimeout(refresh, period);
