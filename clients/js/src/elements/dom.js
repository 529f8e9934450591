// Creates elements and icons; text is never parsed as markup, so a page may require Trusted Types.

const SVG = "http://www.w3.org/2000/svg";
const CROSS = "m7 7 10 10M17 7 7 17";

/** Icons on a grid of 24 units, drawn as lines. */
export const ICONS = {
  upload: "M12 16V5M7 10l5-5 5 5M4 15v4h16v-4",
  pause: "M9 6v12M15 6v12",
  resume: "M8 6v12l10-6z",
  cancel: CROSS,
  remove: CROSS,
  done: "m5 12 5 5L19 7",
};

/**
 * Creates an element: `h("button", { part: "choose", onclick: open }, "choose files")`. Names of properties are set as
 * properties, others as attributes; children that are false or undefined are omitted.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** An icon; screen readers ignore it. @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.ariaHidden = "true";
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
