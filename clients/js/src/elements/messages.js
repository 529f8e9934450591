// The texts of <glimpse-uploader> in English. An app replaces any of them: `uploader.messages = { cancel: "Abbrechen" }`.

import { FILE_MESSAGES } from "./files.js";

/** The texts. Sizes arrive as formatted texts, in the language of the element (`lang`). */
export const MESSAGES = {
  ...FILE_MESSAGES,
  /** The accessible names of the element and of its list of files. */
  label: "Upload videos",
  list: "Uploads",
  /** The drop zone. On a screen without a mouse only `choose` is shown. */
  drop: (many) => `Drop ${many ? "videos" : "a video"} here, or`,
  choose: (many) => (many ? "choose files" : "choose a file"),
  /** States of a file. */
  waiting: "waiting",
  finishing: "finishing",
  offline: "offline, continues by itself",
  paused: "paused",
  resumed: "resumed",
  canceled: "canceled",
  done: "uploaded",
  unfinished: "Unfinished: choose the file again to resume it.",
  sent: (sent, size) => `${sent} of ${size}`,
  total: (done, all) => `${done} of ${all} files uploaded`,
  /** The name of a progress bar or a button, and an announcement of screen readers. */
  named: (what, name) => `${what}: ${name}`,
  progress: "Upload",
  /** Buttons. */
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel",
  retry: "Try again",
  chooseFile: "Choose the file",
  discard: "Discard",
  remove: "Remove",
  /** Refused files; the other reasons are in `FILE_MESSAGES`. */
  many: (most) => (most === 1 ? "Only one file can be uploaded here." : `At most ${most} files can be uploaded here.`),
  /** Failures. `error` is a `GlimpseError`; its message is an English sentence for people. */
  failed: (error) => error.message,
};
