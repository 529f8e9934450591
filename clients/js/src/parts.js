// Selects uploads in parts and their part size: pure. Sizes depend on the file's length only.

const MIB = 1024 * 1024;
/**
 * Files above this size are uploaded in parts, from which an interrupted upload can resume. Smaller files are sent
 * again in seconds, and one request is faster than the four or more that parts need. In bytes.
 */
const SINGLE_MAX_BYTES = 16 * MIB;
/**
 * The part size, as long as a file has at most `MAX_PARTS`: the smallest that S3 accepts, since a part whose connection
 * breaks is sent again as a whole. In bytes.
 */
const MIN_PART_BYTES = 5 * MIB;
/** S3's limit, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>. */
const MAX_PARTS = 10_000;

/** Whether a file of this length is uploaded in parts. @param {number} size in bytes */
export const needsParts = (size) => size > SINGLE_MAX_BYTES;

/** The size of all parts except the last, in bytes. @param {number} size of the file */
export const partSize = (size) => Math.max(MIN_PART_BYTES, Math.ceil(size / MAX_PARTS));

/** The size of the part with this number, counted from 1, in bytes. @param {number} number @param {number} size of the file */
export const partBytes = (number, size) => Math.min(partSize(size), size - (number - 1) * partSize(size));
