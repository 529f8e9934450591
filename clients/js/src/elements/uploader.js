// The <glimpse-uploader> element: a drop zone and a file chooser, and a list of files with their progress, which can be
// paused, resumed, canceled and retried.
//
//   <glimpse-uploader url="https://video.example.com/u/eyJ…" multiple></glimpse-uploader>

import { Glimpse } from "../glimpse.js";
import { defaultStore, lockedUploads } from "../resume.js";
import { Base, define, sharedSheet } from "./base.js";
import { h, icon } from "./dom.js";
import { acceptAttribute, acceptedTypes, describeLimits, typeOf, validateFile } from "./files.js";
import { bytes } from "./format.js";
import { MESSAGES } from "./messages.js";
import { createRow } from "./uploader-row.js";
import { STYLE } from "./uploader-style.js";

/** The number of files that are sent at once by default. Each of them is sent in up to three parts at once. */
const DEFAULT_PARALLEL = 2;
/** States of files that are being sent, or will be. */
const ACTIVE = ["waiting", "uploading", "paused"];
/** States of files that are not uploaded by themselves any more. */
const SETTLED = ["done", "error", "refused"];
const style = sharedSheet(STYLE);

/**
 * Attributes: `url` of the deployment, or of an upload token (default: the page's origin), `token`, `accept`, `multiple`,
 * `max-files`, `parallel` files at once, `visibility`, `external-id`, `disabled`, `lang`. Properties: `client` instead of
 * `url` and `token`, `options` for every upload, `messages`, `files`. Events, all of which bubble: `upload-start`,
 * `upload-progress`, `upload-success`, `upload-error`, `upload-cancel`, `complete`.
 */
export class GlimpseUploader extends Base {
  static observedAttributes = ["url", "token", "accept", "multiple", "max-files", "disabled", "lang"];

  #root = this.attachShadow({ mode: "open" });
  /** @type {Set<import("./uploader-row.js").Item>} in the order of the list */
  #items = new Set();
  #client;
  #ownClient;
  #options = {};
  #messages = MESSAGES;
  /** Aborted when the element leaves the page. */
  #abort;
  /** The limits of this caller, once they are known, and the request for them. */
  #limits;
  #loading;
  /** The outcomes since the last `complete`. */
  #done = [];
  #failed = [];
  /** The elements of the shadow tree. */
  #parts;

  /** The client of the uploads; by default one for `url` and `token`. @returns {Glimpse} */
  get client() {
    return this.#client ?? (this.#ownClient ??= new Glimpse({ url: this.#attribute("url") ?? location.origin, token: this.#attribute("token") }));
  }
  set client(client) {
    this.#client = client;
    this.#load();
  }

  /** Options of every upload, see `UploadOptions`; they have precedence over attributes. */
  get options() {
    return this.#options;
  }
  set options(options) {
    this.#options = options ?? {};
  }

  /** The texts; those that are set replace the English ones. */
  get messages() {
    return this.#messages;
  }
  set messages(messages) {
    this.#messages = { ...MESSAGES, ...messages };
    this.#build();
  }

