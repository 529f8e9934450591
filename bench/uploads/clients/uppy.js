// Uppy with AwsS3 and Golden Retriever, with their defaults; `isInParts` sends every file in parts.

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";
import GoldenRetriever from "@uppy/golden-retriever";

import { app } from "./page.js";

/** How long Golden Retriever may take to restore an upload, in milliseconds. If there is none, it sends no event. */
const RESTORED_MS = 3000;

app(async ({ tokenUrl, isInParts, isAgain }, { done, failed }) => {
  const uppy = new Uppy({ autoProceed: false });
  uppy.use(AwsS3, { companionEndpoint: tokenUrl, ...(isInParts && { shouldUseMultipart: true }) });
  uppy.on("upload-success", (_file, { uploadURL }) => done(uploadURL));
  uppy.on("upload-error", (_file, error) => failed(error));
  const restored = new Promise((resolve) => {
    uppy.once("restored", resolve);
    setTimeout(resolve, RESTORED_MS);
  });
  uppy.use(GoldenRetriever);
  if (isAgain) await restored;
  return {
    begin(data) {
      const [known] = uppy.getFiles();
      // A small file is restored with its bytes.
      if (!known || known.isGhost) uppy.addFile({ name: data.name, type: data.type, data });
      if (known) uppy.emit("restore-confirmed");
      else void uppy.upload().catch(failed);
    },
    retry: () => void uppy.retryAll().catch(failed),
  };
});
