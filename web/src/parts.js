// Decides which files go in parts and how large a part is: pure. What is begun with one size must go on with it, so
// that the sizes follow from the file's length alone.

const MIB = 1024 * 1024;
/**
 * Files above this go in parts. Parts are what an interrupted upload goes on from; up to here a whole file is sent
 * again in seconds, and one request is quicker than the four or more that parts need. In bytes.
 */
export const PARTS_FROM = 16 * MIB;
/**
 * A part. Uppy sends them one after the other and has each one signed, so that small ones make the line wait, and what
 * an interruption costs is at most one: 8 MiB are 1.3 s at 50 Mbit/s. S3 takes none below 5 MiB but the last. In bytes.
 */
const PART = 8 * MIB;
/** S3's limit, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>. */
const MOST_PARTS = 10_000;

/** Whether a file of this length goes in parts; `mostAtOnce` is what one request may carry. */
export const inParts = (size, mostAtOnce = Infinity) => size > Math.min(PARTS_FROM, mostAtOnce);

/** How long every part but the last is. */
export const partSize = (size) => Math.max(PART, Math.ceil(size / MOST_PARTS));

/** How long the part of that number is, counted from 1. */
export const sizeOfPart = (number, size) => Math.min(partSize(size), size - (number - 1) * partSize(size));

/**
 * Whether parts that are in storage, as ListParts names them, are those of a file of this length. Uppy looks at their
 * numbers only; parts that were cut otherwise would make another file of it.
 */
export function fits(parts, size) {
  return parts.every(({ PartNumber, Size }) => PartNumber > 0 && Size > 0 && Size === sizeOfPart(PartNumber, size));
}
