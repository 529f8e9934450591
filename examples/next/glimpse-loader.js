// The loader of every <Image>, named in next.config.mjs.

export { default } from "@glimpse-video/client/next";
