// Creates elements and icons; text is never parsed as markup, so a page may require Trusted Types.

const SVG = "http://www.w3.org/2000/svg";

/** Icons on a grid of 24 units, drawn as lines. */
const ICONS = {
  upload: "M12 15.5V4.5m0 0L7.5 9M12 4.5 16.5 9M4.5 15v2.5a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2V15",
  film: "M4.5 5.5h15v13h-15zM8.5 5.5v13m7-13v13m-11-8.7h4m7 0h4m-15 4.4h4m7 0h4",
  pause: "M9 6.5v11M15 6.5v11",
  resume: "M8.5 6v12l9.5-6z",
  cross: "m7 7 10 10M17 7 7 17",
  check: "m5 12.5 4.5 4.5L19 7.5",
};

/**
 * Creates an element: `h("button", { part: "choose", onclick: open }, "choose files")`. Attributes that are null,
 * undefined or false are omitted; `on…` are listeners.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** An icon; screen readers ignore it. @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["aria-hidden", "true"], ["part", "icon"]]) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
