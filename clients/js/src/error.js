// The error of a failed call, of the API or of storage.

/**
 * @typedef {object} ErrorDetails
 * @property {string | null} [requestId] the id of the request in the log
 * @property {number} [retryAfter] when to try again, in seconds
 * @property {string} [storageCode] S3's code, if storage rejected the request, such as `NoSuchUpload`
 * @property {unknown} [cause] the original error
 */

/** A failed call. `message` is a sentence for users. */
export class GlimpseError extends Error {
  /**
   * @param {number} status the status of the response; 0 without a response
   * @param {string} code the problem's code, for programs; `unreachable`, `unreadable` (the file), `storage` and
   *   `unknown` come from this package
   * @param {string} message
   * @param {ErrorDetails} [details]
   */
  constructor(status, code, message, { requestId, retryAfter, storageCode, cause } = {}) {
    super(message, { cause });
    this.name = "GlimpseError";
    this.status = status;
    this.code = code;
    /** The id of the request in the log. @type {string | undefined} */
    this.requestId = requestId ?? undefined;
    /** When to try again, in seconds. */
    this.retryAfter = retryAfter;
    /** S3's code, if storage rejected the request. */
    this.storageCode = storageCode;
  }

  /** Whether the same request may succeed later: no response, too many requests, or an error of the server. */
  get isTransient() {
    const { status, code } = this;
    // The operator has to fix the last one.
    return status === 0 ? code === "unreachable" : [408, 429].includes(status) || (status >= 500 && status !== 501 && code !== "no_access");
  }
}

/** @param {unknown} [cause] */
export const unreachable = (cause) => new GlimpseError(0, "unreachable", "Glimpse cannot be reached. Check your connection and try again.", { cause });

/**
 * The result of reading a file.
 * @template T @param {Promise<T>} reading
 * @throws {GlimpseError} if the file cannot be read
 */
export const readable = (reading) =>
  reading.catch((cause) => {
    throw new GlimpseError(0, "unreadable", "The file was moved, changed or cannot be read. Choose it again.", { cause });
  });

/** Parses JSON; undefined if it is invalid. @param {string} text */
export function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The delay of `Retry-After` in seconds, if there is one. @param {Headers} headers */
export function retryAfterOf(headers) {
  const seconds = Number.parseInt(headers.get("retry-after") ?? "", 10);
  return seconds >= 0 ? seconds : undefined;
}

/** The error of an unsuccessful response. @param {Response} response @param {string} text its body */
export function errorOf({ status, headers }, text) {
  const body = parseJson(text) ?? {};
  const reason = body.message ?? body.detail ?? body.title;
  const isBusy = status === 429;
  const message = reason || (isBusy ? "Too many requests at once. Try again in a moment." : `Glimpse answered with an error (${status}). Try again in a moment.`);
  const requestId = body.request_id ?? headers.get("x-request-id");
  return new GlimpseError(status, body.code ?? (isBusy ? "busy" : "unknown"), message, { requestId, retryAfter: retryAfterOf(headers) });
}
