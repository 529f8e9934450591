// The interface of a scenario: a tab with the app, its requests, the objects in S3, and the API's responses.

import { createHash } from "node:crypto";

import { eventually, expectEqual, listen, slowDown as throttle } from "../page-helpers.mjs";
import { pieces } from "./content.js";
import { watch } from "./wire.mjs";

/** The time limit of an upload, while other tests run, in milliseconds. */
const UPLOADED_MS = 60_000;
/** The time limit for processing a short clip, in milliseconds. */
const READY_MS = 90_000;

export class Stage {
  constructor({ context, bucket, stack, origin, program, way }) {
    Object.assign(this, { context, bucket, stack, origin, program, way });
  }

  /** A new tab with the app. `excused` are console errors that the scenario provokes. */
  async open({ plugin, retriever, excused = [], way = this.way } = {}) {
    await this.tab?.close();
    this.tab = await this.context.newPage();
    // Clears the storage, so that Golden Retriever does not restore another scenario's uploads.
    const devtools = await this.context.newCDPSession(this.tab);
    const origin = new URL(this.origin).origin;
    await devtools.send("Storage.clearDataForOrigin", { origin, storageTypes: "indexeddb,local_storage" });
    this.complaints = listen(this.tab);
    // `/health` has no icon.
    [...excused, /^404 .*\/favicon\.ico$/].forEach(this.complaints.expect);
    this.wire = watch(this.tab, { s3: this.stack.s3.endpoint });
    const tokenUrl = ["path", "slash"].includes(way) ? await this.#mint() : undefined;
    this.settings = { stack: { ...this.stack, tokenUrl }, way, plugin, retriever };
    await this.#load();
    return this.app;
  }

  /** The same tab after a reload, with the same settings. */
  async reload() {
    this.settings.retriever &&= { ...this.settings.retriever, awaited: true };
    await this.#load();
  }

  /** The app server's role for a client that cannot set headers: a token, and the URL that contains it. */
  async #mint() {
    const response = await fetch(`${this.stack.edge}/api/upload-tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${this.stack.bearer}`, "content-type": "application/json" },
      body: JSON.stringify({ videos: 30 }),
    });
    expectEqual(response.status, 201, "POST /api/upload-tokens");
    return (await response.json()).url;
  }

  async #load() {
    const isOwn = this.settings.way === "cookie";
    // A page of the edge's own origin, without a policy that blocks the test's script.
    await this.tab.goto(isOwn ? `${this.stack.edge}/health` : this.origin);
    if (isOwn) await this.tab.addScriptTag({ content: this.program });
    await this.app.open(this.settings);
  }

  /** The functions of `app.js`, called in the tab. */
  get app() {
    const { tab } = this;
    return new Proxy({}, {
      get: (_, verb) => (verb === "then" ? undefined : (...args) => tab.evaluate(([name, list]) => window.app[name](...list), [verb, args])),
    });
  }

  /** Waits for Uppy's nth `complete` event, and returns its result. */
  async outcome(number = 1) {
    return eventually(`Uppy is done ${number}x`, async () => (await this.app.outcomes())[number - 1], UPLOADED_MS);
  }

  /** The same, with a check that all uploads succeeded. */
  async uploaded(number = 1) {
    const { successful, failed } = await this.outcome(number);
    expectEqual(failed.map(({ name, error }) => `${name}: ${error}`).join(), "", "what failed");
    return successful;
  }

  /** Waits until one file is uploaded. In v4, an upload that Golden Retriever restored ends without a result. */
  async arrived() {
    return eventually("a file arrives", async () => (await this.app.succeeded())[0], UPLOADED_MS);
  }

  /** Waits until this many parts are uploaded. */
  async partsArrived(count) {
    await eventually(`${count} parts arrive`, async () => (await this.app.parts()).length >= count, UPLOADED_MS);
  }

  /** Throttles the tab's uploads to this many bytes per second; returns a function that removes the limit. */
  async throttle(bytesPerSecond) {
    return throttle(this.tab, bytesPerSecond);
  }

  /** Gives Uppy another URL for the next part than the edge has signed. */
  async spoilNextSignature(change) {
    await this.tab.exposeFunction("spoil", change);
    await this.app.replaceNextSignature();
  }

  /** Lets the next request to such a URL reach its server, and drops the response. */
  async loseNextAnswer(address) {
    await this.tab.route(address, async (route) => {
      await route.fetch();
      await route.abort();
    }, { times: 1 });
  }

  /** The API's response about the video to its uploader. */
  async video(id) {
    const { edge, bearer, cookie } = this.stack;
    const proof = this.settings.way === "cookie" ? { cookie: `${cookie.name}=${cookie.value}` } : { authorization: `Bearer ${bearer}` };
    const response = await fetch(`${edge}/api/videos/${id}`, { headers: proof });
    expectEqual(response.status, 200, `GET /api/videos/${id}`);
    return response.json();
  }

  /** Waits until the video has an outcome. */
  async settled(id) {
    return eventually(`the outcome of ${id}`, async () => {
      const video = await this.video(id);
      return ["uploading", "processing"].includes(video.state) ? undefined : video;
    }, READY_MS);
  }

  /**
   * Checks that an upload is in S3 unchanged, that the API has its name, and that the app knows its video. Returns its
   * id.
   */
  async expectStored({ url, body, name }, { bytes, seed = name }) {
    const video = body.key.split("/").pop();
    expectEqual(new URL(url).pathname.split("/").pop(), video, "the last segment of the location");
    const hash = createHash("sha256");
    for (const piece of pieces(seed, bytes)) hash.update(piece);
    const stored = await this.bucket.object(body.key);
    expectEqual(stored.bytes, bytes, `bytes of ${name} in S3`);
    expectEqual(stored.sha256, hash.digest("hex"), `SHA-256 of ${name} in S3`);
    const shown = await this.video(video);
    expectEqual(shown.name, name, "the name in the API");
    expectEqual(shown.bytes, bytes, "the length in the API");
    return video;
  }
}
