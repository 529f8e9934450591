// Decides how the page says where a picture came from: the edge cache, the bucket, or made just now. The Worker says it
// by Server-Timing, and the browser how long it took.

const WORDS = { hit: "from the edge cache", miss: "from storage", render: "made just now" };

/** What is known of a picture that was loaded: a sentence, or undefined where the browser does not tell. */
function sentence(url) {
  const entry = performance.getEntriesByName(url, "resource").at(-1);
  if (!entry) return undefined;
  // What came out of the browser's own cache repeats what was true when it came.
  if (entry.transferSize === 0 && entry.decodedBodySize > 0) return "Poster from this browser";
  const from = entry.serverTiming?.find(({ name }) => name === "cache")?.description;
  return WORDS[from] && `Poster ${WORDS[from]}, ${Math.max(1, Math.round(entry.responseEnd - entry.requestStart))} ms`;
}

/** Writes where an image came from into an element, once both are known. */
export function sayOrigin(image, element) {
  image.addEventListener("load", () => {
    // The entry may be written after the event.
    setTimeout(() => (element.textContent = sentence(image.currentSrc) ?? ""));
  });
}
