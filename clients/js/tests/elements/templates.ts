// The types of the elements in templates of Vue and Svelte, and in scripts.

import type { SvelteHTMLElements } from "svelte/elements";
import type { GlobalComponents } from "vue";

import "@glimpse-video/client/elements";
import "@glimpse-video/client/jsx";

const svelte: SvelteHTMLElements["glimpse-uploader"] = { url: "https://video.example.com", "onupload-success": ({ detail }) => console.log(detail.video.id) };
// @ts-expect-error: a URL is a text.
svelte.url = 3;

declare const vue: InstanceType<GlobalComponents["glimpse-uploader"]>;
vue.$props.url = "https://video.example.com";
// @ts-expect-error: a URL is a text.
vue.$props.url = 3;

const uploader = document.createElement("glimpse-uploader");
uploader.addEventListener("upload-progress", ({ detail: { sent, total } }) => console.log(sent / total));
uploader.messages = { pause: "Halt" };
const sent: number = uploader.files[0].sent;
document.querySelector("glimpse-thumb")?.setAttribute("alt", String(sent));
