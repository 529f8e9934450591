// The page: the server lists the videos.

import { pageUrl } from "@glimpse-video/client";

import { glimpse } from "../glimpse.js";
import Gallery from "./gallery.jsx";

export const dynamic = "force-dynamic";

export default async function Page() {
  const { videos } = await glimpse.videos.list();
  return <Gallery initial={videos.filter(({ state }) => state === "ready").map(({ id, name }) => ({ id, name, page: pageUrl(glimpse, id) }))} />;
}
