// Recovery from a panic: the Worker is reinstantiated at the next request, and works as before.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { ROOT, glimpseModules, stopAll, worker } from "../../bench/edge/servers.mjs";

const vars = {
  PUBLIC_URL: "https://video.example",
  S3_BUCKET: "clips",
  S3_REGION: "eu-central-1",
  S3_ACCESS_KEY_ID: "AKID",
  S3_SECRET_ACCESS_KEY: "hush-hush",
  JWT_ISSUER: "https://id.example",
  JWT_AUDIENCE: "glimpse",
  JWT_SECRET: "0123456789abcdef0123456789abcdef",
};

after(stopAll);

test("the Worker is reinstantiated after a fault", async () => {
  const modules = { "faulty.js": `${ROOT}bench/edge/baselines/faulty.js`, ...glimpseModules() };
  const server = await worker("faulty", { modules, vars });
  const ask = async (path) => {
    const answer = await fetch(server.url + path);
    return { status: answer.status, text: await answer.text(), id: answer.headers.get("x-request-id") };
  };
  const before = await ask("/health");
  assert.match(before.id, /^[0-9a-f]{16}$/);
  const first = await ask("/fault");
  for (let round = 0; round < 3; round++) {
    const health = await ask("/health");
    assert.equal(health.status, before.status);
    assert.match(health.id, /^[0-9a-f]{16}$/);
  }
  const second = await ask("/fault");
  assert.ok(Number(second.text) > Number(first.text), "the module was reinstantiated");
});
