// A loader for next/image: the poster of a video in the width that the browser needs.
//
//   images: { loader: "custom", loaderFile: "./glimpse-loader.js" }     // next.config.js
//   export { default } from "@glimpse-video/client/next";               // glimpse-loader.js
//   <Image src="https://video.example.com/7zz…" width={640} height={360} alt="Ski trip" />

import { thumbnailUrl } from "./urls.js";

/** The widths that the API accepts, in pixels. */
const MIN_WIDTH = 8;
const MAX_WIDTH = 3840;
/** The parameters of a poster that are numbers. */
const NUMBERS = ["time", "width", "height", "rotate", "blur", "quality"];
/** The parameters that are true or false. */
const FLAGS = ["flip_v", "flip_h", "play"];

const clamp = (value, least, most) => Math.min(most, Math.max(least, Math.round(value)));

/** The parameters of a query as those of `thumbnailUrl`. */
function parametersOf(query) {
  const parameters = Object.fromEntries(query);
  for (const name of NUMBERS) if (name in parameters) parameters[name] = Number(parameters[name]);
  for (const name of FLAGS) if (name in parameters) parameters[name] = parameters[name] === "true";
  // The width is in pixels of the screen.
  delete parameters.dpr;
  return parameters;
}

/**
 * A loader. `src` is the URL of a video's page or poster (`…/thumbnail.jpg?time=3`), or a path of `url`. The URL of
 * anything else, and one that is signed for its parameters, is returned unchanged.
 * @param {object} [options]
 * @param {string} [options.url] the URL of the deployment, for paths
 * @param {"jpg" | "webp" | "avif"} [options.format] of the URL of a page; default: webp
 * @param {number[]} [options.widths] the only widths that the deployment creates (`PUBLIC_WIDTHS`); default: any
 * @returns {(image: { src: string, width: number, quality?: number }) => string}
 */
export function createLoader({ url, format = "webp", widths = [] } = {}) {
  const sorted = [...widths].sort((a, b) => a - b);
  return ({ src, width, quality }) => {
    const base = url ?? globalThis.location?.href;
    if (!URL.canParse(src, base)) return src;
    const { origin, pathname, searchParams } = new URL(src, base);
    const [, id, extension = format] = /^\/([0-9a-z]{26})(?:\/thumbnail\.(jpg|png|webp|avif))?\/?$/.exec(pathname) ?? [];
    if (!id || searchParams.has("token") || searchParams.has("sig")) return src;
    const { width: shown, height, ...rest } = parametersOf(searchParams);
    const wide = clamp(sorted.find((one) => one >= width) ?? sorted.at(-1) ?? width, MIN_WIDTH, MAX_WIDTH);
    return thumbnailUrl(origin, id, {
      format: extension,
      ...rest,
      width: wide,
      // The aspect ratio of `src`.
      ...(height && { height: clamp(shown ? (height * wide) / shown : height, MIN_WIDTH, MAX_WIDTH) }),
      ...(quality && extension !== "png" && { quality: clamp(quality, 1, 100) }),
    });
  };
}

export default createLoader();
