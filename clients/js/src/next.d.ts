// Types of the loader for next/image.

/** Options of a loader. */
export interface LoaderOptions {
  /** The URL of the deployment, for paths. */
  url?: string;
  /** The format of the URL of a video's page; default: webp. */
  format?: "jpg" | "webp" | "avif";
  /** The only widths that the deployment creates (`PUBLIC_WIDTHS`); default: any. */
  widths?: number[];
}

/** A loader of next/image. */
export type Loader = (image: { src: string; width: number; quality?: number }) => string;

/** A loader. `src` is the URL of a video's page or poster, or a path of `url`. */
export function createLoader(options?: LoaderOptions): Loader;

declare const loader: Loader;
export default loader;
