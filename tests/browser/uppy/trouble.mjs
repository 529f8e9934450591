// Errors during an upload: each Uppy version recovers from them, and the upload succeeds.

import { expectEqual } from "../page-helpers.mjs";
import { slowDown } from "./story.mjs";

const MIB = 1024 * 1024;
/** Three parts, so that one can fail next to others. */
const FILE = { type: "video/mp4", bytes: 12 * MIB };

export const trouble = [
  ["a part that fails with 503 is retried automatically", async (stage) => {
    const file = { name: "slowed down.mp4", ...FILE };
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/^503 /, /net::ERR_/, /^\[Uppy\]/] });
    await slowDown("PUT", 1);
    await stage.app.add(file);
    await stage.app.upload();
    const [done] = await stage.uploaded();
    await stage.expectStored(done, file);
    expectEqual(stage.wire.partsSince(0).join(), "1,1,2,3", "sent parts");
    expectEqual(stage.wire.count("part", 200), 3, "parts that S3 accepted");
  }],

  ["a part whose URL has expired gets another one", async (stage, generation) => {
    const file = { name: "expired.mp4", ...FILE };
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/^403 /, /^\[Uppy\]/] });
    await stage.spoilNextSignature((url) => stage.bucket.expired(url));
    await stage.app.add(file);
    await stage.app.upload();
    if (generation === "v6") {
      // v6 does not retry automatically after statuses below 500: a user presses the button.
      const { failed } = await stage.outcome(1);
      expectEqual(failed.length, 1, "files that failed");
      await stage.app.retry();
    }
    const [done] = await stage.uploaded(generation === "v6" ? 2 : 1);
    await stage.expectStored(done, file);
    expectEqual(stage.wire.count("part", 403), 1, "responses of S3 for an expired URL");
    expectEqual(stage.wire.count("part", 200), 3, "parts that S3 accepted");
  }],
];

/** Uploads a file in parts whose `complete` gets no response. `before` are the keys of the bucket before it. */
async function uploadWithLostResponse(stage) {
  const file = { name: "lost response.mp4", ...FILE };
  const before = await stage.bucket.keys();
  await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/net::ERR_/, /^\[Uppy\]/] });
  await stage.loseNextAnswer(/\/complete\?/);
  await stage.app.add(file);
  await stage.app.upload();
  const { failed } = await stage.outcome(1);
  return { file, before, failed };
}

/** For the version that resumes failed uploads: v4 and v5 cancel and restart them, as docs/uploads.md states. */
export const lost = [
  ["a lost response to complete is recovered, and no part is sent again", async (stage) => {
    const { file, before, failed } = await uploadWithLostResponse(stage);
    if (failed.length > 0) await stage.app.retry();
    const [done] = await stage.uploaded(failed.length > 0 ? 2 : 1);
    await stage.expectStored(done, file);
    expectEqual(stage.wire.partsSince(0).join(), "1,2,3", "sent parts");
    const uploads = (await stage.bucket.keys()).filter((key) => !before.includes(key));
    expectEqual(uploads.length, 1, "objects");
  }],
];

/** For v4 and v5: the check that docs/uploads.md recommends to apps, since a retry sends the file again. */
export const lostForApps = [
  ["after a lost response to complete, the app finds the video, and a retry creates another", async (stage) => {
    const { file, before, failed } = await uploadWithLostResponse(stage);
    expectEqual(failed.length, 1, "files that failed");
    // The app has kept the key: Uppy removes it before `upload-error`.
    const first = await stage.app.key();
    const video = await stage.video(first.split("/").pop());
    expectEqual(video.name, file.name, "name of the existing video");
    await stage.app.retry();
    await stage.uploaded(2);
    const uploads = (await stage.bucket.keys()).filter((key) => !before.includes(key));
    expectEqual(uploads.length, 2, "objects");
    expectEqual(uploads.includes(first), true, "the first upload remains");
  }],
];
