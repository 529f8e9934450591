// Error messages of failed uploads, and whether a retry makes sense.

import { Problem } from "./api.js";

const EXPIRED = "The permission to upload has expired. Try again to get a new one.";
const DAMAGED = "The file was damaged in transit, or it has changed. Try again.";
const BUSY = "Storage is busy. Try again in a moment.";
const STORAGE_ERROR = "The storage service had an internal error. Try again in a moment.";
const UPLOAD_EXPIRED = "The partial upload has expired. Try again to upload the whole file.";

/** The message for a storage error code, and whether the same file may be retried. */
const S3_ERRORS = {
  EntityTooLarge: ["Storage rejected the file because it is too large.", false],
  EntityTooSmall: ["Storage rejected the file because it is smaller than announced.", false],
  ExpiredToken: [EXPIRED, true],
  RequestTimeTooSkewed: ["The clock of the storage or of the sign-in service is wrong. Try again later.", true],
  SignatureDoesNotMatch: ["Storage did not accept the permission to upload. Try again to get a new one.", true],
  BadDigest: [DAMAGED, true],
  IncompleteBody: ["The upload was interrupted. Try again.", true],
  RequestTimeout: ["The upload timed out. Try again.", true],
  SlowDown: [BUSY, true],
  ServiceUnavailable: [BUSY, true],
  InternalError: [STORAGE_ERROR, true],
  NoSuchUpload: [UPLOAD_EXPIRED, true],
  PreconditionFailed: ["Storage has this file already. Try again to send it once more.", true],
  NoSuchBucket: ["The storage of this site is not set up yet.", false],
};

/** Statuses of the Worker that a retry does not change: too large, type not allowed. */
const PERMANENT_STATUSES = new Set([413, 415, 422]);

/**
 * @typedef {{ message: string, isRetryable: boolean, gone?: boolean, arrived?: string, unreadable?: boolean, offline?:
 * boolean, signedOut?: boolean }} UploadError `isRetryable`: a retry makes sense; `gone`: the uploaded parts no longer exist;
 * `arrived`: the key under which S3 already has the file; `unreadable`: the file itself; `offline`: it may resume by
 * itself once the connection is back
 */

/** The browser is offline. @type {UploadError} */
export const OFFLINE = { message: "You are offline. The upload resumes when you are back online.", isRetryable: true, offline: true };

/**
 * The key of an upload that S3 rejects because the object exists: each upload is signed for its own key, so the object
 * is this upload, whose response was lost.
 */
function keyFromLocation(address) {
  return URL.canParse(address) ? new URL(address).pathname.replace(/^\/+|\/+$/g, "") : "";
}

/** @returns {UploadError} */
function fromStorageError(status, xml, address) {
  const code = /<Code>(\w+)<\/Code>/.exec(xml)?.[1] ?? `HTTP ${status}`;
  if (/(Request has|Policy) expired/i.test(xml)) return { message: EXPIRED, isRetryable: true };
  const [message, isRetryable] = S3_ERRORS[code] ?? [
    status >= 500 ? STORAGE_ERROR : `Storage did not take the file (${code}). Try again to get a new permission.`,
    true,
  ];
  const arrived = status === 412 ? keyFromLocation(address) || undefined : undefined;
  return { message, isRetryable, gone: code === "NoSuchUpload", arrived };
}

/** @returns {Promise<UploadError>} */
async function fromConnectionError(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { message: "The file was moved, changed or cannot be read. Choose it again.", isRetryable: false, unreadable: true };
  }
  if (!navigator.onLine) return OFFLINE;
  return { message: "The connection was lost. Your file is still here: try again.", isRetryable: true, offline: true };
}

/**
 * The problem for an error of Uppy: one of the Worker, of storage, of the connection, of the file, or of this page.
 * @returns {Promise<UploadError>}
 */
export async function describeUploadError(error, file) {
  if (error instanceof Problem) {
    const { message, status } = error;
    if (status === 0) return fromConnectionError(file);
    return { message, isRetryable: !PERMANENT_STATUSES.has(status), gone: [404, 409, 410].includes(status), signedOut: status === 401 };
  }
  if (error.isNetworkError) {
    const { status = 0, responseText = "", responseURL = "" } = error.request ?? {};
    return status === 0 ? fromConnectionError(file) : fromStorageError(status, responseText, responseURL);
  }
  if (/ETag/.test(error.message)) {
    return { message: "The bucket's CORS configuration must expose the ETag header.", isRetryable: true };
  }
  console.error(error);
  return { message: "Something went wrong in this page. Try again.", isRetryable: true };
}
