/**
 * The canonical path and query of an image, without its revision, and the revision.
 * @param {VideoRef} video @param {Kind} kind @param {Record<string, any>} parameters
 * @returns {[path: string, revision: string | undefined]}
 */
export function imagePath(video: VideoRef, kind: Kind, { format, sheet, v, ...parameters }: Record<string, any>): [path: string, revision: string | undefined];
/**
 * The URL of the poster, or of another frame.
 * @type {(deployment: Deployment, video: VideoRef, parameters?: ThumbnailParameters) => string}
 * @throws {RangeError} for a parameter that is unknown, out of range or in conflict with another one, as the functions below
 */
export const thumbnailUrl: (deployment: Deployment, video: VideoRef, parameters?: ThumbnailParameters) => string;
/** The URL of an animation. @type {(deployment: Deployment, video: VideoRef, parameters?: AnimationParameters) => string} */
export const animatedUrl: (deployment: Deployment, video: VideoRef, parameters?: AnimationParameters) => string;
/** The URL of a storyboard's table or sheet. @type {(deployment: Deployment, video: VideoRef, parameters?: StoryboardParameters) => string} */
export const storyboardUrl: (deployment: Deployment, video: VideoRef, parameters?: StoryboardParameters) => string;
/** The URL of a part of the video, with sound. @type {(deployment: Deployment, video: VideoRef, parameters?: ClipParameters) => string} */
export const clipUrl: (deployment: Deployment, video: VideoRef, parameters?: ClipParameters) => string;
export function originalUrl(deployment: Deployment, video: VideoRef): string;
export function pageUrl(deployment: Deployment, video: VideoRef): string;
export type Kind = import("./variant.js").Kind;
/**
 * a video or its id
 */
export type VideoRef = string | {
    id: string;
};
/**
 * the URL of the deployment, or a client
 */
export type Deployment = string | {
    origin: string;
};
export type ThumbnailParameters = {
    /**
     * default: jpg
     */
    format?: "jpg" | "webp" | "png" | "avif" | undefined;
    /**
     * seconds; default: the poster's
     */
    time?: number | undefined;
    /**
     * pixels, 8 to 3840; default: 640
     */
    width?: number | undefined;
    /**
     * pixels, 8 to 3840
     */
    height?: number | undefined;
    /**
     * how the frame is fitted to width and height
     */
    fit_mode?: "preserve" | "crop" | "stretch" | "smartcrop" | "pad" | undefined;
    /**
     * degrees clockwise
     */
    rotate?: 90 | 180 | 270 | undefined;
    /**
     * whether it is flipped vertically
     */
    flip_v?: boolean | undefined;
    /**
     * whether it is flipped horizontally
     */
    flip_h?: boolean | undefined;
    /**
     * the radius in pixels, 1 to 100
     */
    blur?: number | undefined;
    /**
     * 1 to 100, not for PNG
     */
    quality?: number | undefined;
    /**
     * whether a play button and the length of the video are drawn
     */
    play?: boolean | undefined;
    /**
     * factor for width and height, such as `devicePixelRatio`; limited to 1 to 3
     */
    dpr?: number | undefined;
    /**
     * the revision, from a URL of the API: then the image may be cached for a year
     */
    v?: string | undefined;
};
export type AnimationParameters = {
    /**
     * default: webp
     */
    format?: "webp" | "gif" | "mp4" | undefined;
    /**
     * seconds; default: snippets of the whole video
     */
    start?: number | undefined;
    /**
     * seconds, 0.25 to 10 after the start
     */
    end?: number | undefined;
    /**
     * pixels, 8 to 640; default: 320
     */
    width?: number | undefined;
    /**
     * pixels, 8 to 640
     */
    height?: number | undefined;
    /**
     * the maximum frame rate, 1 to 30; default: 15
     */
    fps?: number | undefined;
    /**
     * the maximum size
     */
    max_bytes?: number | undefined;
    /**
     * the revision
     */
    v?: string | undefined;
};
export type StoryboardParameters = {
    /**
     * a table, or the sheet; default: vtt
     */
    format?: "json" | "jpg" | "webp" | "vtt" | "m3u8" | undefined;
    /**
     * the format of the sheet that a table references
     */
    sheet?: "jpg" | "webp" | undefined;
    /**
     * seconds
     */
    asset_start_time?: number | undefined;
    /**
     * seconds
     */
    asset_end_time?: number | undefined;
    /**
     * the number of tiles, 2 to 400
     */
    tiles?: number | undefined;
    /**
     * seconds between tiles, instead of `tiles`
     */
    interval?: number | undefined;
    /**
     * the width of a tile in pixels, 8 to 320
     */
    width?: number | undefined;
    /**
     * the revision
     */
    v?: string | undefined;
};
export type ClipParameters = {
    /**
     * seconds; default: 0
     */
    start?: number | undefined;
    /**
     * seconds, 0.25 to 60 after the start; default: 10 after it
     */
    end?: number | undefined;
    /**
     * whether it has the video's sound; default: true
     */
    audio?: boolean | undefined;
};
