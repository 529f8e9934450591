// Decides what a scenario sees and does: a tab with the app, what travels, what lies in S3, what the API says.

import { createHash } from "node:crypto";

import { eventually, expectEqual, listen, slowDown as throttle } from "../verbs.mjs";
import { pieces } from "./content.js";
import { watch } from "./wire.mjs";

/** How long any upload may take here, where other tests run beside, in milliseconds. */
const UPLOADED_MS = 60_000;
/** How long the pictures of a short clip may take, in milliseconds. */
const READY_MS = 90_000;

export class Stage {
  constructor({ context, bucket, stack, origin, program, way }) {
    Object.assign(this, { context, bucket, stack, origin, program, way });
  }

  /** A fresh tab with the app in it. `excused` are complaints of the console that the scenario provokes. */
  async open({ plugin, retriever, excused = [], way = this.way } = {}) {
    await this.tab?.close();
    this.tab = await this.context.newPage();
    // What Golden Retriever kept for another scenario is not found again in this one.
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

  /** What the app's own server does for a client that can set no header: a token, and the address with it in the path. */
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
    // A page of the edge's own origin, without a policy that forbids our program.
    await this.tab.goto(isOwn ? `${this.stack.edge}/health` : this.origin);
    if (isOwn) await this.tab.addScriptTag({ content: this.program });
    await this.app.open(this.settings);
  }

  /** The verbs of `app.js`, called in the tab. */
  get app() {
    const { tab } = this;
    return new Proxy({}, {
      get: (_, verb) => (verb === "then" ? undefined : (...args) => tab.evaluate(([name, list]) => window.app[name](...list), [verb, args])),
    });
  }

  /** Waits until Uppy is done for the so-manieth time, and says with what. */
  async outcome(number = 1) {
    return eventually(`Uppy is done ${number}x`, async () => (await this.app.outcomes())[number - 1], UPLOADED_MS);
  }

  /** The same, and everything has succeeded. */
  async uploaded(number = 1) {
    const { successful, failed } = await this.outcome(number);
    expectEqual(failed.map(({ name, error }) => `${name}: ${error}`).join(), "", "what failed");
    return successful;
  }

  /** Waits until one file has arrived. An upload that Golden Retriever restored ends in v4 without a word about its result. */
  async arrived() {
    return eventually("a file arrives", async () => (await this.app.succeeded())[0], UPLOADED_MS);
  }

  /** Waits until that many parts have arrived. */
  async partsArrived(count) {
    await eventually(`${count} parts arrive`, async () => (await this.app.parts()).length >= count, UPLOADED_MS);
  }

  /** Slows the tab's uploads down to so many bytes a second; hands back what lifts that. */
  async throttle(bytesPerSecond) {
    return throttle(this.tab, bytesPerSecond);
  }

  /** Gives Uppy another address for the next part than the edge has signed. */
  async spoilNextSignature(change) {
    await this.tab.exposeFunction("spoil", change);
    await this.app.replaceNextSignature();
  }

  /** Lets the next request to such an address reach its server, and drops the answer. */
  async loseNextAnswer(address) {
    await this.tab.route(address, async (route) => {
      await route.fetch();
      await route.abort();
    }, { times: 1 });
  }

  /** What the API says about the video to whoever has uploaded it. */
  async video(id) {
    const { edge, bearer, cookie } = this.stack;
    const proof = this.settings.way === "cookie" ? { cookie: `${cookie.name}=${cookie.value}` } : { authorization: `Bearer ${bearer}` };
    const response = await fetch(`${edge}/api/videos/${id}`, { headers: proof });
    expectEqual(response.status, 200, `GET /api/videos/${id}`);
    return response.json();
  }

  /** Waits until the video's outcome is known. */
  async settled(id) {
    return eventually(`the outcome of ${id}`, async () => {
      const video = await this.video(id);
      return ["uploading", "processing"].includes(video.state) ? undefined : video;
    }, READY_MS);
  }

  /** An upload is in S3 byte by byte, the API knows its name, and the app can tell which video it became. Its id. */
  async expectStored({ url, body, name }, { bytes, seed = name }) {
    const video = body.key.split("/").pop();
    expectEqual(new URL(url).pathname.split("/").pop(), video, "the last segment of the location");
    const hash = createHash("sha256");
    for (const piece of pieces(seed, bytes)) hash.update(piece);
    const stored = await this.bucket.object(body.key);
    expectEqual(stored.bytes, bytes, `bytes of ${name} in S3`);
    expectEqual(stored.sha256, hash.digest("hex"), `SHA-256 of ${name} in S3`);
    const shown = await this.video(video);
    expectEqual(shown.name, name, "the name that the API gives");
    expectEqual(shown.bytes, bytes, "the length that the API gives");
    return video;
  }
}
