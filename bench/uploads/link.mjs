// The connection between a browser and a storage: a proxy that limits the speed, counts the bytes of uploads that it has
// received, and causes faults.

import { Agent, createServer, request as send } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** S3's error, <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>. */
const errorXml = (code, message) => `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
const FAILURES = {
  "5xx": [503, errorXml("ServiceUnavailable", "Service is unable to handle request.")],
  403: [403, errorXml("AccessDenied", "Request has expired")],
};
/** How long the response of a failure has until its connection is closed, in milliseconds. */
const FLUSH_MS = 100;
/** The part of the file that is sent slowly, and the speed then. */
const THROTTLED_PART = 1 / 8;
const THROTTLED_SPEED = 1 / 4;

/** Whether a request carries bytes of a file: S3's PUT and form, or PATCH of tus. */
const hasFile = ({ method, headers }) =>
  method === "PUT" || method === "PATCH" || (method === "POST" && (headers["content-type"] ?? "").startsWith("multipart/form-data"));

/** Waits until more can be written, or the request has ended. */
const drained = (upstream) =>
  new Promise((resolve) => {
    const end = () => {
      upstream.off("drain", end).off("close", end);
      resolve();
    };
    upstream.on("drain", end).on("close", end);
  });

export class Link {
  /** @param {string} target the storage's host and port @param {number} bytesPerSecond */
  constructor(target, bytesPerSecond) {
    this.target = new URL(`http://${target}`);
    this.fullSpeed = bytesPerSecond;
    this.agent = new Agent({ keepAlive: true });
    this.server = createServer((request, response) => void this.#forward(request, response));
    // A browser sends a request of 512 MB in one piece.
    this.server.requestTimeout = 0;
    this.plan({ size: 0, faults: [], onPageFault: () => {} });
  }

  async listen() {
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    return this;
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
    this.agent.destroy();
  }

  /**
   * Begins an upload. The page's faults (`reload`, `offline`) are reported to `onPageFault`; no bytes pass until `release`
   * is called, so that they happen at their moment.
   * @param {{ size: number, faults: { kind: string, at: number }[], onPageFault: (kind: string) => void }} plan
   */
  plan({ size, faults, onPageFault }) {
    this.size = size;
    this.pending = [...faults];
    this.onPageFault = onPageFault;
    this.received = 0;
    this.speed = this.fullSpeed;
    this.slowUntil = Infinity;
    /** The earliest time at which more bytes are forwarded, by `performance.now()`. */
    this.free = 0;
    /** The browser's connections. */
    this.open = new Set();
    /** @type {Promise<void> | undefined} */
    this.held = undefined;
    this.release = () => {};
  }

  /** Breaks all connections of the browser. */
  cut() {
    for (const socket of this.open) socket.destroy();
    this.open.clear();
  }

  /** Removes the next fault of these kinds whose moment has come, and returns its kind. */
  #take(...kinds) {
    const place = this.pending.findIndex(({ kind, at }) => this.received >= at && kinds.includes(kind));
    return place < 0 ? undefined : this.pending.splice(place, 1)[0].kind;
  }

  /** Delays bytes to the link's speed. */
  async #pace(bytes) {
    const now = performance.now();
    this.free = Math.max(now, this.free) + (bytes / this.speed) * 1000;
    if (this.free - now > 2) await sleep(this.free - now);
  }

  async #forward(request, response) {
    const { method, url, headers, socket } = request;
    // The Worker's own calls of the storage have no origin.
    const isCounted = hasFile(request) && headers.origin !== undefined;
    if (headers.origin) this.open.add(socket);
    const upstream = send({ host: this.target.hostname, port: this.target.port, agent: this.agent, method, path: url, headers });
    const abandon = () => {
      upstream.destroy();
      socket.destroy();
    };
    upstream.on("error", abandon);
    upstream.on("response", (answer) => {
      if (response.headersSent) return;
      response.writeHead(answer.statusCode, answer.headers);
      answer.on("error", abandon);
      answer.pipe(response);
    });
    response.on("close", () => response.writableEnded || upstream.destroy());
    if (isCounted && this.#take("403")) return this.#fail("403", request, response, upstream);
    try {
      for await (const bytes of request) {
        if (isCounted) {
          await this.#pace(bytes.length);
          this.received += bytes.length;
          if (this.received >= this.slowUntil) this.speed = this.fullSpeed;
        }
        if (isCounted && this.#happens(request, response, upstream)) return;
        await this.held;
        if (!upstream.write(bytes)) await drained(upstream);
      }
      upstream.end();
    } catch {
      abandon();
    }
  }

  /** Causes the faults whose moment has come; whether this request has ended by it. */
  #happens(request, response, upstream) {
    const kind = this.#take("cut", "5xx", "reload", "offline", "throttled");
    if (kind === "cut") {
      this.cut();
      return true;
    }
    if (kind === "5xx") {
      void this.#fail(kind, request, response, upstream);
      return true;
    }
    if (kind === "throttled") {
      this.speed = this.fullSpeed * THROTTLED_SPEED;
      this.slowUntil = this.received + this.size * THROTTLED_PART;
    }
    if (kind === "reload" || kind === "offline") {
      this.held = new Promise((resolve) => (this.release = resolve)).then(() => (this.held = undefined));
      this.onPageFault(kind);
    }
    return false;
  }

  /** Answers before the body was received, as S3 and load balancers do, and closes the connection. */
  async #fail(kind, request, response, upstream) {
    const [status, text] = FAILURES[kind];
    const headers = { "content-type": "application/xml", "access-control-allow-origin": "*", connection: "close" };
    response.writeHead(status, headers).end(text);
    const { socket } = request;
    upstream.removeAllListeners("error").on("error", () => {}).destroy();
    await sleep(FLUSH_MS);
    socket.destroy();
  }
}
