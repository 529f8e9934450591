"use client";
// Uploads with <glimpse-uploader>, and shows posters with next/image, which asks for the width that the screen needs.

import Image from "next/image";
import { useEffect, useState } from "react";

import { Glimpse, pageUrl } from "@glimpse-video/client";
import "@glimpse-video/client/elements";

export default function Gallery({ initial }) {
  const [url, setUrl] = useState();
  const [videos, setVideos] = useState(initial);

  useEffect(() => {
    fetch("/api/upload-url", { method: "POST" })
      .then((response) => response.json())
      .then((answer) => setUrl(answer.url));
  }, []);

  async function add({ detail: { file, video } }) {
    // The poster exists once the video is ready.
    const { id, state } = await new Glimpse({ url }).videos.wait(video.id);
    if (state === "ready") setVideos((all) => [{ id, name: file.name, page: pageUrl(url, id) }, ...all]);
  }

  return (
    <main>
      <h1>Videos with Next.js</h1>
      <p>The loader of next/image asks Glimpse for posters in the width of the screen.</p>
      {url && <glimpse-uploader url={url} multiple onupload-success={add} />}
      <ul className="gallery">
        {videos.map(({ id, name, page }) => (
          <li key={id}>
            <Image src={page} alt={name} width={640} height={360} sizes="(max-width: 30rem) 100vw, 14rem" />
          </li>
        ))}
      </ul>
    </main>
  );
}
