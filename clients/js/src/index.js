// The package's main entry: the client of the API, uploads, and the URLs of images.

export { Glimpse } from "./glimpse.js";
export { GlimpseError } from "./error.js";
export { Upload } from "./upload.js";
export { needsParts, partBytes, partSize } from "./parts.js";
export { fingerprint, localStore, lockUpload, lockedUploads, memoryStore, removeStale } from "./resume.js";
export { animatedUrl, clipUrl, originalUrl, pageUrl, storyboardUrl, thumbnailUrl } from "./urls.js";
