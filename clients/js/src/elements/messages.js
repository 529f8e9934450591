// The texts of <glimpse-uploader> in English. An app replaces any of them: `uploader.messages = { cancel: "Abbrechen" }`.

import { FILE_MESSAGES } from "./files.js";
import { timeLeft } from "./format.js";

/**
 * The texts. Sizes arrive as formatted texts, in the language of the element (`lang`).
 * @satisfies {Record<string, string | ((...values: any[]) => string)>}
 */
export const MESSAGES = {
  ...FILE_MESSAGES,
  /** The accessible names of the element and of its list of files. */
  label: "Upload videos",
  list: "Uploads",
  /** The drop zone. On a screen without a mouse only `choose` is shown. */
  drop: (many) => (many ? "Drop videos here, or" : "Drop a video here, or"),
  choose: (many) => (many ? "choose files" : "choose a file"),
  /** States of a file. */
  waiting: "waiting",
  finishing: "finishing",
  offline: "offline, continues by itself",
  paused: "paused",
  done: "uploaded",
  unfinished: "Unfinished. Choose the file again to resume it: nothing is sent twice.",
  sent: (sent, size) => `${sent} of ${size}`,
  speed: (size) => `${size}/s`,
  left: timeLeft,
  total: (done, all) => `${done} of ${all} files uploaded`,
  totalLabel: "All uploads together",
  progressLabel: (name) => `Upload of ${name}`,
  /** Buttons; each is announced with the file's name after it. */
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel",
  retry: "Try again",
  chooseFile: "Choose the file",
  discard: "Discard",
  remove: "Remove",
  reload: "Try again",
  /** Refused files; the other reasons are in `FILE_MESSAGES`. */
  manyTitle: "Too many files",
  many: (most) => (most === 1 ? "Only one file can be uploaded here." : `At most ${most} files can be uploaded here.`),
  folder: "A folder cannot be uploaded: drop the videos that are in it.",
  otherTitle: "Another file",
  otherFile: (name) => `${name} is not the original file.`,
  /** Failures. `error` is a `GlimpseError`; its message is an English sentence for people. */
  failedTitle: "Not uploaded",
  failed: (error) => error.message,
  /** Announcements of screen readers. */
  saidStarted: (name) => `Upload of ${name} started.`,
  saidPaused: (name) => `Upload of ${name} paused.`,
  saidResumed: (name) => `Upload of ${name} resumed.`,
  saidCanceled: (name) => `Upload of ${name} canceled.`,
  saidDone: (name) => `${name} is uploaded.`,
  saidRefused: (name, why) => `${name} is refused. ${why}`,
  saidFailed: (name, why) => `${name} was not uploaded. ${why}`,
  saidAll: (count) => `${count} files are uploaded.`,
};