  /** The files in the list. */
  get files() {
    return [...this.#items];
  }

  connectedCallback() {
    // Properties that were set before the element was defined.
    for (const name of ["client", "options", "messages"]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.#root.adoptedStyleSheets = [style()];
    this.#abort = new AbortController();
    addEventListener("beforeunload", (event) => this.#with("waiting", "uploading").length > 0 && event.preventDefault(), this.#abort);
    this.#build();
    this.#load();
  }

  disconnectedCallback() {
    this.#abort.abort();
    // A framework may only have moved the element. Otherwise nothing is sent unseen; what is stored can be resumed.
    queueMicrotask(() => this.isConnected || this.pause());
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "url" || name === "token") {
      this.#ownClient = undefined;
      this.#load();
    } else {
      this.#build();
    }
  }

  /** Opens the file chooser. Browsers allow it only in the handler of a user's action. */
  browse() {
    this.#parts.choose.click();
  }

  /** Adds files, as if they were dropped. Resolves once they are in the list. @param {Iterable<File>} files */
  async add(files) {
    files = [...files];
    const limits = await this.#loading;
    if (!limits || this.#isDisabled) return;
    if (this.#most === 1) this.clear();
    for (const file of files) {
      const isFull = this.#with(...ACTIVE, "done").length >= this.#most;
      const problem = validateFile(file, this.#allowed(limits), this.#texts) ?? (isFull ? { code: "too_many_files", message: this.#messages.many(this.#most) } : undefined);
      const { name, size } = file;
      const item = { file, name, size, sent: 0, state: "waiting" };
      this.#insert(item);
      if (problem) this.#fail(item, "refused", Object.assign(new Error(problem.message), problem));
    }
    this.#next();
  }

  /** Pauses all files that are being sent. */
  pause() {
    this.#with("uploading").forEach(this.#acts.pause);
  }

  /** Resumes all paused files. */
  resume() {
    this.#with("paused").forEach(this.#acts.resume);
  }

  /** Cancels all files that are not uploaded yet. */
  cancel() {
    this.#with(...ACTIVE).forEach(this.#acts.cancel);
  }

  /** Removes the files from the list that are uploaded, failed or refused. */
  clear() {
    this.#with(...SETTLED).forEach(this.#acts.remove);
  }

  get #isDisabled() {
    return this.hasAttribute("disabled");
  }

  /** The number of files that may be in the list. */
  get #most() {
    return this.hasAttribute("multiple") ? Number(this.#attribute("max-files") ?? Infinity) : 1;
  }

  get #texts() {
    return { messages: this.#messages, locale: this.lang || undefined, many: this.#most > 1 };
  }

  #attribute = (name) => this.getAttribute(name) || undefined;
  #with = (...states) => [...this.#items].filter(({ state }) => states.includes(state));
  /** The limits, with the types that `accept` allows. */
  #allowed = (limits) => ({ ...limits, types: acceptedTypes(limits.types, this.#attribute("accept")) });
  #store = () => (this.#options.store === undefined ? defaultStore() : this.#options.store);

  /** What the buttons of a row do. */
  #acts = {
    pause: (item) => {
      item.state = "paused";
      item.upload.pause();
      item.sent = item.upload.kept;
      this.#draw(item);
      this.#say(item, this.#messages.paused);
      this.#next();
    },

    resume: (item) => {
      item.state = "uploading";
      item.upload.resume();
      this.#draw(item);
      this.#say(item, this.#messages.resumed);
      this.#next();
    },

    retry: (item) => {
      Object.assign(item, { state: "waiting", problem: undefined, error: undefined });
      this.#failed = this.#failed.filter((one) => one !== item);
      this.#draw(item);
      this.#next();
    },

    cancel: (item) => {
      this.#acts.remove(item);
      // Parts that cannot be deleted now are deleted by the bucket's lifecycle rule.
      item.upload?.abort().catch(() => {});
      this.#say(item, this.#messages.canceled);
      this.#emit("upload-cancel", { file: item.file });
      this.#next();
    },

    /** Removes a row; the focus moves to the next one, or to the file chooser. */
    remove: (item) => {
      const { element } = item.row;
      const isFocused = element.contains(this.#root.activeElement);
      const neighbor = element.nextElementSibling ?? element.previousElementSibling;
      this.#items.delete(item);
      element.remove();
      if (isFocused) (neighbor?.querySelector("button") ?? this.#parts.choose).focus({ preventScroll: true });
    },

    /** Aborts an unfinished upload. If that fails, it is listed again after a reload. */
    discard: (item) => {
      const { record } = item;
      this.#acts.remove(item);
      this.client.uploads.abort(record).then(() => this.#store().remove(record.uploadId), () => {});
    },

    chooseFile: () => this.browse(),
  };

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Announces to screen readers what happened to a file. */
  #say(item, what) {
    this.#parts.live.textContent = this.#messages.named(item.name, what);
  }

  /** Asks for the limits. */
  #load = () => {
    if (!this.#abort) return;
    this.#limits = undefined;
    this.#with("unfinished").forEach(this.#acts.remove);
    const loading = (this.#loading = (async () => {
      const { limits, error } = await (async () => this.client.me())().catch((error) => ({ error }));
      if (this.#loading !== loading) return this.#loading;
      this.#limits = limits;
      this.#notice(error && this.#messages.failed(error), this.#load);
      this.#drawZone();
      if (limits) void this.#offerUnfinished(loading);
      return limits;
    })());
  };

  /** Lists the uploads that were interrupted by a reload or a crash, if the server still has their parts. */
  async #offerUnfinished(loading) {
    const { client } = this;
    const store = this.#store();
    const isLocked = await lockedUploads();
    for (const record of (await store?.list()) ?? []) {
      if (record.url !== client.origin || isLocked(record.uploadId)) continue;
      // An upload of another user, or one that is gone, is not offered.
      const parts = await client.uploads.parts(record).catch(() => undefined);
      if (this.#loading !== loading) return;
      const { name, size } = record;
      if (parts) this.#insert({ name: name ?? "", size, sent: parts.reduce((sum, { Size }) => sum + Size, 0), state: "unfinished", record });
    }
  }

  /** Builds the shadow tree. */
  #build() {
    if (!this.#abort) return;
    const { drop, choose, list, label } = this.#messages;
    const { many } = this.#texts;
    const parts = (this.#parts = {
      input: h("input", { type: "file", hidden: true, multiple: many, onchange: ({ target }) => (void this.add(target.files), (target.value = "")) }),
      choose: h("button", { type: "button", part: "choose", "aria-describedby": "limits" }, choose(many)),
      limits: h("p", { part: "limits", id: "limits" }),
      notice: this.#parts?.notice ?? h("div", { className: "box", part: "notice", role: "alert", hidden: true }),
      total: h("div", { className: "box", part: "total", hidden: true }),
      list: h("ul", { part: "list", "aria-label": list }),
      live: h("p", { className: "live", role: "status" }),
    });
    // Not a result of the handler: false would cancel the click on the input.
    const open = ({ target }) => void (target !== parts.input && !parts.choose.disabled && parts.input.click());
    const title = h("p", { part: "title" }, h("span", { className: "mouse" }, drop(many), " "), parts.choose);
    const zone = h("div", { className: "box drop", part: "dropzone", onclick: open }, icon("upload"), h("div", {}, title, parts.limits), parts.input);
    const group = h("div", { part: "container", role: "group", "aria-label": label }, zone, parts.notice, parts.total, parts.list, parts.live);
    this.#listen(group);
    this.#root.replaceChildren(group);
    for (const item of this.#items) this.#draw(item, true);
    this.#drawZone();
    this.#drawTotal();
  }

  /** Takes files that are dragged here. Other drags, of text and links, work as usual. */
  #listen(group) {
    for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
      group.addEventListener(type, (event) => {
        const { types, files } = event.dataTransfer;
        if (!types.includes("Files")) return;
        event.preventDefault();
        group.className = type !== "drop" && type !== "dragleave" && !this.#parts.choose.disabled ? "over" : "";
        if (type === "drop") void this.add(files);
      });
    }
  }

  #notice(text, retry) {
    const { notice } = this.#parts;
    notice.hidden = !text;
    notice.replaceChildren(text || "", retry ? h("button", { type: "button", part: "button", onclick: retry }, this.#messages.retry) : "");
  }

  #drawZone() {
    const { choose, limits, input } = this.#parts;
    const known = this.#limits && this.#allowed(this.#limits);
    choose.disabled = !known || this.#isDisabled;
    limits.textContent = known ? describeLimits(known, this.#texts) : "\u00a0";
    if (known) input.accept = acceptAttribute(known.types);
  }

  #insert(item) {
    this.#items.add(item);
    this.#draw(item, true);
  }

  /** Draws a row; a new one if its texts may have changed. */
  #draw(item, isNew) {
    if (isNew) {
      const row = createRow(item, this.#texts, (what) => this.#acts[what](item));
      this.#parts.list.append(row.element);
      item.row?.element.remove();
      item.row = row;
    }
    item.row.draw();
  }

  /** Shows the progress of several files together. */
  #drawTotal() {
    const { total } = this.#parts;
    const { messages, locale } = this.#texts;
    const active = this.#with(...ACTIVE);
    const all = [...this.#done, ...active];
    const [size, sent] = ["size", "sent"].map((name) => all.reduce((sum, item) => sum + item[name], 0));
    const title = messages.total(this.#done.length, all.length);
    total.hidden = active.length === 0 || all.length < 2;
    total.replaceChildren(
      h("strong", {}, title),
      h("span", { part: "status" }, messages.sent(bytes(sent, locale), bytes(size, locale))),
      h("progress", { part: "progress", value: sent / size || 0, "aria-label": messages.named(messages.progress, title) }),
    );
  }

  /** Starts waiting files, as many as may be sent at once; reports the end of all. */
  #next() {
    let free = Number(this.#attribute("parallel") ?? DEFAULT_PARALLEL) - this.#with("uploading").length;
    for (const item of this.#with("waiting")) if (free-- > 0) void this.#run(item);
    this.#drawTotal();
    const [done, failed] = [this.#done, this.#failed];
    if (this.#with(...ACTIVE).length > 0 || done.length + failed.length === 0) return;
    this.#done = [];
    this.#failed = [];
    this.#emit("complete", { videos: done.map(({ video }) => video), failed: failed.map(({ file }) => file) });
  }

  async #run(item) {
    const { file } = item;
    const options = this.#options;
    item.state = "uploading";
    const upload = (item.upload = this.client.upload(file, {
      type: typeOf(file, this.#limits?.types ?? []),
      visibility: this.#attribute("visibility"),
      externalId: this.#attribute("external-id"),
      ...options,
      onProgress: (progress) => {
        options.onProgress?.(progress);
        // It may be an unfinished upload, whatever the name of its file is.
        for (const one of this.#with("unfinished")) if (one.record.uploadId === upload.multipart?.uploadId) this.#acts.remove(one);
        item.sent = progress.sent;
        item.row.progress();
        this.#drawTotal();
        this.#emit("upload-progress", { file, ...progress });
      },
      onState: (state) => {
        options.onState?.(state);
        item.isOffline = state === "offline";
        item.row.progress();
      },
    }));
    this.#draw(item);
    this.#emit("upload-start", { file, upload });
    try {
      item.video = await upload;
      Object.assign(item, { state: "done", sent: item.size });
      this.#done.push(item);
      this.#draw(item);
      this.#say(item, this.#messages.done);
      this.#emit("upload-success", { file, video: item.video });
    } catch (error) {
      // A canceled file is no longer in the list.
      if (!this.#items.has(item)) return;
      this.#failed.push(item);
      this.#fail(item, "error", error);
    }
    this.#next();
  }

  #fail(item, state, error) {
    Object.assign(item, { state, error, problem: this.#messages.failed(error) });
    this.#draw(item);
    this.#say(item, item.problem);
    this.#emit("upload-error", { file: item.file, error });
  }
}

define("glimpse-uploader", GlimpseUploader);
