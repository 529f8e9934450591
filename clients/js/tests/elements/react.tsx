/** @jsxImportSource react */
// The types of the elements in React.

import { useRef } from "react";

import { Glimpse } from "@glimpse-video/client";
import { MESSAGES, type GlimpseUploader } from "@glimpse-video/client/elements";
import "@glimpse-video/client/jsx";

export function App({ url }: { url: string }) {
  const uploader = useRef<GlimpseUploader>(null);
  return (
    <>
      <glimpse-uploader
        ref={uploader}
        className="wide"
        url={url}
        multiple
        max-files={3}
        client={new Glimpse({ url })}
        options={{ metadata: { title: "Ski trip" } }}
        messages={{ ...MESSAGES, cancel: "Stop" }}
        onupload-success={({ detail: { file, video } }) => console.log(file.name, video.id)}
        oncomplete={({ detail }) => console.log(detail.videos.length)}
      />
      <button onClick={() => uploader.current?.pause()}>Pause</button>
      <glimpse-thumb key="a" src="https://video.example.com/7zz" alt="Ski trip" style={{ width: 320 }} />
      {/* @ts-expect-error: a URL is a text. */}
      <glimpse-uploader url={3} />
      {/* @ts-expect-error: there is no such attribute. */}
      <glimpse-thumb source="https://video.example.com/7zz" />
    </>
  );
}
