// Golden Retriever restores an upload after a reload, and nothing is sent twice.

import { eventually, expectEqual } from "../page-helpers.mjs";
import { SIX_PARTS, SLOW, expectNoneAgain } from "./multipart.mjs";

export const reload = [
  ["after a reload Golden Retriever finishes the upload, and nothing is sent twice", async (stage) => {
    const file = { name: "reloaded.mp4", ...SIX_PARTS };
    // Golden Retriever stores files of up to 10 MiB by default.
    const retriever = { indexedDB: { maxFileSize: 2 * SIX_PARTS.bytes } };
    const arrived = await interrupt(stage, file, retriever);
    const [restored] = await stage.app.files();
    expectEqual(Boolean(restored?.isGhost), false, "the file has to be picked again");
    await finish(stage, file, arrived);
  }],

  ["a file too large to be stored is picked again, and nothing is sent twice", async (stage) => {
    const file = { name: "picked again.mp4", ...SIX_PARTS };
    const arrived = await interrupt(stage, file, {});
    await eventually("the file has to be picked again", async () => (await stage.app.files())[0]?.isGhost === true);
    await stage.app.add(file);
    await finish(stage, file, arrived);
  }],
];

/** Uploads until some parts have arrived, and reloads the page. Returns the numbers of the parts that S3 has then. */
async function interrupt(stage, file, retriever) {
  await stage.open({ plugin: { shouldUseMultipart: true, limit: 2 }, retriever });
  const restore = await stage.throttle(SLOW);
  await stage.app.add(file);
  await stage.app.upload();
  await stage.partsArrived(2);
  await eventually("Golden Retriever stores the upload", () => stage.app.remembers("uploadId"));
  if (retriever.indexedDB) {
    await eventually("Golden Retriever stores the file", () => stage.app.remembers(`"blob":${file.bytes}`));
  }
  const [{ multipart }] = await stage.app.files();
  await stage.reload();
  await restore();
  await eventually("no request is active", async () => stage.wire.isQuiet());
  return stage.bucket.parts(multipart);
}

async function finish(stage, file, arrived) {
  const mark = stage.wire.mark();
  await stage.app.confirmRestore();
  const done = await stage.arrived();
  await stage.expectStored(done, file);
  expectNoneAgain(stage.wire.partsSince(mark), arrived);
}
