// A stand-in for next/image in the test of the example: it calls the loader once for each width of the srcset, as
// https://nextjs.org/docs/app/api-reference/components/image#loader describes, with Next's default widths.

import loader from "../../examples/next/glimpse-loader.js";

/** Next's `deviceSizes` and `imageSizes`, which are used together if there is `sizes`. */
const WIDTHS = [32, 48, 64, 96, 128, 256, 384, 640, 750, 828, 1080, 1200, 1920, 2048, 3840];

export default function Image({ src, alt, width, height, sizes, quality }) {
  const srcSet = WIDTHS.map((one) => `${loader({ src, width: one, quality })} ${one}w`).join(", ");
  return <img src={loader({ src, width: WIDTHS.at(-1), quality })} srcSet={srcSet} sizes={sizes} alt={alt} width={width} height={height} loading="lazy" decoding="async" />;
}
