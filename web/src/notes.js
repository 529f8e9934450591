// This browser's records of multipart uploads, which identify their files after a reload or a crash, and the tab of
// each upload. The list of unfinished uploads comes from the Worker.

const STORE = "glimpse-uploads";
/** The number of bytes at a file's start, middle and end that are sampled to identify it. */
const SAMPLE = 64 * 1024;
/**
 * A record is kept for this long although the Worker's list lacks it: the list may be older than the upload; in
 * milliseconds.
 */
const FRESH_MS = 60_000;

/** @typedef {{ key: string, name: string | null, size: number, print: string, begun: number }} Note */

const isNote = (note) => typeof note?.key === "string" && typeof note.size === "number" && typeof note.print === "string";

/** localStorage may be disabled: then nothing is recorded, and uploads can be discarded but not resumed. */
function read() {
  try {
    const notes = Object.entries(JSON.parse(localStorage.getItem(STORE)) ?? {});
    return Object.fromEntries(notes.filter(([, note]) => isNote(note)));
  } catch {
    return {};
  }
}

function change(edit) {
  const notes = read();
  edit(notes);
  try {
    if (Object.keys(notes).length > 0) localStorage.setItem(STORE, JSON.stringify(notes));
    else localStorage.removeItem(STORE);
  } catch {
    // See above.
  }
}

/** @returns {Note | undefined} */
export const noteOf = (uploadId) => read()[uploadId];

/** @param {Note} note */
export const keep = (uploadId, note) => change((notes) => void (notes[uploadId] = note));

export const forget = (uploadId) => change((notes) => void delete notes[uploadId]);

/** Deletes the records of this owner's uploads that are missing from the list requested at `asked`. */
export const forgetAllBut = (uploadIds, owner, asked) =>
  change((notes) => {
    for (const [id, { key, begun }] of Object.entries(notes)) {
      if (key.split("/").at(-2) === owner && !uploadIds.has(id) && begun < asked - FRESH_MS) delete notes[id];
    }
  });

/** Removes file names at sign-out; files can be identified without them. */
export const forgetNames = () =>
  change((notes) => {
    for (const note of Object.values(notes)) note.name = null;
  });

/**
 * Identifies a file wherever it is stored and whatever its name is: a hash of its length and samples of its bytes; its
 * name and date if the page has no cryptography.
 */
export async function fingerprint(file) {
  if (!globalThis.crypto?.subtle) return `name:${file.name}:${file.size}:${file.lastModified}`;
  const middle = Math.max(0, Math.floor((file.size - SAMPLE) / 2));
  const samples = [0, middle, Math.max(0, file.size - SAMPLE)].map((start) => file.slice(start, start + SAMPLE));
  const bytes = await new Blob([`${file.size}:`, ...samples]).arrayBuffer();
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `sha256:${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}

const lockOf = (uploadId) => `glimpse-upload:${uploadId}`;

/**
 * Locks an upload for this tab until the returned function is called or the tab closes; undefined while another tab has
 * the lock. It is a browser lock, so a crash releases it.
 */
export function hold(uploadId) {
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    void navigator.locks.request(lockOf(uploadId), { ifAvailable: true }, (lock) => {
      if (lock) return new Promise((release) => resolve(release));
      resolve(undefined);
      return undefined;
    });
  });
}

/** Whether any tab is sending an upload. */
export async function held() {
  const locks = (await navigator.locks?.query())?.held ?? [];
  const names = new Set(locks.map(({ name }) => name));
  return (uploadId) => names.has(lockOf(uploadId));
}
