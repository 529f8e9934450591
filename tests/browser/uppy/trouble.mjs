// Shows what each generation does when something goes wrong on the way, and that the upload gets there all the same.

import { expectEqual } from "../verbs.mjs";
import { slowDown } from "./story.mjs";

const MIB = 1024 * 1024;
/** Three parts, so that one can go wrong beside others. */
const FILE = { type: "video/mp4", bytes: 12 * MIB };

export const trouble = [
  ["a part that S3 answers with 503 is sent again by itself", async (stage) => {
    const file = { name: "slowed down.mp4", ...FILE };
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/^503 /, /net::ERR_/, /^\[Uppy\]/] });
    await slowDown("PUT", 1);
    await stage.app.add(file);
    await stage.app.upload();
    const [done] = await stage.uploaded();
    await stage.expectStored(done, file);
    expectEqual(stage.wire.partsSince(0).join(), "1,1,2,3", "parts that were sent");
    expectEqual(stage.wire.count("part", 200), 3, "parts that S3 took");
  }],

  ["a part whose address has expired gets another one", async (stage, generation) => {
    const file = { name: "expired.mp4", ...FILE };
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/^403 /, /^\[Uppy\]/] });
    await stage.spoilNextSignature((url) => stage.bucket.expired(url));
    await stage.app.add(file);
    await stage.app.upload();
    if (generation === "v6") {
      // v6 takes no answer below 500 for a reason to try again by itself: a person presses the button.
      const { failed } = await stage.outcome(1);
      expectEqual(failed.length, 1, "files that failed");
      await stage.app.retry();
    }
    const [done] = await stage.uploaded(generation === "v6" ? 2 : 1);
    await stage.expectStored(done, file);
    expectEqual(stage.wire.count("part", 403), 1, "answers of S3 that the address has expired");
    expectEqual(stage.wire.count("part", 200), 3, "parts that S3 took");
  }],
];

/** For the generation that resumes what has failed: v4 and v5 cancel it and begin again, as docs/uploads.md says. */
export const lost = [
  ["a lost answer to complete is recovered, and no part is sent again", async (stage) => {
    const file = { name: "lost answer.mp4", ...FILE };
    const before = await stage.bucket.keys();
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 1 }, excused: [/net::ERR_/, /^\[Uppy\]/] });
    await stage.loseNextAnswer(/\/complete\?/);
    await stage.app.add(file);
    await stage.app.upload();
    const { failed } = await stage.outcome(1);
    if (failed.length > 0) await stage.app.retry();
    const [done] = await stage.uploaded(failed.length > 0 ? 2 : 1);
    await stage.expectStored(done, file);
    expectEqual(stage.wire.partsSince(0).join(), "1,2,3", "parts that were sent");
    const uploads = (await stage.bucket.keys()).filter((key) => !before.includes(key));
    expectEqual(uploads.length, 1, "objects");
  }],
];
