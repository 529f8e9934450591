// File names: the API returns them unchanged, with any characters.

import { expectEqual } from "../page-helpers.mjs";

/** Names with characters that are special in some layer. */
const NAMES = [
  "Ski trip.mp4",
  "a+b%2Bc.mp4",
  "100% %41 %zz.mp4",
  "part #1.mp4",
  "what?a=1&b=2;c.mp4",
  `"double" 'single' \`back\`.mp4`,
  "<b>bold</b> & {curly} [square].mp4",
  "back\\slash|pipe^hat~tilde*star:colon,comma$dollar@at!.mp4",
  "${filename}.mp4",
  "🎿 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿.mp4",
  "Ångström café.mp4".normalize("NFC"),
  "Ångström café.mp4".normalize("NFD"),
  "שלום عليكم.mp4",
  "\u202e4pm.evil\u202c.mp4",
  "../../../etc/passwd.mp4",
  "/absolute//double/.mp4",
  "日本語の動画.mp4",
  "=?UTF-8?B?w6k=?=.mp4",
  "null",
  `${"a".repeat(251)}.mp4`,
  `${"é".repeat(125)}x.mp4`,
];

/** What every file here is. Uppy does not guess a type if one is given. */
const KIND = { type: "video/mp4", bytes: 1000 };

const shown = (way) => async (stage) => {
  await stage.open({ plugin: { shouldUseMultipart: way === "multipart" } });
  for (const [index, name] of NAMES.entries()) await stage.app.add({ name, ...KIND, bytes: KIND.bytes + index });
  await stage.app.upload();
  const done = await stage.uploaded();
  expectEqual(done.length, NAMES.length, "files");
  await Promise.all(done.map((file) => stage.expectStored(file, { bytes: KIND.bytes + NAMES.indexOf(file.name) })));
};

export const names = [
  ["names with any characters are returned unchanged for single uploads", shown("single")],
  ["names with any characters are returned unchanged for multipart uploads", shown("multipart")],
];
