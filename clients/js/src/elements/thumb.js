// The <glimpse-thumb> element: a video's blurred placeholder, then its poster, then its preview on hover, focus or
// touch. It has no dependencies, and works on any site.
//
//   <script type="module" src="https://video.example.com/glimpse-thumb.js"></script>
//   <glimpse-thumb src="https://video.example.com/7zzzzzzzzz0123456789abcdef" alt="Ski trip"></glimpse-thumb>

import { Base, define, sharedSheet } from "./base.js";
import { decode } from "./thumbhash.js";

/** The number of polls for a video that is being processed, and the delay after each in milliseconds. */
const MAX_ATTEMPTS = 30;
const RETRY_DELAY_MS = 2000;

const canAutoplay = () => !matchMedia("(prefers-reduced-motion: reduce)").matches && navigator.connection?.saveData !== true;

const style = sharedSheet(`
:host { display: block; position: relative; overflow: hidden; aspect-ratio: 16 / 9; background: #16141f; cursor: pointer; }
:host([hidden]) { display: none; }
canvas, img, video { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; }
canvas { transform: scale(1.1); filter: blur(8px); }
img, video { opacity: 0; transition: opacity .25s; }
.shown { opacity: 1; }
:host(:focus-visible) { outline: 3px solid Highlight; outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) { img, video { transition: none; } }
@media (forced-colors: active) { :host { border: 1px solid CanvasText; } }
`);

let observer;
/** Observes which elements are about to become visible. */
const near = () =>
  (observer ??= new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => isIntersecting && target.begin()), {
    rootMargin: "200px",
  }));

/**
 * Attributes: `src` the video's page, `alt` its description; `thumbhash`, `poster` and `motion` (an image or an MP4) save
 * the request for `meta.json`, and allow those of a private video with their tokens. `state` is the displayed content: `blank`,
 * `blur`, `poster`, `loading`, `moving`, or `missing`.
 */
export class GlimpseThumb extends Base {
  static observedAttributes = ["src", "alt", "thumbhash", "poster", "motion"];

  #root = this.attachShadow({ mode: "open" });
  /** Its own style sheet for the video's aspect ratio, which the page's styles override. */
  #shape = new CSSStyleSheet();
  /** The enclosing link or button, or the element itself: the target of hover and focus. */
  #target;
  #abort;
  /** Aborted when another video is set. */
  #turn = new AbortController();
  #facts;
  /** The cause of the motion: "hover", "focus", "touch" or "press"; undefined at rest. */
  #cause;
  #motion;

  connectedCallback() {
    this.#root.adoptedStyleSheets = [style(), this.#shape];
    this.#abort = new AbortController();
    this.#target = this.closest("a[href], button") ?? this;
    this.setAttribute("role", this.#target === this ? "button" : "img");
    if (this.#target === this) this.tabIndex = 0;
    this.#draw();
    this.#listen();
  }

  disconnectedCallback() {
    near().unobserve(this);
    this.#abort.abort();
    this.#turn.abort();
    this.#stop();
  }

  attributeChangedCallback(name, before, now) {
    if (!this.isConnected || before === now || !this.#abort) return;
    if (name === "alt") this.#name();
    else this.#draw();
  }

  /** The element is about to become visible. */
  async begin() {
    near().unobserve(this);
    const { signal } = this.#turn;
    const src = this.getAttribute("src")?.replace(/[?#].*/, "");
    const named = { poster: this.getAttribute("poster"), motion: this.getAttribute("motion") };
    try {
      const meta = named.poster ? {} : await this.#ask(`${src}/meta.json`, signal);
      if (signal.aborted) return;
      this.#facts = {
        poster: named.poster ?? meta.urls["thumbnail.webp"] ?? meta.urls["thumbnail.jpg"],
        motions: [named.motion, ...["mp4", "webp", "gif"].map((format) => meta.urls?.[`animated.${format}`])].filter(Boolean),
      };
      if (meta.width && !this.hasAttribute("thumbhash")) this.#blur(meta.thumbhash);
      if (meta.width) this.#shape.replaceSync(`:host { aspect-ratio: ${Number(meta.width)} / ${Number(meta.height)}; }`);
      if (meta.title && !this.hasAttribute("alt")) this.#name(meta.title);
      const poster = await this.#picture(this.#facts.poster);
      if (signal.aborted) return;
      this.#root.append(poster);
      poster.className = "shown";
      this.setAttribute("state", "poster");
      if (this.#cause) this.#move(this.#cause);
    } catch {
      if (!signal.aborted) this.setAttribute("state", "missing");
    }
  }

  #draw() {
    this.#turn.abort();
    this.#turn = new AbortController();
    this.#stop();
    this.#facts = undefined;
    this.#root.replaceChildren();
    this.setAttribute("state", "blank");
    this.#name();
    this.#blur(this.getAttribute("thumbhash"));
    near().unobserve(this);
    near().observe(this);
  }

  #name(text = this.getAttribute("alt")) {
    this.setAttribute("aria-label", text || "Video");
  }

  #blur(thumbhash) {
    const pixels = thumbhash ? decode(thumbhash) : undefined;
    if (!pixels) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: pixels.width, height: pixels.height });
    canvas.getContext("2d").putImageData(new ImageData(pixels.data, pixels.width, pixels.height), 0, 0);
    this.#root.prepend(canvas);
    this.setAttribute("state", "blur");
  }

