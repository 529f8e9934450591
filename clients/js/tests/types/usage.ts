// Uses the package's types: what must compile, and what must not.

import { Glimpse, GlimpseError, Upload, animatedUrl, localStore, memoryStore, storyboardUrl, thumbnailUrl, type UploadOptions, type Video } from "@glimpse-video/client";
import { deliveryToken, signUrl, uploadToken, verifyWebhook } from "@glimpse-video/client/server";

export async function client(file: File): Promise<void> {
  const glimpse = new Glimpse({ url: "https://video.example.com", token: async () => "eyJ" });
  const options: UploadOptions = { store: memoryStore(), onProgress: ({ sent, total }) => console.log(sent / total), metadata: { title: "A" } };
  const upload: Upload = glimpse.upload(file, { ...options, store: localStore, signal: AbortSignal.timeout(5) });
  const video: Video = await upload;
  const state: "uploading" | "processing" | "ready" | "rejected" | "failed" = video.state;
  const width: number | null = video.width;
  const { videos, cursor } = await glimpse.videos.list({ limit: 3 });
  const poster: string | undefined = videos[0]?.urls["thumbnail.jpg"];
  for await (const one of glimpse.videos.all()) console.log(one.id, state, width, cursor, poster);
  const { limits } = await glimpse.me();
  const most: number = limits.max_upload_bytes;
  const { tokens } = await glimpse.videos.tokens(video.id, { types: ["thumbnail"], parameters: { time: 1 }, expires_in: most });
  const link: string | undefined = tokens[0]?.urls["thumbnail.jpg"]?.short;
  const error = new GlimpseError(404, "not_found", "No.");
  const after: number | undefined = error.retryAfter;
  console.log(link, after, thumbnailUrl(glimpse, video, { time: 1, fit_mode: "crop" }), animatedUrl("https://v.example", "id"), storyboardUrl(glimpse, video, { sheet: "webp" }));

  // @ts-expect-error: the URL is required
  new Glimpse({ token: "eyJ" });
  // @ts-expect-error: no such member
  video.title;
  // @ts-expect-error: no such type of file
  await glimpse.videos.tokens(video.id, { types: ["poster"] });
  // @ts-expect-error: no such parameter
  thumbnailUrl(glimpse, video, { zoom: 2 });
  // @ts-expect-error: no such format
  animatedUrl(glimpse, video, { format: "avif" });
  // @ts-expect-error: a path is no file
  glimpse.upload("clip.mp4");
}

export async function server(request: Request): Promise<string> {
  const key = { kid: "2026", secret: "s" };
  const { type, data } = await verifyWebhook(await request.text(), request.headers, ["whsec_a", "whsec_b"]);
  const { url } = await uploadToken({ ...key, url: "https://v.example", issuer: "i", subject: "s", maxBytes: 5 });
  // @ts-expect-error: no such event
  if (type === "video.created") return "";
  // @ts-expect-error: the key's id is required
  await signUrl("https://v.example/a/thumbnail.jpg", { secret: "s" });
  return [data.id, url, await signUrl("https://v.example/a/thumbnail.jpg", key), await deliveryToken(data.id, { ...key, type: "clip", parameters: { start: 1 } })].join();
}
