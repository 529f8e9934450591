// Decides how files get into the page: dropped anywhere on the window, chosen, or picked by keyboard.

import { byId } from "./dom.js";

/** Only drags that carry files are ours: text and links may be dragged as ever. */
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

/** The files of a drop; folders are left out, and told. */
function filesOf(transfer) {
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
 * Wires window, drop zone and file chooser. `take(files)` gets what was chosen, `onFolders()` is told of folders;
 * nothing happens while `ready()` is false.
 */
export function dropZone({ take, onFolders, ready }) {
  const chooser = byId("files");
  let depth = 0;
  const highlight = (on) => {
    depth = on ? depth : 0;
    document.body.toggleAttribute("data-dragging", on);
  };

  window.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event) || !ready()) return;
    event.preventDefault();
    depth += 1;
    highlight(true);
  });
  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = ready() ? "copy" : "none";
  });
  window.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event) || depth === 0) return;
    depth -= 1;
    if (depth === 0) highlight(false);
  });
  window.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    // Without this, a browser would leave the page and open the file.
    event.preventDefault();
    highlight(false);
    if (!ready()) return;
    const { files, folders } = filesOf(event.dataTransfer);
    if (files.length > 0) take(files);
    if (folders) onFolders();
  });

  byId("drop").addEventListener("click", (event) => {
    if (event.target !== chooser) chooser.click();
  });
  chooser.addEventListener("change", () => {
    const files = [...chooser.files];
    // So that the same file can be chosen once more.
    chooser.value = "";
    if (files.length > 0) take(files);
  });
}
