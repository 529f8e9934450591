// The deployment, with the secret token: for the server only.

import { Glimpse } from "@glimpse-video/client";

export const glimpse = new Glimpse({ url: process.env.GLIMPSE_URL, token: process.env.GLIMPSE_TOKEN });
