/** @jsxImportSource preact */
// The types of the elements in Preact.

import "@glimpse-video/client/jsx";

export function App({ url }: { url: string }) {
  return (
    <div>
      <glimpse-uploader class="wide" url={url} multiple onupload-error={({ detail: { error } }) => console.log(error.code)} />
      <glimpse-thumb src="https://video.example.com/7zz" />
      {/* @ts-expect-error: a URL is a text. */}
      <glimpse-uploader url={3} />
    </div>
  );
}
