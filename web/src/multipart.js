// Selects multipart uploads and their part size: pure. A resumed upload needs the part size that it was started with,
// so sizes depend on the file's length only.

const MIB = 1024 * 1024;
/**
 * Files above this size are uploaded in parts, from which an interrupted upload can resume. Smaller files are sent
 * again in seconds, and one request is faster than the four or more that parts need. In bytes.
 */
export const MULTIPART_THRESHOLD = 16 * MIB;
/**
 * The part size. Uppy sends parts one after the other and has each one signed, so small parts leave the connection
 * idle, and an interruption costs at most one part: 8 MiB take 1.3 s at 50 Mbit/s. S3 rejects parts below 5 MiB, except
 * the last one. In bytes.
 */
const MIN_PART_BYTES = 8 * MIB;
/** S3's limit, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>. */
const MAX_PARTS = 10_000;

/** Whether a file of this length is uploaded in parts; `maxSingleBytes` is the limit of a single request. */
export const needsMultipart = (size, maxSingleBytes = Infinity) => size > Math.min(MULTIPART_THRESHOLD, maxSingleBytes);

/** The size of all parts except the last. */
export const partSize = (size) => Math.max(MIN_PART_BYTES, Math.ceil(size / MAX_PARTS));

/** The size of the part with this number, counted from 1. */
export const partBytes = (number, size) => Math.min(partSize(size), size - (number - 1) * partSize(size));

/**
 * Whether the parts in S3, as ListParts returns them, fit a file of this length. Uppy checks only their numbers; parts
 * of another size would result in another file.
 */
export function matchesPartSizes(parts, size) {
  return parts.every(({ PartNumber, Size }) => PartNumber > 0 && Size > 0 && Size === partBytes(PartNumber, size));
}
