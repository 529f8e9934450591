// The client's errors, tokens and event streams, with scripted responses.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Glimpse, GlimpseError } from "@glimpse-video/client";

const URL_ = "https://video.example.com";

/** A client whose requests get these responses, one after the other: functions of the request. */
function scripted(...answers) {
  const requests = [];
  const client = (options = {}) =>
    new Glimpse({
      url: URL_,
      ...options,
      fetch: async (url, init) => {
        requests.push({ url: String(url), ...init });
        const answer = answers[Math.min(requests.length, answers.length) - 1];
        return answer(init);
      },
    });
  return { requests, client };
}

const problem = (status, body, headers = {}) => () => new Response(JSON.stringify(body), { status, headers: { "content-type": "application/problem+json", ...headers } });
const failureOf = (promise) => promise.then(() => assert.fail("it succeeded"), (error) => error);

test("a problem becomes a GlimpseError", async () => {
  const body = { type: "urn:glimpse:problem:busy", title: "Too many requests", status: 429, code: "busy", detail: "Wait.", message: "Wait.", error: "Wait.", request_id: "r1" };
  const { client } = scripted(problem(429, body, { "retry-after": "7" }));
  const error = await failureOf(client().me());
  assert.ok(error instanceof GlimpseError && error instanceof Error);
  const { name, status, code, message, requestId, retryAfter, isTransient } = error;
  assert.deepEqual({ name, status, code, message, requestId, retryAfter, isTransient }, { name: "GlimpseError", status: 429, code: "busy", message: "Wait.", requestId: "r1", retryAfter: 7, isTransient: true });
});

test("a response that is no problem becomes a GlimpseError", async () => {
  for (const [status, text, code, isTransient] of [[502, "<html>Bad gateway", "unknown", true], [404, "", "unknown", false], [429, "", "busy", true], [501, "{}", "unknown", false]]) {
    const error = await failureOf(scripted(() => new Response(text, { status, headers: { "x-request-id": "r2" } })).client().me());
    assert.deepEqual([error.status, error.code, error.requestId, error.isTransient], [status, code, "r2", isTransient]);
    assert.ok(error.message.length > 10);
  }
  const forbidden = await failureOf(scripted(problem(502, { code: "no_access", message: "The operator must fix it." })).client().me());
  assert.deepEqual([forbidden.code, forbidden.isTransient], ["no_access", false]);
  const invalid = await failureOf(scripted(() => new Response("<html>")).client().me());
  assert.deepEqual([invalid.status, invalid.code], [200, "unknown"]);
});

test("a missing response becomes a GlimpseError with status 0", async () => {
  const cause = new TypeError("fetch failed");
  const error = await failureOf(scripted(() => Promise.reject(cause)).client().me());
  assert.deepEqual([error.status, error.code, error.cause, error.isTransient], [0, "unreachable", cause, true]);
  const broken = new ReadableStream({ start: (controller) => controller.error(cause) });
  assert.equal((await failureOf(scripted(() => new Response(broken)).client().me())).code, "unreachable");
});

test("an aborted call throws the reason of its signal", async () => {
  const { client } = scripted(({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))));
  const controller = new AbortController();
  const call = client().me({ signal: controller.signal });
  controller.abort(new Error("enough"));
  assert.equal((await failureOf(call)).message, "enough");
});

test("a video in processing is a transient state, not a result", async () => {
  const error = await failureOf(scripted(problem(202, { code: "processing", message: "Wait." }, { "retry-after": "2" })).client().meta("x"));
  assert.deepEqual([error.status, error.code, error.retryAfter], [202, "processing", 2]);
});

test("a token function is called once, and again after 401", async () => {
  let count = 0;
  const token = async () => `t${(count += 1)}`;
  const { client, requests } = scripted(() => Response.json({}), () => Response.json({}), problem(401, { code: "unauthorized", message: "Sign in." }), () => Response.json({ owner: "o" }));
  const glimpse = client({ token });
  await glimpse.me();
  await glimpse.me();
  assert.equal((await glimpse.me()).owner, "o");
  assert.deepEqual(requests.map(({ headers }) => headers.authorization), ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]);
});

