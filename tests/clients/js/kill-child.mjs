// The process that `kill.mjs` kills: uploads a file, and prints the number of sent bytes.

import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";

import { Glimpse } from "@glimpse-video/client";

const story = JSON.parse(process.env.GLIMPSE_STORY);
const docs = await readFile(new URL("../../../docs/clients.md", import.meta.url), "utf8");
const snippet = /```js file-store\n([^]*?)```/.exec(docs)[1];
const { fileStore } = await import(`data:text/javascript,${encodeURIComponent(snippet)}`);

const glimpse = new Glimpse({ url: story.edge, token: story.bearer });
const video = await glimpse.upload(await openAsBlob(story.large), {
  name: "large clip.mp4",
  parallel: 2,
  store: fileStore(story.store),
  onProgress: ({ sent }) => console.log(`${sent}`),
});
console.log(`done ${video.state}`);
