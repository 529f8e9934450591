// Decides what the app around Uppy does, alike for every generation: it makes files, presses Uppy's buttons, and tells what
// became of them. A scenario drives it by `window.app`.

import { pieces } from "./content.js";

/** The same for every file, so that a file that is picked again after a reload is the same file to Uppy. */
const LAST_MODIFIED = 1_700_000_000_000;

/** `server` says, for this generation, how an app tells the plugin where Glimpse is. */
export function app({ Uppy, AwsS3, GoldenRetriever, server }) {
  let uppy;
  let outcomes = [];
  let succeeded = [];
  let parts = [];

  const log = (line) => {
    document.body.append(Object.assign(document.createElement("pre"), { textContent: line }));
  };
  const outcomeOf = ({ successful, failed }) => ({
    successful: successful.map((file) => ({ name: file.name, url: file.uploadURL, body: file.response?.body })),
    failed: failed.map((file) => ({ name: file.name, error: String(file.error) })),
  });

  const verbs = {
    /** Begins anew. `plugin` are options of AwsS3, `retriever` those of Golden Retriever, if it takes part. */
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
      uppy.on("s3-multipart:part-uploaded", (_file, part) => parts.push(part.PartNumber));
      if (!retriever) return undefined;
      const restored = new Promise((resolve) => {
        uppy.once("restored", () => resolve());
        // Without anything to restore there is no such event.
        setTimeout(resolve, 2000);
      });
      uppy.use(GoldenRetriever, retriever);
      return retriever.awaited ? restored : undefined;
    },

    /** Picks a file: so many bytes out of `content.js`, or what lies at `address`. */
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

    /** The parts that have arrived since `open`, by number. */
    parts: () => parts,
    /** What has become of the uploads, one entry each time that Uppy was done. */
    outcomes: () => outcomes,
    /** The files that have arrived, one entry each. */
    succeeded: () => succeeded,
    /** What Uppy knows about its files. */
    files: () =>
      uppy.getFiles().map(({ name, isGhost, isPaused, progress, s3Multipart, error }) => {
        return { name, isGhost, isPaused, error, percentage: progress.percentage, multipart: s3Multipart };
      }),
    /** Whether Golden Retriever has written the text down, wherever this generation keeps its memory. */
    remembers,
    replaceNextSignature,
  };
  window.app = verbs;
}

async function remembers(text) {
  const found = [...Object.values({ ...localStorage })];
  for (const { name } of await indexedDB.databases()) {
    const base = await asked(indexedDB.open(name));
    for (const store of base.objectStoreNames) {
      const records = await asked(base.transaction(store).objectStore(store).getAll());
      found.push(...records.map((record) => JSON.stringify({ ...record, blob: record.data?.size })));
    }
    base.close();
  }
  return found.some((entry) => entry.includes(text));
}

function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The next signed address of a part is handed to `window.spoil` and what that returns is given to Uppy. The traffic itself
 * is not intercepted: a browser that is would not ask the servers for their CORS rules. */
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
