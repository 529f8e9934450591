// The client: the calls of the API, and uploads.

import { Api } from "./client.js";
import { Upload } from "./upload.js";

/** A deployment of Glimpse, and the caller's credential. */
export class Glimpse extends Api {
  /**
   * Uploads a file: up to 16 MiB in one request, larger ones in parts, several at once. It starts immediately.
   * @param {Blob & { name?: string }} file a `File` or `Blob`; in Node.js, `await openAsBlob(path)` of `node:fs`
   * @param {import("./upload.js").UploadOptions} [options]
   */
  upload(file, { token, ...options } = {}) {
    return new Upload(token === undefined ? this : this.at(this.base, token), file, options);
  }
}
