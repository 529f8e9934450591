// The <glimpse-uploader> element: a drop zone and a file chooser, and a list of files with their progress, which can be
// paused, resumed, canceled and retried.
//
//   <glimpse-uploader url="https://video.example.com/u/eyJ…" multiple></glimpse-uploader>

import { Glimpse } from "../glimpse.js";
import { defaultStore, fingerprint, lockedUploads } from "../resume.js";
import { Base, define, sharedSheet } from "./base.js";
import { h, icon } from "./dom.js";
import { acceptAttribute, acceptedTypes, describeLimits, typeOf, validateFile } from "./files.js";
import { bytes } from "./format.js";
import { MESSAGES } from "./messages.js";
import { createSpeedMeter } from "./speed.js";
import { createRow } from "./uploader-row.js";
import { STYLE } from "./uploader-style.js";

/** The number of files that are sent at once by default. Each of them is sent in up to three parts at once. */
const DEFAULT_PARALLEL = 2;
/** Properties that a framework may set before the element is defined. */
const PROPERTIES = ["client", "options", "messages"];
/** States of files that are being sent, or will be. */
const ACTIVE = ["waiting", "uploading", "paused"];
/** Statuses that a retry does not change: the file is too large, or its type is not allowed. */
const PERMANENT = [413, 415, 422];
const style = sharedSheet(STYLE);

const sum = (items, valueOf) => items.reduce((all, item) => all + valueOf(item), 0);
/** Only drags with files are handled: text and links can be dragged as usual. */
const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");

