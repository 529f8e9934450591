// Creates an upload token for a visitor. In your app, this route belongs behind your own sign-in.

import { glimpse } from "../../../glimpse.js";

export async function POST() {
  const { url } = await glimpse.uploadTokens.create({ videos: 20 });
  return Response.json({ url });
}
