// Uploads with <glimpse-uploader> and shows the videos with <glimpse-thumb>, in React 19.

import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

import { pageUrl } from "@glimpse-video/client";
import "@glimpse-video/client/elements";

function App() {
  const [url, setUrl] = useState();
  const [videos, setVideos] = useState([]);

  useEffect(() => {
    const load = async (path, options) => (await fetch(path, options)).json();
    load("/api/upload-url", { method: "POST" }).then((answer) => setUrl(answer.url));
    load("/api/videos").then(setVideos);
  }, []);

  function add({ detail: { file, video } }) {
    setVideos((all) => [{ id: video.id, name: file.name, page: pageUrl(url, video) }, ...all]);
  }

  return (
    <main>
      <h1>Videos with React</h1>
      <p>React 19 sets attributes and listens to events of custom elements.</p>
      {url && <glimpse-uploader url={url} multiple onupload-success={add} />}
      <ul className="gallery">
        {videos.map(({ id, name, thumbhash, page }) => (
          <li key={id}>
            <glimpse-thumb src={page} alt={name} thumbhash={thumbhash} />
          </li>
        ))}
      </ul>
    </main>
  );
}

createRoot(document.getElementById("app")).render(<App />);
