// Shows the origin of an image: the edge cache, the bucket, or rendered on demand. The Worker reports it in
// Server-Timing, and the browser measures the time.

const LABELS = { hit: "from the edge cache", miss: "from storage", render: "made just now" };

/** The origin of a loaded image as text, or undefined if the browser does not report it. */
function describe(url) {
  const entry = performance.getEntriesByName(url, "resource").at(-1);
  if (!entry) return undefined;
  // A response from the browser's cache repeats the headers of the original response.
  if (entry.transferSize === 0 && entry.decodedBodySize > 0) return "Poster from this browser";
  const from = entry.serverTiming?.find(({ name }) => name === "cache")?.description;
  return LABELS[from] && `Poster ${LABELS[from]}, ${Math.max(1, Math.round(entry.responseEnd - entry.requestStart))} ms`;
}

/** Writes an image's origin into an element, once both are known. */
export function showCacheStatus(image, element) {
  image.addEventListener("load", () => {
    // The timing entry may be added after the load event.
    setTimeout(() => (element.textContent = describe(image.currentSrc) ?? ""));
  });
}
