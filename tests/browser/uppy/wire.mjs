// Classifies the browser's requests: calls of the Companion protocol, and operations of S3.

/** The calls of the edge and of S3, by method and URL. The first matching line applies. */
const AT_S3 = [
  ["PUT", /[?&]partNumber=/, "part"],
  ["POST", /[?&]uploads=/, "s3-create"],
  ["POST", /[?&]uploadId=/, "s3-complete"],
  ["POST", /\/$/, "form"],
  ["GET", /[?&]uploadId=/, "s3-list"],
  ["DELETE", /[?&]uploadId=/, "s3-abort"],
];
const AT_EDGE = [
  ["GET", /\/s3\/params\?/, "params"],
  ["POST", /\/s3\/presign$/, "presign"],
  ["POST", /\/s3\/multipart$/, "create"],
  ["GET", /\/s3\/multipart\/[^/?]+\?/, "list"],
  ["GET", /\/s3\/multipart\/[^/?]+\/\d+\?/, "sign"],
  ["POST", /\/s3\/multipart\/[^/?]+\/complete\?/, "complete"],
  ["DELETE", /\/s3\/multipart\/[^/?]+\?/, "abort"],
];

function kindOf(method, url, s3) {
  const table = url.startsWith(s3) ? AT_S3 : AT_EDGE;
  return table.find(([wanted, pattern]) => wanted === method && pattern.test(url))?.[2];
}

/** Records all matching requests of the tab from now on: `{ kind, part, key, status, failed, ended }`. */
export function watch(tab, { s3 }) {
  const calls = [];
  const of = new Map();
  let peak = 0;
  tab.on("request", (request) => {
    const kind = kindOf(request.method(), request.url(), s3);
    if (!kind) return;
    const url = new URL(request.url());
    const call = { kind, part: Number(url.searchParams.get("partNumber")), path: url.pathname, ended: false };
    calls.push(call);
    of.set(request, call);
    peak = Math.max(peak, calls.filter((other) => ["part", "form"].includes(other.kind) && !other.ended).length);
  });
  tab.on("response", (response) => {
    const call = of.get(response.request());
    if (call) call.status = response.status();
  });
  const end = (request) => {
    const call = of.get(request);
    if (call) call.ended = true;
  };
  tab.on("requestfinished", end);
  tab.on("requestfailed", end);
  return {
    calls,
    count: (kind, status) =>
      calls.filter((call) => call.kind === kind && (status === undefined || call.status === status)).length,
    /** The numbers of the parts sent since the mark, in ascending order, including repeated ones. */
    partsSince: (mark) =>
      calls.slice(mark).filter((call) => call.kind === "part").map((call) => call.part).sort((a, b) => a - b),
    mark: () => calls.length,
    /** Whether no request to S3 is active. */
    isQuiet: () => calls.every((call) => call.kind !== "part" || call.ended),
    /** The maximum number of concurrent files and parts. */
    peak: () => peak,
  };
}
