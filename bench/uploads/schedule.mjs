// The schedule of faults: pure, and the same for every client, since it follows from the seed.

/** The kinds of faults, and what happens. */
export const FAULTS = {
  cut: "all connections to the storage break",
  "5xx": "the storage fails during a request: it answers 503 at once, and closes the connection",
  403: "a signature has expired: the next request for bytes is answered with 403",
  reload: "the page is reloaded, and the user chooses the file again",
  offline: "the browser is offline for 30 s",
  throttled: "an eighth of the file is sent at a quarter of the speed",
};

/** A generator of numbers from 0 to 1 (xorshift32). @param {number} seed */
function random(seed) {
  let state = (seed | 0) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Files up to this size may be sent in one request, whose signature can only be expired at its beginning. In bytes. */
const ONE_REQUEST_BYTES = 100_000_000;

/**
 * The uploads, in order: `{ size, round, name, faults: [{ kind, at }] }`. A fault happens once the storage has received
 * `at` bytes. Each upload has one fault; the ones with the name `all` have every kind of fault.
 */
export function schedule({ seed, sizes, rounds, kinds, hasAll }) {
  const next = random(seed);
  // The first numbers of similar seeds are similar.
  for (let count = 0; count < 20; count += 1) next();
  const uploads = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const name of [...kinds, ...(hasAll ? ["all"] : [])]) {
      for (const size of sizes) {
        const faults = (name === "all" ? kinds : [name]).map((kind) => {
          const at = Math.floor(size * (0.1 + 0.75 * next()));
          return { kind, at: kind === "403" && size <= ONE_REQUEST_BYTES ? 0 : at };
        });
        uploads.push({ size, round, name, faults: faults.sort((one, other) => one.at - other.at) });
      }
    }
  }
  return uploads;
}
