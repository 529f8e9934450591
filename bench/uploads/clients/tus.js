// tus-js-client with its defaults, and resumption as in its documentation.

import { Upload } from "tus-js-client";

import { app } from "./page.js";

app(({ endpoint }, { done, failed }) => {
  const begin = async (file) => {
    const upload = new Upload(file, {
      endpoint,
      metadata: { filename: file.name, filetype: file.type },
      removeFingerprintOnSuccess: true,
      onError: failed,
      onSuccess: () => done(upload.url),
    });
    const [previous] = await upload.findPreviousUploads();
    if (previous) upload.resumeFromPreviousUpload(previous);
    upload.start();
  };
  return { begin, retry: begin };
});
