// Decides what a request of the browser means: which call of the Companion protocol, or which operation of S3.

/** What S3 and the edge are asked, by method and what the address has. The first line that fits is it. */
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

/** Everything of the protocol that the tab asks for, from now on: `{ kind, part, key, status, failed, ended }`. */
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
    /** The numbers of the parts that were sent since the mark, in rising order, with those that were sent again. */
    partsSince: (mark) =>
      calls.slice(mark).filter((call) => call.kind === "part").map((call) => call.part).sort((a, b) => a - b),
    mark: () => calls.length,
    /** Whether nothing is on its way to S3. */
    isQuiet: () => calls.every((call) => call.kind !== "part" || call.ended),
    /** The most files and parts that were on their way to S3 at once. */
    peak: () => peak,
  };
}
