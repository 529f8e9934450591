// Our client, with its defaults.

import { Glimpse } from "@glimpse-video/client";

import { app } from "./page.js";

app(({ edge, bearer }, { done, failed }) => {
  const glimpse = new Glimpse({ url: edge, token: bearer });
  const begin = (file) => void glimpse.upload(file).then(({ id }) => done(`${edge}/${id}`), failed);
  return { begin, retry: begin };
});
