// The seek bar, and the storyboard frame at the pointer.

import { h } from "./dom.js";
import { duration } from "./format.js";
import { load, showTile, tileAt } from "./storyboard.js";

/** The step of an arrow key: a hundredth of the video, and at least a second. */
const step = (seconds) => Math.min(seconds, Math.max(1, seconds / 100));

/**
 * Adds a bar and a clock to `place`, and frames over `stage`. `chosen` is called with each selected time; if it returns
 * true, the frame is removed, since something better is shown.
 * @param {{ stage: HTMLElement, place: HTMLElement, duration_ms: number, json: string, sheet: string, label: string,
 *   chosen: (seconds: number) => boolean }} options
 */
export function scrubber({ stage, place, duration_ms, json, sheet, label, onSelect }) {
  const seconds = duration_ms / 1000;
  const preview = h("div", { class: "storyboard-preview", "aria-hidden": "true" });
  const bar = h("input", { type: "range", min: 0, max: seconds, step: "any", value: 0, "aria-label": label });
  const clock = h("output", { "aria-hidden": "true" });
  /** @type {Promise<import("./storyboard.js").Storyboard> | undefined} */
  let storyboard;
  /** The time of the displayed frame, in seconds. */
  let shown;

  function showTime(time) {
    const now = duration(Math.floor(time) * 1000);
    clock.textContent = now;
    bar.setAttribute("aria-valuetext", `${now} of ${duration(duration_ms)}`);
    bar.style.setProperty("--done", `${(100 * time) / seconds}%`);
  }
  function show(time) {
    shown = time;
    showTime(time);
    storyboard ??= load({ json, sheet });
    storyboard.then(
      (ready) => {
        if (shown === undefined) return;
        const tile = tileAt(ready.table, shown);
        preview.dataset.tile = String(tile);
        showTile(preview, ready, tile);
        stage.append(preview);
        stage.classList.add("previewing");
      },
      // Without a storyboard the bar still seeks; the next attempt may load it.
      () => (storyboard = undefined),
    );
  }
  function hide() {
    shown = undefined;
    stage.classList.remove("previewing");
    showTime(bar.valueAsNumber);
  }
  function select() {
    if (onSelect(bar.valueAsNumber)) hide();
  }
  function timeAt({ clientX }) {
    const { left, width } = bar.getBoundingClientRect();
    return seconds * Math.min(1, Math.max(0, (clientX - left) / width));
  }

  bar.addEventListener("pointermove", (event) => show(event.buttons ? bar.valueAsNumber : timeAt(event)));
  bar.addEventListener("input", () => show(bar.valueAsNumber));
  bar.addEventListener("change", select);
  bar.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    bar.valueAsNumber += direction * step(seconds);
    show(bar.valueAsNumber);
    select();
  });
  showTime(0);
  place.append(bar, clock);
  return {
    bar,
    show,
    hide,
    at: () => bar.valueAsNumber,
    /** The time of the displayed frame, if there is one. */
    shown: () => shown,
    /** The video plays: the bar follows, unless the user is seeking. */
    follow(time) {
      if (shown !== undefined) return;
      bar.valueAsNumber = time;
      showTime(time);
    },
  };
}
