// Records of unfinished uploads, which identify their files after a reload or a crash, and the locks of uploads that
// are being sent.

const STORAGE_KEY = "glimpse-uploads";
/** The number of bytes at a file's start, middle and end that are sampled to identify it. */
const SAMPLE_BYTES = 64 * 1024;
/** A record is kept for this long although the server's list lacks it: the list may be older. In milliseconds. */
const MIN_AGE_MS = 60_000;

/**
 * @typedef {object} PendingUpload an unfinished upload in parts
 * @property {string} uploadId the upload's id
 * @property {string} key the key of the upload
 * @property {string | null} name the file's name; null after `clearNames`
 * @property {number} size the file's length in bytes
 * @property {string} fingerprint the file's fingerprint
 * @property {number} startedAt when it was started, in Unix milliseconds
 * @property {string} [url] the origin of the deployment
 */

/**
 * Where unfinished uploads are recorded. Each function may return a promise.
 * @typedef {object} UploadStore
 * @property {() => PendingUpload[] | Promise<PendingUpload[]>} list all records
 * @property {(upload: PendingUpload) => void | Promise<void>} save adds a record, or replaces that of the same `uploadId`
 * @property {(uploadId: string) => void | Promise<void>} remove removes a record, if there is one
 */

/** @param {any} upload @returns {upload is PendingUpload} */
const isPendingUpload = (upload) => typeof upload?.key === "string" && typeof upload.size === "number" && typeof upload.fingerprint === "string";

/** @returns {PendingUpload[]} */
function read() {
  try {
    const records = Object.entries(JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}"));
    return records.map(([uploadId, record]) => ({ ...record, uploadId })).filter(isPendingUpload);
  } catch {
    return [];
  }
}

/**
 * Records in the browser's `localStorage`. It may be full or disabled: then nothing is recorded.
 * @type {UploadStore & { list(): PendingUpload[], clearNames(): void }}
 */
export const localStore = {
  list: read,
  save: (upload) => write([...read().filter(({ uploadId }) => uploadId !== upload.uploadId), upload]),
  remove: (uploadId) => write(read().filter((upload) => upload.uploadId !== uploadId)),
  /** Removes file names, for example at sign-out; files can be identified without them. */
  clearNames: () => write(read().map((upload) => ({ ...upload, name: null }))),
};

/** @param {PendingUpload[]} uploads */
function write(uploads) {
  try {
    if (uploads.length > 0) localStorage.setItem(STORAGE_KEY, JSON.stringify(Object.fromEntries(uploads.map(({ uploadId, ...record }) => [uploadId, record]))));
    else localStorage.removeItem(STORAGE_KEY);
  } catch {
    // See `localStore`.
  }
}

/** Records in memory, until the page or the process ends. @returns {UploadStore} */
export function memoryStore() {
  /** @type {Map<string, PendingUpload>} */
  const records = new Map();
  return {
    list: () => [...records.values()],
    save: (upload) => void records.set(upload.uploadId, upload),
    remove: (uploadId) => void records.delete(uploadId),
  };
}

const sharedMemory = memoryStore();

/** The store of uploads without the option `store`: `localStore` where there is a `localStorage`, memory elsewhere. */
export function defaultStore() {
  try {
    // Node.js has a `localStorage` that fails, or stays empty, without `--localstorage-file`.
    if (typeof document === "object" && localStorage) return localStore;
  } catch {
    // Access is denied, for example in a frame without storage.
  }
  return sharedMemory;
}

/**
 * Removes the records of this owner's uploads that are missing from the server's list.
 * @param {UploadStore} store
 * @param {{ uploadIds: Set<string>, owner: string, listedAt: number }} list the listed uploads, their owner, and when
 *   the list was requested, in Unix milliseconds
 */
export async function removeStale(store, { uploadIds, owner, listedAt }) {
  for (const { uploadId, key, startedAt } of await store.list()) {
    const isOld = !(startedAt >= listedAt - MIN_AGE_MS);
    if (key.split("/").at(-2) === owner && !uploadIds.has(uploadId) && isOld) await store.remove(uploadId);
  }
}

/**
 * Identifies a file wherever it is stored and whatever its name is: a hash of its length and samples of its bytes; its
 * name and date if the page has no cryptography.
 * @param {Blob & { name?: string, lastModified?: number }} file
 */
export async function fingerprint(file) {
  const { size } = file;
  if (!globalThis.crypto?.subtle) return `name:${file.name}:${size}:${file.lastModified}`;
  const middle = Math.max(0, Math.floor((size - SAMPLE_BYTES) / 2));
  const samples = [0, middle, Math.max(0, size - SAMPLE_BYTES)].map((start) => file.slice(start, start + SAMPLE_BYTES));
  return `sha256:${await sha256Of(new Blob([`${size}:`, ...samples]))}`;
}

/** The SHA-256 of a file in base64. @param {Blob} file */
export async function sha256Of(file) {
  const hash = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return btoa(String.fromCharCode(...new Uint8Array(hash)));
}

/** The locked uploads where there are no locks of the platform: in Node.js before version 24. @type {Set<string>} */
const held = new Set();

/** @param {string} uploadId */
const lockName = (uploadId) => `glimpse-upload:${uploadId}`;

/**
 * Locks an upload until the returned function is called or the tab closes; undefined while another tab, or another
 * upload of this page, has the lock.
 * @param {string} uploadId
 * @returns {Promise<(() => void) | undefined>}
 */
export function lockUpload(uploadId) {
  const locks = globalThis.navigator?.locks;
  if (!locks) {
    if (held.has(uploadId)) return Promise.resolve(undefined);
    held.add(uploadId);
    return Promise.resolve(() => void held.delete(uploadId));
  }
  return new Promise((resolve, reject) => {
    locks
      .request(lockName(uploadId), { ifAvailable: true }, (lock) => {
        if (lock) return new Promise((release) => resolve(() => release(undefined)));
        resolve(undefined);
        return undefined;
      })
      .catch(reject);
  });
}

/** Whether any tab is sending an upload, as a function of its id. @returns {Promise<(uploadId: string) => boolean>} */
export async function lockedUploads() {
  const locks = (await globalThis.navigator?.locks?.query())?.held ?? [];
  const names = new Set(locks.map(({ name }) => name));
  return (uploadId) => names.has(lockName(uploadId));
}