  async #ask(url, signal) {
    for (let tries = 0; tries < MAX_ATTEMPTS; tries += 1) {
      const response = await fetch(url, { signal });
      if (response.status === 200) return response.json();
      if (response.status !== 202) throw new Error(String(response.status));
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
      signal.throwIfAborted();
    }
    throw new Error("not ready");
  }

  async #picture(url) {
    const image = Object.assign(new Image(), { src: url, alt: "" });
    await image.decode();
    return image;
  }

  #listen() {
    const on = (type, act) => this.#target.addEventListener(type, act, { signal: this.#abort.signal });
    const alone = (cause) => canAutoplay() && this.#move(cause);
    on("pointerenter", ({ pointerType }) => pointerType === "mouse" && alone("hover"));
    on("pointerleave", () => this.#cause === "hover" && this.#stop());
    on("focus", () => this.#target.matches(":focus-visible") && alone("focus"));
    on("blur", () => this.#stop());
    if (this.#target !== this) {
      // A finger rests on a link; a tap follows.
      on("touchstart", () => alone("touch"));
      for (const end of ["touchend", "touchcancel"]) on(end, () => this.#cause === "touch" && this.#stop());
      return;
    }
    // Outside a link it is a button: a press plays the preview despite all preferences, since the user requested it.
    const toggle = () => (this.#cause === "press" ? this.#stop() : this.#move("press"));
    on("click", toggle);
    on("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle();
    });
  }

  async #move(cause) {
    this.#cause = cause;
    if (this.#target === this) this.setAttribute("aria-pressed", "true");
    const motions = this.#facts?.motions;
    if (this.#motion || this.getAttribute("state") !== "poster" || !motions?.length) return;
    this.setAttribute("state", "loading");
    const film = /\.mp4(\?|$)/.test(motions[0]);
    const motion = (this.#motion = document.createElement(film ? "video" : "img"));
    Object.assign(motion, film ? { muted: true, loop: true, playsInline: true } : { alt: "" }, { src: motions[0] });
    try {
      this.#root.append(motion);
      await (film ? motion.play() : motion.decode());
    } catch {
      if (this.#motion !== motion) return;
      this.#stop();
      if (motions.length < 2) return;
      // This browser does not play this format, or the site does not allow it: the next one, from now on.
      motions.shift();
      this.#move(cause);
      return;
    }
    if (this.#motion !== motion) return;
    motion.className = "shown";
    this.setAttribute("state", "moving");
  }

  #stop() {
    this.#cause = undefined;
    this.#motion?.remove();
    this.#motion = undefined;
    if (this.#target === this) this.setAttribute("aria-pressed", "false");
    if (["loading", "moving"].includes(this.getAttribute("state"))) this.setAttribute("state", "poster");
  }
}

define("glimpse-thumb", GlimpseThumb);
