// Plays a clip in a real browser, from an exact start to its end, and compares its first frame with stills of the video.
//
//   GLIMPSE_VIDEO_URL=http://localhost:8787/{video} node tests/browser/clip.mjs
//
// Prints one line, or the reason of a failure, and then exits with 1.

import * as page from "./page-helpers.mjs";

const START = 3;
const END = 5;
/** The keyframe at or before the start. */
const KEYFRAME = 2;

const video = process.env.GLIMPSE_VIDEO_URL;
const browser = await page.launch();
try {
  const tab = await browser.newPage();
  await tab.setContent("<!doctype html><title>clip</title>");
  const measured = await tab.evaluate(
    async ({ video, start, end, keyframe }) => {
      const player = document.createElement("video");
      Object.assign(player, { crossOrigin: "anonymous", preload: "auto", src: `${video}/clip.mp4?start=${start}&end=${end}` });
      document.body.append(player);
      const event = (name) =>
        new Promise((resolve, reject) => {
          player.addEventListener(name, resolve, { once: true });
          player.addEventListener("error", () => reject(new Error(player.error?.message ?? "no error")), { once: true });
          setTimeout(() => reject(new Error(`no ${name} within 20 s`)), 20_000);
        });
      await event("loadeddata");
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [320, 180];
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const pixels = (shown) => {
        pen.drawImage(shown, 0, 0, canvas.width, canvas.height);
        return pen.getImageData(0, 0, canvas.width, canvas.height).data;
      };
      const still = async (time) => {
        const image = new Image();
        image.crossOrigin = "anonymous";
        image.src = `${video}/thumbnail.png?time=${time}`;
        await image.decode();
        return pixels(image);
      };
      const difference = (a, b) => a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
      const first = pixels(player);
      const result = {
        duration: player.duration,
        size: `${player.videoWidth}x${player.videoHeight}`,
        atStart: difference(first, await still(start)),
        atKeyframe: difference(first, await still(keyframe)),
      };
      // Sound may only play without a gesture if it is muted.
      player.muted = true;
      const ended = event("ended");
      await player.play();
      await ended;
      // A seek reads another range.
      player.currentTime = 1;
      await event("seeked");
      result.atMiddle = difference(pixels(player), await still(start + 1));
      result.soundBytes = player.webkitAudioDecodedByteCount;
      return result;
    },
    { video, start: START, end: END, keyframe: KEYFRAME },
  );
  page.expectAtLeast(measured.duration, END - START - 0.1, "duration");
  page.expectAtLeast(END - START + 0.1, measured.duration, "duration");
  page.expectEqual(measured.size, "640x360", "size");
  page.expectAtLeast(4, measured.atStart, "difference to the frame at the start");
  page.expectAtLeast(4, measured.atMiddle, "difference to the frame in the middle");
  page.expectAtLeast(measured.atKeyframe, 2 * measured.atStart, "difference to the keyframe");
  page.expectAtLeast(measured.soundBytes, 1, "decoded bytes of sound");
  console.log(`ok - the clip plays from its start to its end: ${JSON.stringify(measured)}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
