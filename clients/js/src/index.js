// The package's main entry: the client of the API, uploads, and the URLs of images.

export { Glimpse } from "./glimpse.js";
export { GlimpseError } from "./error.js";
export { Upload } from "./upload.js";
export { needsParts, partBytes, partSize } from "./parts.js";
export { fingerprint, localStore, lockUpload, lockedUploads, memoryStore, removeStale } from "./resume.js";
export { animatedUrl, clipUrl, originalUrl, pageUrl, storyboardUrl, thumbnailUrl } from "./urls.js";

/**
 * @typedef {import("./client.js").Video} Video
 * @typedef {import("./client.js").VideoStatus} VideoStatus
 * @typedef {import("./client.js").VideoMeta} VideoMeta
 * @typedef {import("./client.js").OEmbed} OEmbed
 * @typedef {import("./client.js").Me} Me
 * @typedef {import("./client.js").Multipart} Multipart
 * @typedef {import("./client.js").UnfinishedUpload} UnfinishedUpload
 * @typedef {import("./client.js").Part} Part
 * @typedef {import("./client.js").Schemas} Schemas
 * @typedef {import("./client.js").GlimpseOptions} GlimpseOptions
 * @typedef {import("./upload.js").UploadOptions} UploadOptions
 * @typedef {import("./upload.js").UploadState} UploadState
 * @typedef {import("./resume.js").UploadStore} UploadStore
 * @typedef {import("./resume.js").PendingUpload} PendingUpload
 * @typedef {import("./urls.js").ThumbnailParameters} ThumbnailParameters
 * @typedef {import("./urls.js").AnimationParameters} AnimationParameters
 * @typedef {import("./urls.js").StoryboardParameters} StoryboardParameters
 * @typedef {import("./urls.js").ClipParameters} ClipParameters
 */
