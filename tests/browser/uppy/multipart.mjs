// Multipart uploads: sent, paused, resumed, canceled; nothing is sent twice.

import { eventually, expectAtLeast, expectEqual } from "../page-helpers.mjs";

const MIB = 1024 * 1024;
/** Six parts: five of 5 MiB and one of a single byte. */
export const SIX_PARTS = { type: "video/mp4", bytes: 25 * MIB + 1 };
/** In bytes per second, so slow that a user could press a button between two parts. */
export const SLOW = 12 * MIB;

export const multipart = [
  ["a file in three parts arrives unchanged, and the app gets its video id", async (stage) => {
    const file = { name: "three parts.mp4", type: "video/mp4", bytes: 12 * MIB + 1 };
    await stage.open({ plugin: { shouldUseMultipart: true } });
    await stage.app.add(file);
    await stage.app.upload();
    const [done] = await stage.uploaded();
    const id = await stage.expectStored(done, file);
    if (stage.way === "bearer") expectEqual(done.body.video?.id, id, "file.response.body.video");
    expectEqual(stage.wire.partsSince(0).join(), "1,2,3", "parts");
    const video = await stage.settled(id);
    expectEqual(video.state, "rejected", "state of a file that is not a video");
  }],

  ["a paused upload sends nothing, and a resumed one sends only the missing parts", async (stage) => {
    const file = { name: "paused.mp4", ...SIX_PARTS };
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 2 } });
    const restore = await stage.throttle(SLOW);
    await stage.app.add(file);
    await stage.app.upload();
    await stage.partsArrived(1);
    await stage.app.pause();
    await eventually("no request is active", async () => stage.wire.isQuiet());
    const [{ multipart }] = await stage.app.files();
    const arrived = await stage.bucket.parts(multipart);
    expectAtLeast(arrived.length, 1, "parts in S3");
    const mark = stage.wire.mark();
    await restore();
    await stage.app.resume();
    const [done] = await stage.uploaded();
    await stage.expectStored(done, file);
    expectNoneAgain(stage.wire.partsSince(mark), arrived);
  }],

  ["a canceled upload leaves nothing behind", async (stage) => {
    const before = await stage.bucket.keys();
    await stage.open({ plugin: { shouldUseMultipart: true, limit: 2 } });
    const restore = await stage.throttle(SLOW);
    await stage.app.add({ name: "cancelled.mp4", ...SIX_PARTS });
    await stage.app.upload();
    await stage.partsArrived(1);
    expectEqual((await stage.bucket.unfinished()).length, 1, "multipart uploads before");
    await stage.app.cancel();
    await eventually("S3 has no unfinished upload", async () => (await stage.bucket.unfinished()).length === 0);
    await eventually("the browser has the response", async () => stage.wire.count("abort", 200) === 1 || stage.wire.count("s3-abort") === 1);
    await restore();
    expectEqual((await stage.bucket.keys()).join(), before.join(), "objects");
  }],
];

/** After an interruption, the parts in S3 are not sent again, and all others are sent once. */
export function expectNoneAgain(sent, arrived) {
  const again = sent.filter((part) => arrived.includes(part));
  expectEqual(again.join(), "", `parts sent again (S3 had ${arrived.join()}, then received ${sent.join()})`);
  expectEqual(new Set(sent).size, sent.length, `parts sent since (${sent.join()}), each once`);
}
