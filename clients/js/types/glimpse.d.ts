/** A deployment of Glimpse, and the caller's credential. */
export class Glimpse extends Api {
    /**
     * Uploads a file: up to 16 MiB in one request, larger ones in parts, several at once. It starts immediately.
     * @param {Blob & { name?: string }} file a `File` or `Blob`; in Node.js, `await openAsBlob(path)` of `node:fs`
     * @param {import("./upload.js").UploadOptions} [options]
     */
    upload(file: Blob & {
        name?: string;
    }, { token, ...options }?: import("./upload.js").UploadOptions): Upload;
}
import { Api } from "./client.js";
import { Upload } from "./upload.js";