/** The files of a drop, and whether there were folders among them. */
function filesOf(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
  return { files: items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean), folders: items.some(isFolder) };
}

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
  #speed;
  /** The outcomes since the last `complete`. */
  #done = [];
  #failed = [];
  /** The elements of the shadow tree by name. */
  #parts = {};

  /** The client of the uploads; by default one for `url` and `token`. @returns {Glimpse} */
  get client() {
    return this.#client ?? (this.#ownClient ??= new Glimpse({ url: this.getAttribute("url") || location.origin, token: this.getAttribute("token") || undefined }));
  }
  set client(client) {
    this.#client = client ?? undefined;
    this.#reload();
  }

  /** Options of every upload, see `UploadOptions`; they have precedence over attributes. */
  get options() {
    return this.#options;
  }
  set options(options) {
    this.#options = options ?? {};
  }

  /** Texts that replace the English ones. */
  get messages() {
    return this.#messages;
  }
  set messages(messages) {
    this.#messages = { ...MESSAGES, ...messages };
    this.#build();
  }

  /** The files in the list. */
  get files() {
    return [...this.#items].map(({ file, name, size, sent, state, video, error }) => ({ file, name, size, sent, state, video, error }));
  }

  connectedCallback() {
    for (const name of PROPERTIES) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    this.#root.adoptedStyleSheets = [style()];
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    addEventListener("beforeunload", (event) => this.#with("waiting", "uploading").length > 0 && event.preventDefault(), { signal });
    this.#build();
    this.#reload();
  }

  disconnectedCallback() {
    const { signal } = this.#abort;
    this.#abort.abort();
    // A framework may only have moved the element. Otherwise nothing is sent unseen; what is stored can be resumed.
    queueMicrotask(() => signal === this.#abort.signal && this.pause());
  }

  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected || !this.#abort) return;
    if (name === "url" || name === "token") {
      this.#ownClient = undefined;
      this.#reload();
    } else {
      this.#build();
    }
  }

  /** Opens the file chooser. Browsers allow it only in the handler of a user's action. */
  browse() {
    if (!this.hasAttribute("disabled")) this.#parts.input.click();
  }

  /** Adds files, as if they were dropped. @param {Iterable<File>} files */
  async add(files) {
    const limits = await this.#loading;
    if (!limits || this.hasAttribute("disabled")) return;
    const texts = this.#texts;
    if (this.#most === 1) for (const item of this.#with("done", "error", "refused")) this.#remove(item);
    for (const file of files) {
      const unfinished = await this.#unfinishedOf(file);
      if (unfinished) {
        this.#restart(unfinished, file);
        continue;
      }
      const isFull = this.#with(...ACTIVE, "done").length >= this.#most;
      const problem =
        validateFile(file, this.#allowed(limits), texts) ??
        (isFull ? { code: "too_many_files", title: this.#messages.manyTitle, message: this.#messages.many(this.#most) } : undefined);
      const item = { file, name: file.name, size: file.size, sent: 0, speed: 0, state: problem ? "refused" : "waiting", problem };
      this.#insert(item);
      if (!problem) continue;
      item.error = Object.assign(new Error(problem.message), { code: problem.code });
      this.#say(this.#messages.saidRefused(item.name, problem.message));
      this.#emit("upload-error", { file, error: item.error });
    }
    this.#next();
  }

  /** Pauses all files that are being sent. */
  pause() {
    for (const item of this.#with("uploading")) this.#pause(item);
  }

  /** Resumes all paused files. */
  resume() {
    for (const item of this.#with("paused")) this.#resume(item);
  }

  /** Cancels all files that are not uploaded yet. */
  cancel() {
    for (const item of this.#with(...ACTIVE)) this.#cancel(item);
  }

  /** Removes the files from the list that are uploaded, failed or refused. */
  clear() {
    for (const item of this.#with("done", "error", "refused")) this.#remove(item);
  }

  get #locale() {
    return this.lang || undefined;
  }

  get #texts() {
    return { messages: this.#messages, locale: this.#locale, many: this.#most > 1 };
  }

  /** The number of files that may be in the list. */
  get #most() {
    return this.hasAttribute("multiple") ? Number(this.getAttribute("max-files")) || Infinity : 1;
  }

  #with = (...states) => [...this.#items].filter(({ state }) => states.includes(state));
  /** The limits, with the types that `accept` allows. */
  #allowed = (limits) => ({ ...limits, types: acceptedTypes(limits.types, this.getAttribute("accept")) });

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }

  /** Announces a sentence to screen readers. The same sentence twice is announced twice. */
  #say(sentence) {
    const { live } = this.#parts;
    live.textContent = live.textContent === sentence ? `${sentence}\u00a0` : sentence;
  }

  /** Asks for the limits. */
  #reload() {
    if (!this.#abort || this.#abort.signal.aborted) return;
    this.#limits = undefined;
    for (const item of this.#with("unfinished")) this.#remove(item);
    const loading = (this.#loading = (async () => {
      // A framework sets several attributes one after another.
      await undefined;
      if (this.#loading !== loading) return this.#loading;
      let error;
      const limits = await this.client.me().then(
        (me) => me.limits,
        (failure) => void (error = failure),
      );
      if (this.#loading !== loading) return this.#loading;
      this.#limits = limits;
      this.#notice(error && this.#messages.failed(error), () => this.#reload());
      this.#drawZone();
      if (limits) void this.#offerUnfinished(loading);
      return limits;
    })());
  }

  /** Lists the uploads that were interrupted by a reload or a crash, if the server still has their parts. */
  async #offerUnfinished(loading) {
    const { client, options } = this;
    const store = options.store === undefined ? defaultStore() : options.store;
    if (!store || options.resume === false) return;
    const isLocked = await lockedUploads();
    for (const record of await store.list()) {
      if ((record.url ?? client.origin) !== client.origin || isLocked(record.uploadId)) continue;
      // An upload of another user, or one that is gone, is not offered.
      const parts = await client.uploads.parts(record).catch(() => undefined);
      if (this.#loading !== loading) return;
      if (!parts) continue;
      const { name, size } = record;
      this.#insert({ name: name ?? "", size, sent: sum(parts, ({ Size }) => Size), speed: 0, state: "unfinished", record });
    }
  }

  /** The unfinished upload of this file, if there is one. */
  async #unfinishedOf(file) {
    const items = this.#with("unfinished").filter(({ size }) => size === file.size);
    const print = items.length > 0 ? await fingerprint(file).catch(() => "") : "";
    return items.find(({ record }) => record.fingerprint === print);
  }

  /** Sends the missing parts of an unfinished upload. */
  #restart(item, file) {
    Object.assign(item, { file, name: item.name || file.name, state: "waiting", problem: undefined });
    this.#draw(item, true);
  }

  /** Lets the user choose the file of an unfinished upload. */
  #chooseAgain(item) {
    const { again } = this.#parts;
    again.value = "";
    again.onchange = async () => {
      const [file] = again.files;
      if ((await this.#unfinishedOf(file)) === item) {
        this.#restart(item, file);
        this.#next();
        return;
      }
      const message = this.#messages.otherFile(file.name);
      item.problem = { title: this.#messages.otherTitle, message };
      this.#draw(item);
      this.#say(message);
    };
    again.click();
  }

  #discard(item) {
    const { client, options } = this;
    const { record } = item;
    this.#remove(item);
    void client.uploads.abort(record).then(
      () => (options.store ?? defaultStore()).remove(record.uploadId),
      (error) => this.#notice(this.#messages.failed(error)),
    );
  }

  /** Builds the shadow tree. */
  #build() {
    if (!this.#abort) return;
    const messages = this.#messages;
    const many = this.#most > 1;
    const open = () => this.#parts.input.click();
    const input = h("input", { type: "file", hidden: true, multiple: many, onchange: () => (this.#take([...input.files]), (input.value = "")) });
    const choose = h("button", { type: "button", class: "choose", part: "choose", "aria-describedby": "limits" }, messages.choose(many));
    const limits = h("p", { class: "small", part: "limits", id: "limits" });
    const drop = h("div", { class: "drop", part: "dropzone", onclick: (event) => event.target !== input && !choose.disabled && open() },
      icon("upload"), h("div", {}, h("p", { part: "title" }, h("span", { class: "mouse" }, `${messages.drop(many)} `), choose), limits), input);
    const notice = h("div", { class: "notice", part: "notice", role: "alert", hidden: true });
    const title = h("strong");
    const numbers = h("span", { class: "small" });
    const bar = h("progress", { part: "progress", max: "1", value: "0", "aria-label": messages.totalLabel });
    const total = h("div", { class: "total", part: "total", hidden: true }, title, numbers, bar);
    const again = h("input", { type: "file", hidden: true });
    const list = h("ul", { class: "list", part: "list", role: "list", "aria-label": messages.list });
    const live = h("p", { class: "hidden", role: "status" });
    const group = h("div", { part: "container", role: "group", "aria-label": messages.label }, drop, notice, total, list, again, live);
    this.#parts = { input, again, choose, limits, drop, notice, title, numbers, bar, total, list, live, group };
    this.#listen(group);
    this.#root.replaceChildren(group);
    for (const item of this.#items) this.#draw(item, true);
    this.#drawZone();
    this.#drawTotal();
  }

  #listen(group) {
    let depth = 0;
    const over = (on) => group.classList.toggle("over", on && !this.#parts.choose.disabled);
    const on = (type, act) => group.addEventListener(type, (event) => hasFiles(event) && act(event));
    on("dragenter", (event) => (event.preventDefault(), over((depth += 1) > 0)));
    on("dragleave", () => over((depth -= 1) > 0));
    on("dragover", (event) => {
      event.preventDefault();
      event.dataTransfer.dropEffect = this.#parts.choose.disabled ? "none" : "copy";
    });
    on("drop", (event) => {
      event.preventDefault();
      depth = 0;
      over(false);
      const { files, folders } = filesOf(event.dataTransfer);
      this.#notice(folders && this.#messages.folder);
      this.#take(files);
    });
  }

  /** Files that a user dropped or chose. */
  #take(files) {
    if (files.length > 0) void this.add(files);
  }

  #notice(text, retry) {
    const { notice } = this.#parts;
    notice.hidden = !text;
    notice.replaceChildren(...(text ? [text] : []), ...(text && retry ? [h("button", { type: "button", class: "text", part: "button reload", onclick: retry }, this.#messages.reload)] : []));
  }

  #drawZone() {
    const { choose, drop, limits, input, again } = this.#parts;
    const known = this.#limits && this.#allowed(this.#limits);
    const isOff = !known || this.hasAttribute("disabled");
    choose.disabled = isOff;
    drop.classList.toggle("off", this.hasAttribute("disabled"));
    limits.textContent = known ? describeLimits(known, this.#texts) : "\u00a0";
    if (known) input.accept = again.accept = acceptAttribute(known.types);
  }

  #insert(item) {
    this.#items.add(item);
    this.#draw(item);
  }

  #draw(item, again = false) {
    if (again) item.row.remove();
    if (again || !item.row) {
      item.row = createRow(item, { messages: this.#messages, locale: this.#locale, act: (what) => this.#act(item, what) });
      this.#parts.list.append(item.row.element);
    }
    item.row.draw();
  }

  #drawTotal() {
    const { title, numbers, bar, total } = this.#parts;
    const active = this.#with(...ACTIVE);
    const all = [...this.#done, ...active];
    total.hidden = active.length === 0 || all.length < 2;
    if (active.length === 0) this.#speed = createSpeedMeter();
    if (total.hidden) return;
    const size = sum(all, (item) => item.size);
    const sent = sum(all, (item) => Math.min(item.sent, item.size));
    const speed = this.#speed(sent, performance.now());
    const texts = [this.#messages.sent(bytes(sent, this.#locale), bytes(size, this.#locale))];
    if (speed > 0) texts.push(this.#messages.left((size - sent) / speed));
    title.textContent = this.#messages.total(this.#done.length, all.length);
    numbers.textContent = texts.join(" · ");
    bar.value = sent / size;
  }

  #act(item, what) {
    if (what === "pause") this.#pause(item);
    else if (what === "resume") this.#resume(item);
    else if (what === "cancel") this.#cancel(item);
    else if (what === "remove") this.#remove(item);
    else if (what === "chooseFile") this.#chooseAgain(item);
    else if (what === "discard") this.#discard(item);
    else if (what === "retry") {
      Object.assign(item, { state: "waiting", problem: undefined, error: undefined });
      this.#draw(item);
      this.#next();
    }
  }

  /** Starts waiting files, as many as may be sent at once; reports the end of all. */
  #next() {
    let free = (Number(this.getAttribute("parallel")) || DEFAULT_PARALLEL) - this.#with("uploading").length;
    for (const item of this.#with("waiting")) if (free-- > 0) void this.#run(item);
    this.#drawTotal();
    if (this.#with(...ACTIVE).length > 0 || this.#done.length + this.#failed.length === 0) return;
    const [done, failed] = [this.#done, this.#failed];
    this.#done = [];
    this.#failed = [];
    if (done.length > 1) this.#say(this.#messages.saidAll(done.length));
    this.#emit("complete", { videos: done.map(({ video }) => video), failed: failed.map(({ file }) => file) });
  }

  async #run(item) {
    const { file } = item;
    const speed = createSpeedMeter();
    const attribute = (name) => this.getAttribute(name) || undefined;
    item.state = "uploading";
    const upload = (item.upload = this.client.upload(file, {
      type: typeOf(file, this.#limits.types),
      visibility: attribute("visibility"),
      externalId: attribute("external-id"),
      ...this.#options,
      onProgress: (progress) => {
        this.#options.onProgress?.(progress);
        item.sent = progress.sent;
        item.speed = speed(progress.sent, performance.now());
        item.row.progress();
        this.#drawTotal();
        this.#emit("upload-progress", { file, ...progress });
      },
      onState: (state) => {
        this.#options.onState?.(state);
        item.offline = state === "offline";
        item.row.progress();
      },
    }));
    this.#draw(item);
    this.#say(this.#messages.saidStarted(item.name));
    this.#emit("upload-start", { file, upload });
    try {
      item.video = await upload.finished;
      Object.assign(item, { state: "done", sent: item.size });
      this.#done.push(item);
      this.#say(this.#messages.saidDone(item.name));
    } catch (error) {
      // A canceled file is no longer in the list.
      if (!this.#items.has(item)) return;
      const message = this.#messages.failed(error);
      Object.assign(item, { state: "error", error, canRetry: !PERMANENT.includes(error.status), problem: { title: this.#messages.failedTitle, message } });
      this.#failed.push(item);
      this.#say(this.#messages.saidFailed(item.name, message));
    }
    this.#draw(item);
    if (item.error) this.#emit("upload-error", { file, error: item.error });
    else this.#emit("upload-success", { file, video: item.video });
    this.#next();
  }

  #pause(item) {
    item.state = "paused";
    item.upload.pause();
    this.#draw(item);
    this.#say(this.#messages.saidPaused(item.name));
    this.#next();
  }

  #resume(item) {
    item.state = "uploading";
    item.upload.resume();
    this.#draw(item);
    this.#say(this.#messages.saidResumed(item.name));
    this.#drawTotal();
  }

  #cancel(item) {
    this.#remove(item);
    // Parts that cannot be deleted now are deleted by the bucket's lifecycle rule.
    item.upload?.abort().catch(() => {});
    this.#say(this.#messages.saidCanceled(item.name));
    this.#emit("upload-cancel", { file: item.file });
    this.#next();
  }

  /** Removes a row; the focus moves to the next one, or to the file chooser. */
  #remove(item) {
    const { element } = item.row;
    const focused = element.contains(this.#root.activeElement);
    const neighbor = element.nextElementSibling ?? element.previousElementSibling;
    this.#items.delete(item);
    item.row.remove();
    if (focused) (neighbor?.querySelector("button") ?? this.#parts.choose).focus({ preventScroll: true });
  }
}

define("glimpse-uploader", GlimpseUploader);
