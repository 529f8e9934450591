// Sends files with an unmodified Uppy, in one form or in parts. A chunk of its own, since it is larger than the rest of
// the page: it is loaded shortly before it is needed.

import Uppy from "@uppy/core";
import AwsS3 from "@uppy/aws-s3";

/** Errors are shown on the cards. */
const SILENT = { debug() {}, warn() {}, error() {} };

/**
 * Uppy reports only the status text of a failed call, which HTTP/2 does not have. To show the reason, a failed call of
 * Uppy's throws the result of `problemOf(status, text)` for the response.
 */
function tellWhy(prefix, { problemOf, unreachable }) {
  const plain = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    if (typeof input !== "string" || !input.startsWith(prefix)) return plain(input, init);
    let response;
    let text;
    try {
      response = await plain(input, init);
      if (response.ok) return response;
      text = await response.text();
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    throw problemOf(response.status, text);
  };
}

/**
 * @typedef {{ onMultipartCreated: (multipart: { key: string, uploadId: string }) => void, onProgress: (sent: number) => void,
 *   onPart: (number: number) => void, onDone: (key: string) => void, onError: (error: Error) => void }} Listeners
 */

/** The uploader, one for the page's lifetime. `needsMultipart` and `partSize` are functions of a length. */
export function sender({ needsMultipart, partSize, problemOf, unreachable }) {
  const endpoint = location.origin;
  tellWhy(`${endpoint}/s3/`, { problemOf, unreachable });
  /** @type {Map<string, Listeners & { begun?: boolean }>} by Uppy's ids */
  const listeners = new Map();
  let count = 0;

  const uppy = new Uppy({ logger: SILENT }).use(AwsS3, {
    companionEndpoint: endpoint,
    shouldUseMultipart: ({ size }) => needsMultipart(size),
    getChunkSize: ({ size }) => partSize(size),
    // The name and the type have their own parameters.
    allowedMetaFields: [],
    // The page limits concurrency: a paused file must not block the others.
    limit: 0,
  });

  /** Returns the listeners of a completed or failed file, and removes the file from Uppy. */
  const settle = (id) => {
    const mine = listeners.get(id);
    listeners.delete(id);
    uppy.removeFile(id);
    return mine;
  };
  uppy.on("upload-progress", (file, { bytesUploaded }) => listeners.get(file.id)?.onProgress(bytesUploaded));
  uppy.on("s3-multipart:part-uploaded", (file, { PartNumber }) => listeners.get(file.id)?.onPart(PartNumber));
  uppy.on("upload-success", (file, { body }) => settle(file.id)?.onDone(body.key));
  uppy.on("upload-error", (file, error) => settle(file.id)?.onError(error));
  uppy.on("state-update", (_, { files }) => {
    for (const [id, mine] of listeners) {
      const multipart = files[id]?.s3Multipart;
      if (mine.begun || !multipart) continue;
      mine.begun = true;
      mine.onMultipartCreated(multipart);
    }
  });

  return {
    /**
     * Sends a file as this type; with `resume`, only the missing parts of that upload.
     * @param {File} file @param {Listeners} mine
     */
    send(file, { type, resume, ...mine }) {
      // Uppy accepts no file twice; a different path, which is not sent, makes it another file.
      const meta = { relativePath: String((count += 1)) };
      const id = uppy.addFile({ name: file.name, type, data: file, meta });
      listeners.set(id, { ...mine, begun: resume !== undefined });
      if (resume) uppy.setFileState(id, { s3Multipart: resume });
      uppy.upload().catch((error) => settle(id)?.onError(error));
      const turn = (pause) => {
        const there = uppy.getFile(id);
        if (there && Boolean(there.isPaused) !== pause) uppy.pauseResume(id);
      };
      return {
        pause: () => turn(true),
        resume: () => turn(false),
        /** Stops it, and has Uppy abort the upload in S3. */
        cancel() {
          listeners.delete(id);
          uppy.removeFile(id);
        },
      };
    },
    /** Stops all uploads, and leaves their parts in S3. */
    halt() {
      listeners.clear();
      uppy.pauseAll();
    },
  };
}
