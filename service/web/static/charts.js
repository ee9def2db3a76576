// Reads values off a chart at the pointer. The chart itself is drawn by the server.
const SVG = "http://www.w3.org/2000/svg";

export function readOff(page) {
  page.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg[data-chart]");
    if (svg) point(svg, event.clientX);
  });
  page.addEventListener("pointerout", (event) => {
    const svg = event.target.closest?.("svg[data-chart]");
    if (svg && !svg.contains(event.relatedTarget)) clear(svg);
  });
}

function clear(svg) {
  svg.querySelector(".cursor").replaceChildren();
  svg.parentElement.querySelector(".readout").textContent = "\u00a0";
}

function point(svg, clientX) {
  const { x: [first, last], frame: [left, right, top, bottom], lines } = JSON.parse(svg.dataset.chart);
  const box = svg.getBoundingClientRect();
  const at = (clientX - box.left) / box.width * svg.viewBox.baseVal.width;
  const wanted = first + (at - left) / (right - left) * (last - first);
  const near = lines.map(([name, points]) => [name, nearest(points, wanted)]).filter(([, found]) => found);
  if (!near.length || at < left - 8 || at > right + 8) return clear(svg);
  const x = nearest(near.map(([, found]) => found), wanted)[0];
  const place = left + (x - first) / (last - first) * (right - left);
  const rule = document.createElementNS(SVG, "path");
  rule.setAttribute("d", `M${place.toFixed(1)} ${top}V${bottom}`);
  svg.querySelector(".cursor").replaceChildren(rule);
  const here = near.filter(([, found]) => found[0] === x && found[1] !== null).slice(0, 6);
  const words = here.map(([name, [, y]]) => `${name} ${Number(y.toPrecision(4))}`);
  svg.parentElement.querySelector(".readout").textContent = `${svg.dataset.x} ${x}: ${words.join(", ")}`;
}

function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1; else high = middle;
  }
  const before = points[low - 1], after = points[low];
  return before && x - before[0] < after[0] - x ? before : after;
}
