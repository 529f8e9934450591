// Decides what this browser remembers of uploads in parts, so that it knows their file again after a reload or a crash,
// and which tab an upload belongs to. Which uploads there are, the Worker says.

const STORE = "glimpse-uploads";
/** How much of a file's beginning, middle and end is looked at to know it again, in bytes. */
const SAMPLE = 64 * 1024;
/** A note is not yet old news when the Worker's list may have been made before its upload; in milliseconds. */
const FRESH_MS = 60_000;

/** @typedef {{ key: string, name: string | null, size: number, print: string, begun: number }} Note */

const isNote = (note) => typeof note?.key === "string" && typeof note.size === "number" && typeof note.print === "string";

/** Storage may be switched off: then nothing is remembered, and uploads can be discarded but not gone on with. */
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

/** Forgets this owner's uploads that are no more, as of the list that was asked for at `asked`. */
export const forgetAllBut = (uploadIds, owner, asked) =>
  change((notes) => {
    for (const [id, { key, begun }] of Object.entries(notes)) {
      if (key.split("/").at(-2) === owner && !uploadIds.has(id) && begun < asked - FRESH_MS) delete notes[id];
    }
  });

/** Who signs out leaves no file names behind; a file is known again without. */
export const forgetNames = () =>
  change((notes) => {
    for (const note of Object.values(notes)) note.name = null;
  });

/**
 * By what a file is known again, wherever it lies and whatever it is called: a hash over its length and samples of its
 * bytes; its name and date where the page has no cryptography.
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
 * Makes an upload this tab's until what is handed back is called, or until the tab is gone; undefined while it is
 * another tab's. The lock is the browser's, so a crash leaves none behind.
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

/** Whether a tab, this one or another, is at work on an upload. */
export async function held() {
  const locks = (await navigator.locks?.query())?.held ?? [];
  const names = new Set(locks.map(({ name }) => name));
  return (uploadId) => names.has(lockOf(uploadId));
}
