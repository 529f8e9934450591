// Measures token verification and signing against other implementations of the same responses, and prints the commands.
//
// usage: cargo xtask bench edge [--rounds N] [--seconds N] [--compare] [--smoke]
//
// Each side runs in one process: Glimpse's Worker and a JavaScript Worker (WebCrypto, aws4fetch) in `workerd serve`,
// Companion on Node.js, which requires no token. First the responses are compared; --compare stops there. Figures are
// medians of interleaved rounds, ratios are medians of the ratios of each round. --smoke sends a few requests of each
// kind and prints no figures: `cargo xtask test` runs it, so that a change of the API that this program does not follow
// is noticed.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { commandLine, rounds, smoke } from "./load.mjs";
import { medianRun, ratios, formatNumber, table } from "./report.mjs";
import { ROOT, freePort, glimpseModules, start, stopAll, temporaryFolder, worker } from "./servers.mjs";
import { AUDIENCE, ISSUER, SECRET, checkSignature, owner, rsaToken, secretToken } from "./tokens.mjs";

const BENCH = join(ROOT, "bench/edge");
const BASELINE = {
  "sign.js": join(BENCH, "baselines/sign.js"),
  aws4fetch: join(BENCH, "node_modules/aws4fetch/dist/aws4fetch.esm.js"),
};
const BUCKET = { S3_BUCKET: "clips", S3_REGION: "eu-central-1", S3_ACCESS_KEY_ID: "AKIDEXAMPLE", S3_SECRET_ACCESS_KEY: "hush-hush" };
const VARS = { PUBLIC_URL: "https://video.example", JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, ...BUCKET };
const UPLOAD_ID = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA.AbCdEf0123456789_-";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "3" },
    compare: { type: "boolean", default: false },
    smoke: { type: "boolean", default: false },
  },
});

/** Serves an issuer's key set at a URL. */
async function keyServer(jwks) {
  const server = createServer((_, answer) => answer.setHeader("content-type", "application/json").end(JSON.stringify(jwks)));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return `http://127.0.0.1:${server.address().port}/jwks`;
}

async function companion() {
  const port = await freePort();
  const { S3_REGION, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = BUCKET;
  const args = [join(BENCH, "baselines/companion.mjs"), port, S3_REGION, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY];
  const env = { NODE_ENV: "production" };
  return start("Companion", process.execPath, [...args, temporaryFolder()], { port, env });
}

function upload(token) {
  const body = JSON.stringify({ name: "Ski trip.mp4", size: 52_428_800, type: "video/mp4" });
  return {
    method: "POST",
    path: "/api/videos",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", origin: "https://app.example" },
    body,
  };
}

function part(token, number = 7) {
  const key = encodeURIComponent(`uploads/${owner()}/7zzzzzzzzz0123456789abcdef`);
  const headers = { authorization: `Bearer ${token}`, origin: "https://app.example" };
  return { path: `/s3/multipart/${encodeURIComponent(UPLOAD_ID)}/${number}?key=${key}`, headers };
}

async function send(server, { method = "GET", path, headers, body }) {
  const answer = await fetch(server.url + path, { method, headers, body });
  return { status: answer.status, headers: answer.headers, json: await answer.json() };
}

/** A response without the values that differ between responses. */
function shape(value) {
  if (Array.isArray(value)) return value.map(shape);
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).sort();
    return Object.fromEntries(names.map((name) => [name, shape(value[name])]));
  }
  if (typeof value !== "string") return value;
  // The trace is derived from the id.
  if (/^[0-9a-f]{32}$/.test(value)) return "TRACE";
  return value
    .replace(/[0-7][0-9a-hjkmnp-tv-z]{25}/g, "ID")
    .replace(/20\d\d-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replace(/(X-Amz-(Date|Signature|Credential)=)[^&]+/g, "$1…")
    .split(/[?&]/)
    .sort()
    .join("&");
}

function expectSame(what, ours, theirs) {
  const [a, b] = [JSON.stringify(ours, null, 1), JSON.stringify(theirs, null, 1)];
  if (a !== b) throw new Error(`${what}: the responses differ\nours: ${a}\ntheirs: ${b}`);
}

const COMPARED_HEADERS = ["content-type", "cache-control", "x-content-type-options", "vary"];
const comparedParts = ({ status, headers }) => ({ status, ...Object.fromEntries(COMPARED_HEADERS.map((name) => [name, headers.get(name)])) });

