// This browser's records of multipart uploads, which identify their files after a reload or a crash, and the tab of
// each upload. The list of unfinished uploads comes from the Worker.

const STORAGE_KEY = "glimpse-uploads";
/** The number of bytes at a file's start, middle and end that are sampled to identify it. */
const SAMPLE_BYTES = 64 * 1024;
/**
 * A record is kept for this long although the Worker's list lacks it: the list may be older than the upload; in
 * milliseconds.
 */
const MIN_AGE_MS = 60_000;

/** @typedef {{ key: string, name: string | null, size: number, fingerprint: string, begun: number }} PendingUpload */

const isPendingUpload = (upload) => typeof upload?.key === "string" && typeof upload.size === "number" && typeof upload.fingerprint === "string";

/** localStorage may be disabled: then nothing is recorded, and uploads can be discarded but not resumed. */
function read() {
  try {
    const notes = Object.entries(JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {});
    return Object.fromEntries(notes.filter(([, note]) => isPendingUpload(note)));
  } catch {
    return {};
  }
}

function updatePendingUploads(edit) {
  const notes = read();
  edit(notes);
  try {
    if (Object.keys(notes).length > 0) localStorage.setItem(STORAGE_KEY, JSON.stringify(notes));
    else localStorage.removeItem(STORAGE_KEY);
  } catch {
    // See above.
  }
}

/** @returns {Note | undefined} */
export const getPendingUpload = (uploadId) => read()[uploadId];

/** @param {Note} note */
export const savePendingUpload = (uploadId, note) => updatePendingUploads((notes) => void (notes[uploadId] = note));

export const removePendingUpload = (uploadId) => updatePendingUploads((notes) => void delete notes[uploadId]);

/** Deletes the records of this owner's uploads that are missing from the list requested at `listedAt`. */
export const removeStale = (uploadIds, owner, listedAt) =>
  updatePendingUploads((notes) => {
    for (const [id, { key, begun }] of Object.entries(notes)) {
      if (key.split("/").at(-2) === owner && !uploadIds.has(id) && begun < listedAt - MIN_AGE_MS) delete notes[id];
    }
  });

/** Removes file names at sign-out; files can be identified without them. */
export const clearNames = () =>
  updatePendingUploads((notes) => {
    for (const note of Object.values(notes)) note.name = null;
  });

/**
 * Identifies a file wherever it is stored and whatever its name is: a hash of its length and samples of its bytes; its
 * name and date if the page has no cryptography.
 */
export async function fingerprint(file) {
  if (!globalThis.crypto?.subtle) return `name:${file.name}:${file.size}:${file.lastModified}`;
  const middle = Math.max(0, Math.floor((file.size - SAMPLE_BYTES) / 2));
  const samples = [0, middle, Math.max(0, file.size - SAMPLE_BYTES)].map((start) => file.slice(start, start + SAMPLE_BYTES));
  const bytes = await new Blob([`${file.size}:`, ...samples]).arrayBuffer();
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `sha256:${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}

const lockName = (uploadId) => `glimpse-upload:${uploadId}`;

/**
 * Locks an upload for this tab until the returned function is called or the tab closes; undefined while another tab has
 * the lock. It is a browser lock, so a crash releases it.
 */
export function acquireLock(uploadId) {
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    void navigator.locks.request(lockName(uploadId), { ifAvailable: true }, (lock) => {
      if (lock) return new Promise((release) => resolve(release));
      resolve(undefined);
      return undefined;
    });
  });
}

/** Whether any tab is sending an upload. */
export async function queryLocks() {
  const locks = (await navigator.locks?.query())?.held ?? [];
  const names = new Set(locks.map(({ name }) => name));
  return (uploadId) => names.has(lockName(uploadId));
}
