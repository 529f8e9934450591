// Registers both elements, <glimpse-thumb> and <glimpse-uploader>. On a server it does nothing.

export { GlimpseThumb } from "./thumb.js";
export { GlimpseUploader } from "./uploader.js";
export { MESSAGES } from "./messages.js";