test("a second 401 is thrown", async () => {
  const { client, requests } = scripted(problem(401, { code: "unauthorized", message: "Sign in." }));
  assert.equal((await failureOf(client({ token: () => "t" }).me())).status, 401);
  assert.equal(requests.length, 2);
  assert.equal((await failureOf(client({ token: "t" }).me())).status, 401);
  assert.equal(requests.length, 3, "a text cannot be renewed");
  assert.equal((await failureOf(client().me())).status, 401);
  assert.equal(requests.at(-1).headers.authorization, undefined, "without a token, only the cookie");
});

test("a client has the URL of a deployment or of an upload token", () => {
  for (const [url, base, hasUploadToken] of [
    ["https://video.example.com", URL_, false],
    ["https://video.example.com/", URL_, false],
    [`${URL_}/gallery?x#y`, URL_, false],
    [`${URL_}/u/eyJ.a.b`, `${URL_}/u/eyJ.a.b`, true],
    [`${URL_}/u/eyJ.a.b/`, `${URL_}/u/eyJ.a.b`, true],
  ]) {
    const client = new Glimpse({ url });
    assert.deepEqual([client.base, client.origin, client.hasUploadToken], [base, URL_, hasUploadToken]);
  }
  assert.throws(() => new Glimpse({ url: "not a URL" }), TypeError);
});

/** An event stream in pieces that cut lines and characters apart. */
function stream(text, { pieceBytes = 5, fails = false } = {}) {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += pieceBytes)));
      else if (fails) controller.error(new TypeError("terminated"));
      else controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}
