// The content of the scenarios' files: bytes that a browser and Node generate equally, and in which a misplaced part is
// detected.

const BLOCK = 1024 * 1024;

/** One block of noise, shared by all files: a fixed sequence of xorshift32. */
const noise = (() => {
  const words = new Uint32Array(BLOCK / 4);
  let state = 0x9e3779b9;
  for (let i = 0; i < words.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
})();

/** A file of this many bytes in pieces of at most 1 MiB. Each piece begins with the seed and its index. */
export function* pieces(seed, bytes) {
  for (let at = 0; at < bytes; at += BLOCK) {
    const mark = new TextEncoder().encode(`${seed}@${at};`);
    const length = Math.min(BLOCK, bytes - at);
    yield mark.subarray(0, length);
    yield noise.subarray(0, Math.max(0, length - mark.length));
  }
}
