// Renders the client's part of the Next.js example, with the videos that its server would list.

import { createRoot } from "react-dom/client";

import Gallery from "../../examples/next/app/gallery.jsx";

const videos = await (await fetch("/api/videos")).json();
createRoot(document.getElementById("app")).render(<Gallery initial={videos} />);
