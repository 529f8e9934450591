// What the page does after a failed upload: what it says, and whether a retry makes sense.

import { isGlimpseError } from "./glimpse.js";

/** Statuses that a retry does not change: too large, type not allowed. */
const PERMANENT_STATUSES = [413, 415, 422];
/** S3's codes that a retry does not change. */
const PERMANENT_CODES = ["EntityTooLarge", "EntityTooSmall", "NoSuchBucket"];

/**
 * @typedef {{ message: string, isRetryable: boolean, unreadable?: boolean, signedOut?: boolean, gone?: boolean }} UploadError
 *   `isRetryable`: a retry makes sense; `unreadable`: the file itself; `gone`:
 *   the uploaded parts no longer exist
 */

/** @returns {UploadError} */
export function describeUploadError(error) {
  if (!isGlimpseError(error)) {
    console.error(error);
    return { message: "Something went wrong in this page. Try again.", isRetryable: true };
  }
  const { message, status, code, storageCode } = error;
  const unreadable = code === "unreadable";
  const isRetryable = !unreadable && !PERMANENT_STATUSES.includes(status) && !PERMANENT_CODES.includes(storageCode);
  const gone = storageCode === "NoSuchUpload" || (code !== "storage" && [404, 409, 410].includes(status));
  return { message, isRetryable, unreadable, gone, signedOut: status === 401 };
}
