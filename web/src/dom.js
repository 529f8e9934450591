// Creates elements; text is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an element: `h("button", { class: "quiet", onclick: stop }, "Cancel")`. Attributes that are null, undefined
 * or false are omitted; `on…` are listeners.
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

/** An icon from index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** The element of index.html with this id. */
export const byId = (id) => document.getElementById(id);

/** Announces a sentence to screen readers. The same sentence twice is announced twice. */
export function announce(sentence) {
  const place = byId("announcer");
  place.textContent = place.textContent === sentence ? `${sentence}\u00a0` : sentence;
}
