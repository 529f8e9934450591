// The package: its size, its files, its types, and that it runs without Node.js.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { Webhook } from "standardwebhooks";
import workerdModule from "workerd";

import { generateApiTypes, generateTypes, typesFolder } from "../scripts/types.mjs";

/** The size of the client with uploads, and of the whole main entry with the URL builders, in bytes after gzip. */
const CLIENT_BUDGET_BYTES = 6_500;
const ENTRY_BUDGET_BYTES = 8_600;
/** A Worker that may connect to any address. */
const WORKERD_CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "internet", network = (allow = ["public", "private"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2025-01-01");
`;
const workerdPath = workerdModule.default;
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

async function bundle(contents, options = {}) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT }, bundle: true, minify: true, format: "esm", write: false, target: ["chrome109", "firefox115", "safari16"], ...options,
  });
  return outputFiles[0].text;
}

test("the client is smaller than its budget", async () => {
  for (const [names, budget] of [["{ Glimpse }", CLIENT_BUDGET_BYTES], ["*", ENTRY_BUDGET_BYTES]]) {
    const bytes = gzipSync(await bundle(`export ${names} from "@glimpse-video/client"`)).length;
    console.log(`${names}: ${bytes} bytes after gzip`);
    assert.ok(bytes <= budget, `${names}: ${bytes} bytes`);
  }
});

test("the client needs no file of Node.js", async () => {
  for (const entry of Object.keys(manifest.exports).filter((entry) => !entry.endsWith(".json"))) {
    await bundle(`export * from ${JSON.stringify(entry.replace(".", manifest.name))}`, { platform: "neutral", external: ["react", "next"] });
  }
});

test("the package has its entries, and nothing but them", () => {
  const [packed] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  const files = packed.files.map(({ path }) => path);
  for (const entry of Object.values(manifest.exports)) {
    for (const path of typeof entry === "string" ? [entry] : Object.values(entry)) assert.ok(files.includes(path.replace("./", "")), path);
  }
  for (const path of files) assert.match(path, /^(package\.json|README\.md|LICENSE|(src|types)\/.*\.(js|d\.ts|css))$/);
  assert.equal(manifest.dependencies, undefined);
});

test("the API's types are those of the OpenAPI document", async () => {
  assert.equal(readFileSync(join(typesFolder, "openapi.d.ts"), "utf8"), await generateApiTypes(), "run `npm run types --workspace @glimpse-video/client`");
});

test("the declared types are those of the code", () => {
  const folder = mkdtempSync(join(tmpdir(), "glimpse-types-"));
  try {
    generateTypes(folder);
    const fresh = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".ts")).sort();
    const stored = readdirSync(typesFolder, { recursive: true }).filter((name) => name.endsWith(".ts") && name !== "openapi.d.ts").sort();
    assert.deepEqual(stored, fresh, "run `npm run types --workspace @glimpse-video/client`");
    for (const name of fresh) assert.equal(readFileSync(join(typesFolder, name), "utf8"), readFileSync(join(folder, name), "utf8"), name);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("code that uses the package is checked by its types", () => {
  execFileSync(process.execPath, [fileURLToPath(import.meta.resolve("typescript/bin/tsc")), "--project", "tests/types"], { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
});

test("signing and verifying run in workerd", async () => {
  const script = await bundle(`
    import { deliveryToken, signUrl, uploadToken, verifyWebhook } from "@glimpse-video/client/server";
    import { Glimpse, thumbnailUrl } from "@glimpse-video/client";
    export default {
      async fetch(request) {
        const key = { kid: "2026", secret: "a secret" };
        const url = thumbnailUrl("https://video.example.com", "7yegr1n5zz040g2081040g2081", { width: 320, time: 1.5 });
        const event = await verifyWebhook(await request.text(), request.headers, request.headers.get("x-secret"));
        const forged = await verifyWebhook("{}", request.headers, request.headers.get("x-secret")).catch(({ code }) => code);
        return Response.json({
          signed: await signUrl(url, { ...key, expires: 1800000000 }),
          token: await deliveryToken("7yegr1n5zz040g2081040g2081", { type: "thumbnail", ...key }),
          upload: await uploadToken({ url: "https://video.example.com", issuer: "i", subject: "s", ...key }),
          error: await new Glimpse({ url: "http://127.0.0.1:1", token: () => "t" }).me().catch(({ code, status }) => [code, status]),
          event, forged,
        });
      },
    };`, { conditions: ["workerd"] });
  const folder = mkdtempSync(join(tmpdir(), "glimpse-workerd-"));
  writeFileSync(join(folder, "worker.js"), script);
  writeFileSync(join(folder, "config.capnp"), WORKERD_CONFIG);
  const workerd = spawn(workerdPath, ["serve", join(folder, "config.capnp"), "--control-fd=1"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = await once(workerd.stdout, "data");
    const { port } = JSON.parse(line);
    const body = '{"type":"video.ready"}';
    const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const now = new Date();
    const headers = { "x-secret": secret, "webhook-id": "msg_1", "webhook-timestamp": String(Math.floor(now / 1000)), "webhook-signature": new Webhook(secret).sign("msg_1", now, body) };
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body, headers });
    const answer = await response.json();
    const path = "/7yegr1n5zz040g2081040g2081/thumbnail.jpg?time=1.5&width=320&expires=1800000000&kid=2026";
    assert.equal(answer.signed, `https://video.example.com${path}&sig=${createHmac("sha256", "a secret").update(path).digest("base64url")}`);
    assert.deepEqual([answer.event, answer.forged, answer.error], [{ type: "video.ready" }, "wrong_signature", ["unreachable", 0]]);
    assert.equal(answer.token.split(".").length, 3);
    assert.ok(answer.upload.url.startsWith("https://video.example.com/u/eyJ"));
  } finally {
    workerd.kill();
    rmSync(folder, { recursive: true });
  }
});
