// The moving parts of a ready video's card in the gallery: the preview, and the seek bar. They are loaded with the first
// ready video; a card shows its poster without them.

import { attachHoverPreview } from "./hover-preview.js";
import { attachPosterPicker } from "./poster-picker.js";

/**
 * Adds the preview to a card's image and, if the video has a storyboard, the bar with which `choose` makes a frame the
 * poster.
 * @param {HTMLElement} stage the image and its overlays @param {import("../../clients/js/src/client.js").Video} video
 * @param {((seconds: number) => Promise<void>) | undefined} choose
 */
export function addMotion(stage, video, choose) {
  attachHoverPreview(stage.querySelector(".screen"), video);
  if (choose && video.duration_ms && video.urls["storyboard.json"]) attachPosterPicker(stage, video, choose);
}
