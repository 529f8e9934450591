// What both elements share: a base class and a registration that do nothing on a server, where there is no DOM.

/** The base class. On a server it is an empty class, so that the modules can be imported there. */
export const Base = globalThis.HTMLElement ?? class {};

/** Registers an element, unless it is registered already or this is a server. */
export function define(name, element) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, element);
}

/** A style sheet that all instances share; it is created by the first one. */
export function sharedSheet(css) {
  let sheet;
  return () => {
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
    }
    return sheet;
  };
}
