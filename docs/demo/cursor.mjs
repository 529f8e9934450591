// A mouse cursor that is part of the page, since recordings do not contain the real one, and moves as a hand does.

/** The size of the cursor in pixels. */
const SIZE = 28;

/** Adds the cursor to every document of the page. @param {import("playwright-core").Page} page */
export async function installCursor(page) {
  await page.addInitScript((size) => {
    const attach = () => {
      if (document.getElementById("demo-cursor")) return;
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.id = "demo-cursor";
      svg.setAttribute("viewBox", "0 0 28 28");
      const arrow = document.createElementNS("http://www.w3.org/2000/svg", "path");
      arrow.setAttribute("d", "M3 2v19.5l5-4.6 3.3 7.6 3.7-1.6-3.3-7.5 6.8-.4Z");
      for (const [name, value] of [["fill", "#17142b"], ["stroke", "#fff"], ["stroke-width", "2"], ["stroke-linejoin", "round"]]) arrow.setAttribute(name, value);
      svg.append(arrow);
      Object.assign(svg.style, { position: "fixed", left: "0", top: "0", width: `${size}px`, height: `${size}px`, zIndex: "2147483647", pointerEvents: "none", filter: "drop-shadow(0 1px 2px rgb(0 0 0 / 40%))" });
      document.documentElement.append(svg);
      globalThis.placeCursor?.(globalThis.cursorPlace ?? [-100, -100]);
    };
    globalThis.placeCursor = ([x, y]) => {
      globalThis.cursorPlace = [x, y];
      for (const id of ["demo-cursor", "demo-file"]) {
        const element = document.getElementById(id);
        if (element) element.style.transform = `translate(${x - 3}px, ${y - 2}px)`;
      }
    };
    addEventListener("mousemove", (event) => globalThis.placeCursor([event.clientX, event.clientY]), true);
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", attach);
    else attach();
  }, SIZE);
}

/** Moves the mouse to a point within that time, slowly at both ends. */
export async function moveTo(page, from, to, ms, onStep = () => {}) {
  const began = performance.now();
  for (;;) {
    const part = Math.min(1, (performance.now() - began) / ms);
    const eased = part * part * (3 - 2 * part);
    const point = [from[0] + (to[0] - from[0]) * eased, from[1] + (to[1] - from[1]) * eased];
    await page.mouse.move(...point);
    await onStep(point);
    if (part === 1) return to;
    await new Promise((resolve) => setTimeout(resolve, 12));
  }
}
