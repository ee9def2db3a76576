// Makes a part of the page equal to another, touching only what differs: focus, scrolling, selections and what a person
// opened stay. Children are told apart by data-key or id; those marked data-keep are left alone.

export function morph(old, fresh) {
  attributes(old, fresh);
  children(old, fresh);
}

function attributes(old, fresh) {
  for (const { name, value } of [...fresh.attributes])
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
}

function children(old, fresh) {
  const staying = new Set([...fresh.children].map(key));
  for (const child of [...old.children])  // what has gone goes first, so that what follows it need not move
    if (key(child) && !staying.has(key(child))) child.remove();
  const keyed = new Map([...old.children].filter(key).map((child) => [key(child), child]));
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const kept = keyed.get(key(wanted));
    if (kept && kept !== place) old.insertBefore(kept, place);
    const found = kept ?? (place && alike(place, wanted) ? place : null);
    if (!found) { old.insertBefore(document.importNode(wanted, true), place); continue; }
    if (found === place) place = place.nextSibling;
    if (found.nodeType !== Node.ELEMENT_NODE) { if (found.data !== wanted.data) found.data = wanted.data; }
    else if (!found.hasAttribute("data-keep")) morph(found, wanted);
  }
  while (place) { const next = place.nextSibling; place.remove(); place = next; }
}

const key = (node) => node.nodeType === Node.ELEMENT_NODE && (node.dataset?.key || node.id) || undefined;
const alike = (one, other) => one.nodeName === other.nodeName && key(one) === key(other);
