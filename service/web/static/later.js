// What takes the server a while is fetched once its place comes into view.
export function fetchLater(part) {
  if (!part) return;
  document.addEventListener("ready", () => watch(document.querySelector("[data-later]")));
  watch(part);
}

function watch(part) {
  if (part.dataset.ready !== "yes") return;
  const place = part.querySelector(".later");
  const seen = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    seen.disconnect();
    place.setAttribute("aria-busy", "true");
    place.firstElementChild.textContent = "Looking inside …";
    try {
      const page = new DOMParser().parseFromString(await (await fetch(part.dataset.later)).text(), "text/html");
      const found = page.getElementById("later") ?? page.querySelector(".wrong");
      place.replaceChildren(document.importNode(found, true));
    } catch {
      place.firstElementChild.textContent = "The yard did not answer; reload the page to try again.";
    }
    place.removeAttribute("aria-busy");
  }, { rootMargin: "200px" });
  seen.observe(part);
}
