// The app around Uppy, the same for every major version: creates files, presses Uppy's buttons, and reports the
// results. A scenario drives it through `window.app`.

import { pieces } from "./content.js";

/** The same for every file, so that Uppy recognizes a file that is picked again after a reload. */
const LAST_MODIFIED = 1_700_000_000_000;

/** `server` returns the plugin's options for Glimpse's URL in this major version. */
export function app({ Uppy, AwsS3, GoldenRetriever, server }) {
  let uppy;
  let outcomes = [];
  let succeeded = [];
  let parts = [];
  let key;

  const log = (line) => {
    document.body.append(Object.assign(document.createElement("pre"), { textContent: line }));
  };
  const outcomeOf = ({ successful, failed }) => ({
    successful: successful.map((file) => ({ name: file.name, url: file.uploadURL, body: file.response?.body })),
    failed: failed.map((file) => ({ name: file.name, error: String(file.error) })),
  });

  const verbs = {
    /** Resets the app. `plugin` are options of AwsS3, `retriever` those of Golden Retriever, if it is used. */
    open({ stack, way, plugin = {}, retriever }) {
      uppy?.destroy();
      outcomes = [];
      succeeded = [];
      parts = [];
      uppy = new Uppy({ id: "scenario", autoProceed: false });
      uppy.use(AwsS3, { ...server(stack, way), ...plugin });
      uppy.on("complete", (result) => {
        if (result.successful.length + result.failed.length > 0) outcomes.push(outcomeOf(result));
      });
      uppy.on("upload-error", (file, error) => log(`${file.name}: ${error.message}`));
      uppy.on("upload-success", (file, { uploadURL, body }) => {
        succeeded.push({ name: file.name, url: uploadURL, body });
        log(`${file.name}: uploaded to ${uploadURL}`);
      });
      uppy.on("s3-multipart:part-uploaded", (file, part) => {
        parts.push(part.PartNumber);
        key = file.s3Multipart?.key;
      });
      if (!retriever) return undefined;
      const restored = new Promise((resolve) => {
        uppy.once("restored", () => resolve());
        // If there is nothing to restore, this event is not sent.
        setTimeout(resolve, 2000);
      });
      uppy.use(GoldenRetriever, retriever);
      return retriever.awaited ? restored : undefined;
    },

    /** Picks a file: this many bytes of `content.js`, or the resource at `address`. */
    async add({ name, type, seed = name, bytes, address }) {
      const data = address ? [await (await fetch(address)).blob()] : [...pieces(seed, bytes)];
      const file = new File(data, name, { type, lastModified: LAST_MODIFIED });
      uppy.addFile({ source: "scenario", name: file.name, type: file.type, data: file });
    },

    upload: () => void uppy.upload().catch((error) => log(error.message)),
    pause: () => uppy.pauseAll(),
    resume: () => uppy.resumeAll(),
    cancel: () => uppy.cancelAll(),
    retry: () => void uppy.retryAll().catch((error) => log(error.message)),
    confirmRestore: () => uppy.emit("restore-confirmed"),

    /** The parts that were uploaded since `open`, by number. */
    parts: () => parts,
    /** The key of the upload whose part was uploaded last, if this major version reports it. */
    key: () => key,
    /** The results of the uploads, one entry for each `complete` event. */
    outcomes: () => outcomes,
    /** The uploaded files, one entry each. */
    succeeded: () => succeeded,
    /** Uppy's state of its files. */
    files: () =>
      uppy.getFiles().map(({ name, isGhost, isPaused, progress, s3Multipart, error }) => {
        return { name, isGhost, isPaused, error, percentage: progress.percentage, multipart: s3Multipart };
      }),
    /** Whether Golden Retriever has stored this text, wherever this version stores its state. */
    remembers,
    replaceNextSignature,
  };
  window.app = verbs;
}

async function remembers(text) {
  const found = [...Object.values({ ...localStorage })];
  for (const { name } of await indexedDB.databases()) {
    const base = await resultOf(indexedDB.open(name));
    for (const store of base.objectStoreNames) {
      const records = await resultOf(base.transaction(store).objectStore(store).getAll());
      found.push(...records.map((record) => JSON.stringify({ ...record, blob: record.data?.size })));
    }
    base.close();
  }
  return found.some((entry) => entry.includes(text));
}

function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Passes the next signed URL of a part to `window.spoil`, and its result to Uppy. The traffic itself is not intercepted:
 * a browser with interception would not send CORS preflights to the servers.
 */
function replaceNextSignature() {
  const original = window.fetch;
  window.fetch = async (resource, options) => {
    const response = await original(resource, options);
    if (!/\/s3\/multipart\/[^/]+\/\d+\?/.test(String(resource))) return response;
    window.fetch = original;
    const answer = await response.json();
    answer.url = await window.spoil(answer.url);
    return new Response(JSON.stringify(answer), { status: response.status, headers: response.headers });
  };
}
