// Plays an MP4 in Chromium to its end, and compares its frames with those of the WebP of the same animation.

/** How often frames are compared. */
const SAMPLES = 12;
/** The mean difference of the colors of equal frames, of 255, at most: two lossy encoders, and half the resolution of chroma. */
const MAX_DIFFERENCE = 12;

/**
 * Fails unless the MP4 at `mp4` plays in `<video>` until `ended`, is as long as the WebP at `webp`, and shows the same
 * frames at the same times. `origin` is a page from which both can be read.
 */
export async function expectSameFilm(browser, origin, mp4, webp) {
  // The page's own policy does not allow videos of other origins.
  const context = await browser.newContext({ bypassCSP: true });
  try {
    const tab = await context.newPage();
    await tab.goto(origin);
    const measured = await tab.evaluate(compare, { mp4, webp, samples: SAMPLES });
    if (!measured.hasEnded) throw new Error("the video has not ended");
    const isLonger = Math.abs(measured.duration - measured.webpDuration) > 0.05;
    if (isLonger) throw new Error(`the video has ${measured.duration} s, the WebP ${measured.webpDuration} s`);
    const worst = Math.max(...measured.differences);
    if (!(worst <= MAX_DIFFERENCE)) throw new Error(`frames differ by ${measured.differences.map((one) => one.toFixed(1))}`);
    return measured;
  } finally {
    await context.close();
  }
}

/** Runs in the page. */
async function compare({ mp4, webp, samples }) {
  const video = document.createElement("video");
  if (!video.canPlayType('video/mp4; codecs="avc1.4d401e"')) throw new Error("this Chromium cannot play H.264");
  const event = (name) =>
    new Promise((done, fail) => {
      video.addEventListener(name, done, { once: true });
      video.addEventListener("error", () => fail(new Error(`the video: ${video.error?.message}`)), { once: true });
    });
  Object.assign(video, { muted: true, playsInline: true, crossOrigin: "anonymous", playbackRate: 2 });
  document.body.append(video);
  const ended = event("ended");
  video.src = mp4;
  await video.play();
  await ended;
  const hasEnded = video.ended;

  const data = await (await fetch(webp)).arrayBuffer();
  const decoder = new ImageDecoder({ data, type: "image/webp" });
  await decoder.tracks.ready;
  await decoder.completed;
  const frames = [];
  let end = 0;
  for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex++) {
    const { image } = await decoder.decode({ frameIndex });
    end += (image.duration ?? 0) / 1e6;
    frames.push({ image, end });
  }

  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = (source, width, height) => {
    pen.drawImage(source, 0, 0, width, height);
    return pen.getImageData(0, 0, canvas.width, canvas.height).data;
  };
  const differences = [];
  for (let sample = 0; sample < samples; sample++) {
    const time = ((sample + 0.5) / samples) * end;
    const sought = event("seeked");
    video.currentTime = time;
    await sought;
    const shown = pixels(video, video.videoWidth, video.videoHeight);
    const { image } = frames.find((frame) => frame.end > time) ?? frames.at(-1);
    const other = pixels(image, image.displayWidth, image.displayHeight);
    let sum = 0;
    for (let at = 0; at < shown.length; at++) sum += Math.abs(shown[at] - other[at]);
    // Of four channels, alpha is equal.
    differences.push(sum / ((shown.length * 3) / 4));
  }
  return {
    hasEnded,
    width: video.videoWidth,
    height: video.videoHeight,
    duration: video.duration,
    webpDuration: end,
    differences,
  };
}