const eventText = (id, name, state) => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify({ id: "v", state, name: "é: ü" })}\n\n`;

test("events continue after a lost stream until the outcome", async () => {
  const { client, requests } = scripted(
    () => stream(`retry: 1000\n\n${eventText(1, "uploading", "uploading")}: \n\n${eventText(2, "uploaded", "processing")}`, { fails: true }),
    () => stream(`${eventText(3, "processing", "processing")}${eventText(4, "ready", "ready")}`),
  );
  const received = [];
  for await (const video of client().videos.events("v")) received.push([video.state, video.name]);
  assert.deepEqual(received, ["uploading", "processing", "processing", "ready"].map((state) => [state, "é: ü"]));
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "2"]);
  assert.ok(requests.every(({ url }) => url === `${URL_}/api/videos/v/events`));
});

test("waiting returns the video with its outcome", async () => {
  assert.equal((await scripted(() => stream(eventText(4, "rejected", "rejected"))).client().videos.wait("v")).state, "rejected");
  const { client } = scripted(() => new Response(null, { status: 204 }), () => Response.json({ state: "failed" }));
  assert.equal((await client().videos.wait("v")).state, "failed");
});

test("waiting ends with an error of the video, and with its signal", async () => {
  assert.equal((await failureOf(scripted(problem(404, { code: "not_found", message: "No." })).client().videos.wait("v"))).code, "not_found");
  const { client } = scripted(() => stream(": \n\n"));
  const controller = new AbortController();
  const waiting = client().videos.wait("v", { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 50);
  assert.equal((await failureOf(waiting)).message, "enough");
});

/** The result of an action that waits for time limits: timers run fast until then. */
async function passTime(act) {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let isDone = false;
  const end = () => void (isDone = true);
  const promise = act();
  promise.then(end, end);
  try {
    for (let seconds = 0; !isDone && seconds < 3600; seconds += 1) {
      mock.timers.tick(1000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(isDone, "it waits for more than an hour");
  } finally {
    mock.timers.reset();
  }
  return promise;
}

/** A response that never comes, and one whose body goes silent after its first bytes. */
const noResponse = ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
const silence = (text) => ({ signal }) => {
  const start = (controller) => {
    controller.enqueue(new TextEncoder().encode(text));
    signal.addEventListener("abort", () => controller.error(signal.reason));
  };
  return new Response(new ReadableStream({ start }));
};

test("a call without a response ends", async () => {
  for (const call of [(g) => g.me(), (g) => g.health(), (g) => g.videos.send(new Blob(["x"])), (g) => g.me({ signal: new AbortController().signal })]) {
    for (const answer of [noResponse, silence("{")]) {
      assert.equal((await passTime(() => failureOf(call(scripted(answer).client())))).code, "unreachable");
    }
  }
});

test("an upload without a response ends", async () => {
  const created = () => Response.json({ video: { id: "v" }, upload: { method: "PUT", url: "https://bucket.example.com/v", headers: {} } });
  const { client, requests } = scripted(created, noResponse);
  const upload = client().upload(new Blob(["x"]), { retryDelays: [10] });
  const error = await passTime(() => failureOf(upload.finished));
  assert.deepEqual([error.code, error.status, upload.state, requests.length], ["unreachable", 0, "failed", 3]);
});

test("a silent event stream is opened again", async () => {
  const { client, requests } = scripted(silence(eventText(2, "uploaded", "processing")), noResponse, () => stream(eventText(4, "ready", "ready")));
  assert.equal((await passTime(() => client().videos.wait("v"))).state, "ready");
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), [undefined, "2", "2"]);
  assert.equal((await passTime(() => failureOf(scripted(silence(": \n\n")).client().videos.wait("v")))).code, "unreachable");
});

/** The highest number of parts at the same time, if each takes this long. */
async function partsAtOnce(partMs, options) {
  let [running, most] = [0, 0];
  const answers = [
    [/\/s3\/multipart$/, () => ({ key: "uploads/o/v", uploadId: "u" })],
    [/\/batch\?/, (url) => {
      const numbers = url.searchParams.get("partNumbers").split(",");
      return { presignedUrls: Object.fromEntries(numbers.map((number) => [number, `https://bucket.example.com/${number}`])), expires: 900 };
    }],
    [/\/complete\?/, () => ({ video: { id: "v" } })],
  ];
  const fetch = async (target) => {
    const url = new URL(target);
    if (url.origin === URL_) return Response.json(answers.find(([path]) => path.test(url.href))[1](url));
    most = Math.max(most, (running += 1));
    await new Promise((resolve) => setTimeout(resolve, partMs));
    running -= 1;
    return new Response(null, { headers: { etag: "e" } });
  };
  const file = new Blob([new Uint8Array(60 * 1024 * 1024)]);
  await passTime(() => new Glimpse({ url: URL_, fetch }).upload(file, { store: null, ...options }).finished);
  return most;
}

test("parts are sent one at a time if they take long", async () => {
  assert.equal(await partsAtOnce(4000), 1);
  assert.equal(await partsAtOnce(1000), 3);
  assert.equal(await partsAtOnce(1000, { parallel: 2 }), 2);
  assert.equal(await partsAtOnce(1000, { parallel: 0 }), 1);
});

test("leaving the loop over events closes the stream", async () => {
  let isCanceled = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode(eventText(1, "uploading", "uploading"))),
    cancel: () => void (isCanceled = true),
  });
  for await (const video of scripted(() => new Response(body)).client().videos.events("v")) if (video.state === "uploading") break;
  assert.ok(isCanceled);
});

test("all videos are read page by page", async () => {
  const { client, requests } = scripted(() => Response.json({ videos: [{ id: "a" }], cursor: "a" }), () => Response.json({ videos: [{ id: "b" }], cursor: null }));
  const ids = [];
  for await (const { id } of client().videos.all()) ids.push(id);
  assert.deepEqual(ids, ["a", "b"]);
  assert.deepEqual(requests.map(({ url }) => new URL(url).search), ["?limit=16", "?limit=16&cursor=a"]);
});
