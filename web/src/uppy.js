// Decides how files are sent: by Uppy as it comes, in one form or in parts. A chunk of its own, since it is heavier than
// the rest of the page: it is loaded when it is about to be needed.

import Uppy from "@uppy/core";
import AwsS3 from "@uppy/aws-s3";

/** What goes wrong is said on the cards. */
const SILENT = { debug() {}, warn() {}, error() {} };

/**
 * Uppy says no more of a refused call than its status text, which HTTP/2 does not have. So that a person learns why, a
 * call of Uppy's that is refused throws what `problemOf(status, text)` makes of the answer.
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
 * @typedef {{ onBegun: (multipart: { key: string, uploadId: string }) => void, onProgress: (sent: number) => void,
 *   onPart: (number: number) => void, onDone: (key: string) => void, onError: (error: Error) => void }} Listeners
 */

/** What sends, one for the page's life. `inParts` and `partSize` are functions of a length. */
export function sender({ inParts, partSize, problemOf, unreachable }) {
  const endpoint = location.origin;
  tellWhy(`${endpoint}/s3/`, { problemOf, unreachable });
  /** @type {Map<string, Listeners & { begun?: boolean }>} by Uppy's ids */
  const listeners = new Map();
  let count = 0;

  const uppy = new Uppy({ logger: SILENT }).use(AwsS3, {
    companionEndpoint: endpoint,
    shouldUseMultipart: ({ size }) => inParts(size),
    getChunkSize: ({ size }) => partSize(size),
    // The name and the type go in places of their own.
    allowedMetaFields: [],
    // How many at once, the page decides: a file that is paused must not hold up the others.
    limit: 0,
  });

  /** Hands back the listeners of a file that is through or has failed, and makes Uppy forget the file. */
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
      mine.onBegun(multipart);
    }
  });

  return {
    /**
     * Sends a file as this type; with `resume`, only the parts of that upload that are missing.
     * @param {File} file @param {Listeners} mine
     */
    send(file, { type, resume, ...mine }) {
      // Uppy takes no file twice; a path that differs, which is not sent, makes another file of it.
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
        /** Stops it, and has Uppy give up its parts in storage. */
        cancel() {
          listeners.delete(id);
          uppy.removeFile(id);
        },
      };
    },
    /** Stops all of it and leaves in storage what is there. */
    halt() {
      listeners.clear();
      uppy.pauseAll();
    },
  };
}
