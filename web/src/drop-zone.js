// File input: drag and drop on the window, the file chooser, and the keyboard.

import { byId } from "./dom.js";

/** Only drags with files are handled: text and links can be dragged as usual. */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

/** The files of a drop; folders are skipped and reported. */
function filesFrom(transfer) {
  const files = [];
  let folders = false;
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    if (item.webkitGetAsEntry?.()?.isDirectory) folders = true;
    else files.push(item.getAsFile());
  }
  return { files: files.filter(Boolean), folders };
}

/**
 * Connects the window, the drop zone and the file chooser. `take(files)` gets the chosen files, `onFolders()` is called
 * for folders; nothing happens while `ready()` is false.
 */
export function attachDropZone({ take, onFolders, ready }) {
  const chooser = byId("files");
  let depth = 0;
  const highlight = (on) => {
    depth = on ? depth : 0;
    document.body.toggleAttribute("data-dragging", on);
  };

  window.addEventListener("dragenter", (event) => {
    if (!hasFiles(event) || !ready()) return;
    event.preventDefault();
    depth += 1;
    highlight(true);
  });
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = ready() ? "copy" : "none";
  });
  window.addEventListener("dragleave", (event) => {
    if (!hasFiles(event) || depth === 0) return;
    depth -= 1;
    if (depth === 0) highlight(false);
  });
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    // Without this, a browser would navigate to the file.
    event.preventDefault();
    highlight(false);
    if (!ready()) return;
    const { files, folders } = filesFrom(event.dataTransfer);
    if (files.length > 0) take(files);
    if (folders) onFolders();
  });

  byId("drop-zone").addEventListener("click", (event) => {
    if (event.target !== chooser) chooser.click();
  });
  chooser.addEventListener("change", () => {
    const files = [...chooser.files];
    // Allows the same file to be chosen again.
    chooser.value = "";
    if (files.length > 0) take(files);
  });
}
