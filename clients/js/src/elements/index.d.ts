// Types of the elements.

import type { Glimpse, GlimpseError, Upload, UploadOptions, Video, VideoStatus } from "@glimpse-video/client";

/** A video's blurred placeholder, then its poster, then its preview on hover, focus or touch. */
export class GlimpseThumb extends HTMLElement {}

/** The state of a file in the list of `<glimpse-uploader>`. */
export type UploaderFileState = "waiting" | "uploading" | "paused" | "done" | "error" | "refused" | "unfinished";

/** A file in the list of `<glimpse-uploader>`. */
export interface UploaderFile {
  /** Undefined for an unfinished upload, until its file is chosen again. */
  file: File | undefined;
  name: string;
  /** The file's length in bytes. */
  size: number;
  /** The number of bytes that were sent. */
  sent: number;
  state: UploaderFileState;
  /** The video, once the file is uploaded. The holder of an upload token sees its id and its state only. */
  video: Video | VideoStatus | undefined;
  error: GlimpseError | RefusedFileError | undefined;
}

/** Why a file was refused before it was sent. `message` is a sentence for people. */
export interface RefusedFileError extends Error {
  code: "type_not_allowed" | "empty" | "too_large" | "too_many_files";
}

/** The details of the events of `<glimpse-uploader>`. All events bubble. */
export interface UploaderEvents {
  /** A file is being sent. */
  "upload-start": { file: File; upload: Upload };
  "upload-progress": { file: File; sent: number; total: number };
  /** A file is stored; the video is being processed. */
  "upload-success": { file: File; video: Video | VideoStatus };
  /** A file was refused, or its upload has failed. */
  "upload-error": { file: File; error: GlimpseError | RefusedFileError };
  "upload-cancel": { file: File };
  /** No file is being sent, or waits. */
  complete: { videos: (Video | VideoStatus)[]; failed: File[] };
}

/** The texts of `<glimpse-uploader>`. Sizes and types arrive as formatted texts. */
export interface UploaderMessages {
  /** The accessible names of the element and of its list of files. */
  label: string;
  list: string;
  /** The drop zone. On a screen without a mouse only `choose` is shown. */
  drop: (many: boolean) => string;
  choose: (many: boolean) => string;
  limits: (types: string, size: string, many: boolean) => string;
  otherTypes: (count: number) => string;
  /** States of a file. */
  waiting: string;
  finishing: string;
  offline: string;
  paused: string;
  resumed: string;
  canceled: string;
  done: string;
  unfinished: string;
  sent: (sent: string, size: string) => string;
  total: (done: number, all: number) => string;
  /** The name of a progress bar or a button, and an announcement of screen readers. */
  named: (what: string, name: string) => string;
  progress: string;
  /** Buttons. */
  pause: string;
  resume: string;
  cancel: string;
  retry: string;
  chooseFile: string;
  discard: string;
  remove: string;
  /** Refused files. */
  type: (types: string, type: string) => string;
  empty: string;
  large: (most: string) => string;
  many: (most: number) => string;
  /** Failures: the text for an error, also for those of refused files. */
  failed: (error: Error) => string;
}

/** The English texts. */
export const MESSAGES: UploaderMessages;

/** A drop zone and a file chooser, and a list of files with their progress. */
export class GlimpseUploader extends HTMLElement {
  /** The client of the uploads; by default one for the attributes `url` and `token`. */
  get client(): Glimpse;
  set client(client: Glimpse | undefined);
  /** Options of every upload; they have precedence over attributes. */
  get options(): UploadOptions;
  set options(options: UploadOptions | undefined);
  /** The texts; those that are set replace the English ones. */
  get messages(): UploaderMessages;
  set messages(messages: Partial<UploaderMessages> | undefined);
  /** The files in the list. */
  readonly files: UploaderFile[];
  /** Opens the file chooser. Browsers allow it only in the handler of a user's action. */
  browse(): void;
  /** Adds files, as if they were dropped. Resolves once they are in the list. */
  add(files: Iterable<File>): Promise<void>;
  /** Pauses all files that are being sent. */
  pause(): void;
  /** Resumes all paused files. */
  resume(): void;
  /** Cancels all files that are not uploaded yet. */
  cancel(): void;
  /** Removes the files from the list that are uploaded, failed or refused. */
  clear(): void;
  addEventListener<Name extends keyof UploaderEvents>(
    type: Name,
    listener: (event: CustomEvent<UploaderEvents[Name]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "glimpse-thumb": GlimpseThumb;
    "glimpse-uploader": GlimpseUploader;
  }
}
