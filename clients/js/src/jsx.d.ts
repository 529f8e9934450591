// Types of the elements in JSX (React 18 and 19, Preact) and in templates (Vue, Svelte): `import "@glimpse-video/client/jsx"`
// once in an app, or `"types": ["@glimpse-video/client/jsx"]` in its tsconfig.json.

import type { Glimpse, UploadOptions } from "@glimpse-video/client";
import type { UploaderEvents, UploaderMessages } from "@glimpse-video/client/elements";

/** Attributes that every element has, and those of frameworks. */
interface CommonAttributes {
  id?: string;
  class?: any;
  className?: string;
  style?: any;
  slot?: string;
  part?: string;
  lang?: string;
  title?: string;
  hidden?: boolean;
  key?: any;
  ref?: any;
  children?: any;
  [name: `data-${string}` | `aria-${string}`]: any;
}

/** Attributes of `<glimpse-thumb>`. */
export interface GlimpseThumbAttributes extends CommonAttributes {
  /** The video's page, `https://video.example.com/{video}`. */
  src?: string;
  /** A description; default: the video's title. */
  alt?: string;
  /** The placeholder, which is then shown immediately. */
  thumbhash?: string;
  /** The URL of the poster, if it is not the video's default: with the token of a private video. */
  poster?: string;
  /** The URL of the animation (an image or an MP4), if it is not the video's default. */
  motion?: string;
  onClick?: (event: any) => void;
  onclick?: (event: any) => void;
}

/** Listeners as React 19, Preact and Svelte 5 attach them. */
type UploaderListeners = { [Name in keyof UploaderEvents as `on${Name}`]?: (event: CustomEvent<UploaderEvents[Name]>) => void };

/** Attributes and properties of `<glimpse-uploader>`. */
export interface GlimpseUploaderAttributes extends CommonAttributes, UploaderListeners {
  /** The URL of the deployment, or of an upload token; default: the page's origin. */
  url?: string;
  /** A bearer token. */
  token?: string;
  /** Types and extensions, as of an input: `video/mp4,.mov`. Default: what the deployment allows. */
  accept?: string;
  /** Whether several files may be uploaded. */
  multiple?: boolean;
  /** How many files may be uploaded, with `multiple`. */
  "max-files"?: number | string;
  /** How many files are sent at the same time; default 2. */
  parallel?: number | string;
  /** Who can view the images; default: the deployment's. */
  visibility?: "public" | "signed";
  /** Your own id of the video. */
  "external-id"?: string;
  disabled?: boolean;
  /** The client instead of `url` and `token`. Properties of custom elements need React 19. */
  client?: Glimpse;
  /** Options of every upload. */
  options?: UploadOptions;
  /** Texts that replace the English ones. */
  messages?: Partial<UploaderMessages>;
}

/** The elements by their names. */
export interface GlimpseElements {
  "glimpse-thumb": GlimpseThumbAttributes;
  "glimpse-uploader": GlimpseUploaderAttributes;
}

/** An element as a global component of Vue. */
type VueElement<Attributes, Events = {}> = new () => {
  $props: Attributes;
  $emit: <Name extends keyof Events>(name: Name, event: CustomEvent<Events[Name]>) => void;
};

declare global {
  namespace JSX {
    interface IntrinsicElements extends GlimpseElements {}
  }
}

// Of the following modules, an app has one; the others cannot be found.
// @ts-ignore
declare module "react" {
  namespace JSX {
    interface IntrinsicElements extends GlimpseElements {}
  }
}

// @ts-ignore
declare module "preact" {
  namespace JSX {
    interface IntrinsicElements extends GlimpseElements {}
  }
}

// @ts-ignore
declare module "vue" {
  interface GlobalComponents {
    "glimpse-thumb": VueElement<GlimpseThumbAttributes>;
    "glimpse-uploader": VueElement<GlimpseUploaderAttributes, UploaderEvents>;
  }
}

// @ts-ignore
declare module "svelte/elements" {
  interface SvelteHTMLElements extends GlimpseElements {}
}
