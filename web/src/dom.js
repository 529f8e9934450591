// Decides how elements are made: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `h("button", { class: "quiet", onclick: stop }, "Cancel")`. Attributes that are null, undefined or
 * false are left out; `on…` are listeners.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the drawings in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** The element with that id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/** Tells those who listen rather than look. The same sentence twice is said twice. */
export function announce(sentence) {
  const place = byId("announcer");
  place.textContent = place.textContent === sentence ? `${sentence}\u00a0` : sentence;
}