/** Throws unless both Workers respond equally, signatures are valid, and both reject the same requests. */
async function compare(ours, theirs, token) {
  const check = { secret: BUCKET.S3_SECRET_ACCESS_KEY, region: BUCKET.S3_REGION };
  const [one, other] = [await send(ours, upload(token)), await send(theirs, upload(token))];
  expectSame("an upload", [comparedParts(one), shape(one.json)], [comparedParts(other), shape(other.json)]);
  for (const { json } of [one, other]) {
    const { method, url, headers } = json.upload;
    checkSignature({ ...check, method, url, headers: { ...headers, "content-length": "52428800" } });
  }
  const [first, second] = [await send(ours, part(token)), await send(theirs, part(token))];
  expectSame("a part", [comparedParts(first), shape(first.json)], [comparedParts(second), shape(second.json)]);
  for (const { json } of [first, second]) checkSignature({ ...check, method: "PUT", url: json.url });

  const wrong = `${token.slice(0, -4)}AAAA`;
  const foreign = part(token).path.replace(owner(), "AAAAAAAAAAAAAAAAAAAAAA");
  const refusals = [
    upload(wrong), part(wrong), part(token, 10_001), { ...part(token), path: foreign },
    { ...upload(token), body: "{}" }, { ...upload(token), body: JSON.stringify({ name: "a", size: 1, type: "text/html" }) },
  ];
  for (const refused of refusals) {
    const [a, b] = [await send(ours, refused), await send(theirs, refused)];
    expectSame(`refusing ${refused.path}`, [a.status, a.json.code], [b.status, b.json.code]);
    if (a.status < 400) throw new Error(`${refused.path} was not rejected`);
  }
}

/** Companion's signatures are valid; it signs for any caller. */
async function compareCompanion(server, requests) {
  const params = await send(server, requests.upload);
  const signed = await send(server, requests.part);
  if (params.json.method !== "POST" || !params.json.fields["X-Amz-Signature"] || signed.json.expires !== 900) {
    throw new Error(`Companion answers ${JSON.stringify([params.json, signed.json])}`);
  }
  checkSignature({ secret: BUCKET.S3_SECRET_ACCESS_KEY, region: BUCKET.S3_REGION, method: "PUT", url: signed.json.url });
}

function size(modules) {
  const bytes = Object.values(modules).map((path) => readFileSync(path));
  return formatNumber(bytes.reduce((sum, each) => sum + gzipSync(each, { level: 9 }).length, 0) / 1024);
}

async function main() {
  const rsa = rsaToken();
  const jwks = await keyServer(rsa.jwks);
  const bySecret = { ...VARS, JWT_SECRET: SECRET };
  const byKeySet = { ...VARS, JWT_JWKS_URL: jwks };
  const modules = glimpseModules();
  const ours = [await worker("glimpse", { modules, vars: bySecret }), await worker("glimpse RS256", { modules, vars: byKeySet })];
  const theirs = [
    await worker("aws4fetch", { modules: BASELINE, vars: bySecret }),
    await worker("aws4fetch RS256", { modules: BASELINE, vars: byKeySet }),
  ];
  const node = await companion();
  const ofCompanion = {
    upload: { path: "/s3/params?filename=Ski%20trip.mp4&type=video%2Fmp4&metadata%5Bname%5D=Ski%20trip.mp4", headers: { origin: "https://app.example" } },
    part: { ...part(""), headers: { origin: "https://app.example" } },
  };
  const tokens = [secretToken(), rsa.token];
  for (const place of [0, 1]) await compare(ours[place], theirs[place], tokens[place]);
  await compareCompanion(node, ofCompanion);
  console.log("the responses are equal: status, headers, members, valid signatures, rejections");
  if (options.compare) return;

  const [count, seconds] = [Number(options.rounds), Number(options.seconds)];
  const kinds = [
    ["HS256, an upload", 0, upload, ofCompanion.upload],
    ["HS256, a part", 0, part, ofCompanion.part],
    ["RS256, an upload", 1, upload, null],
    ["RS256, a part", 1, part, null],
  ];
  if (options.smoke) {
    const each = kinds.flatMap(([, place, request, companionRequest]) => [
      [ours[place], request(tokens[place])],
      [theirs[place], request(tokens[place])],
      ...(companionRequest ? [[node, companionRequest]] : []),
    ]);
    return smoke(each);
  }
  console.log(`$ workerd serve config.capnp; ${commandLine(upload(""), seconds)}; ${count} rounds`);
  const [rows, better] = [[], []];
  for (const [what, place, request, companionRequest] of kinds) {
    const sides = { glimpse: [ours[place], request(tokens[place])], aws4fetch: [theirs[place], request(tokens[place])] };
    if (companionRequest) sides.Companion = [node, companionRequest];
    const found = await rounds(sides, count, seconds);
    for (const [name, all] of Object.entries(found)) {
      const { perSecond, p50Ms, p99Ms, cpuUs } = medianRun(all);
      rows.push([what, name, formatNumber(perSecond), formatNumber(p50Ms), formatNumber(p99Ms), formatNumber(cpuUs)]);
    }
    for (const name of Object.keys(found).slice(1)) {
      const { perSecond, cpu } = ratios(found.glimpse, found[name]);
      better.push([what, name, `${formatNumber(perSecond)}x`, `${formatNumber(cpu)}x`]);
    }
  }
  table(["verify and sign", "side", "requests/s", "p50 ms", "p99 ms", "CPU µs"], rows);
  table(["verify and sign", "glimpse against", "requests/s", "CPU"], better);
  table(["modules", "KiB gzip"], [["glimpse, wasm and glue", size(modules)], ["aws4fetch", size(BASELINE)]]);
}

await main().finally(stopAll);
