// Direct S3 access for scenarios, without the edge: requests that are signed here with the stack's key pair, under
// another caller's name, so that they are not counted as the edge's,
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.

import { createHash, createHmac } from "node:crypto";

const EXPIRES_SECS = 900;

export class Bucket {
  constructor({ endpoint, bucket, region, accessKeyId, secretAccessKey }) {
    Object.assign(this, { endpoint, bucket, region, accessKeyId, secretAccessKey });
  }

  /** The presigned URL of an operation, signed at this time (milliseconds). */
  presign(method, key, query = {}, atMs = Date.now()) {
    const time = new Date(atMs).toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = `${time.slice(0, 8)}/${this.region}/s3/aws4_request`;
    const path = `/${[this.bucket, ...key.split("/")].map(escape).join("/")}`;
    const pairs = Object.entries({
      ...query,
      "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
      "X-Amz-Credential": `${this.accessKeyId}/${scope}`,
      "X-Amz-Date": time,
      "X-Amz-Expires": String(EXPIRES_SECS),
      "X-Amz-Security-Token": "test",
      "X-Amz-SignedHeaders": "host",
    }).map(([name, value]) => `${escape(name)}=${escape(value)}`);
    const text = pairs.sort().join("&");
    const request = [method, path, text, `host:${new URL(this.endpoint).host}`, "", "host", "UNSIGNED-PAYLOAD"];
    const hash = createHash("sha256").update(request.join("\n")).digest("hex");
    const secret = scope.split("/").reduce((key, word) => hmac(key, word), `AWS4${this.secretAccessKey}`);
    const signature = hmac(secret, ["AWS4-HMAC-SHA256", time, scope, hash].join("\n")).toString("hex");
    return `${this.endpoint}${path}?${text}&X-Amz-Signature=${signature}`;
  }

  /** The same part of the same upload, signed so long ago that S3 responds with `Request has expired`. */
  expired(url) {
    const { pathname, searchParams } = new URL(url);
    const key = decodeURIComponent(pathname).replace(`/${this.bucket}/`, "");
    const query = { partNumber: searchParams.get("partNumber"), uploadId: searchParams.get("uploadId") };
    return this.presign("PUT", key, query, Date.now() - 2 * EXPIRES_SECS * 1000);
  }

  /** The length and the SHA-256 of the object under the key. */
  async object(key) {
    const response = await fetch(this.presign("GET", key));
    if (!response.ok) throw new Error(`S3 has no ${key}: ${response.status}`);
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of response.body) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { bytes, sha256: hash.digest("hex") };
  }

  /** The keys of all objects in the bucket under `uploads/`. */
  async keys() {
    return this.#listed({ "list-type": "2", prefix: "uploads/" });
  }

  /** The keys of the unfinished multipart uploads. */
  async unfinished() {
    return this.#listed({ uploads: "" });
  }

  /** The numbers of the parts that S3 has of an unfinished upload. */
  async parts({ key, uploadId }) {
    const response = await fetch(this.presign("GET", key, { uploadId }));
    return [...(await response.text()).matchAll(/<PartNumber>(\d+)</g)].map(([, number]) => Number(number));
  }

  async #listed(query) {
    const response = await fetch(this.presign("GET", "", query));
    const text = await response.text();
    if (!response.ok) throw new Error(`listing failed: ${response.status} ${text}`);
    return [...text.matchAll(/<Key>([^<]+)</g)].map(([, key]) => key);
  }
}

function hmac(key, text) {
  return createHmac("sha256", key).update(text).digest();
}

/** Percent-encoding for SigV4: everything except RFC 3986's unreserved characters. */
function escape(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
