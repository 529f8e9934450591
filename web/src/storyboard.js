// Finds the storyboard tile for a time, and shows it as a section of the sheet.

/**
 * @typedef {{ tile_width: number, tile_height: number, tiles: { start: number, x: number, y: number }[] }} Table
 * @typedef {{ table: Table, sheet: string, columns: number, rows: number }} Storyboard
 */

/** The index of the tile for a time: the last one that starts by then. @param {Table} table */
export function tileAt({ tiles }, seconds) {
  let [low, high] = [0, tiles.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tiles[middle].start <= seconds) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Fetches table and sheet; resolves once the sheet is decoded. @returns {Promise<Storyboard>} */
export async function load({ json, sheet }) {
  const response = await fetch(json);
  if (!response.ok) throw new Error(`storyboard: ${response.status}`);
  const table = await response.json();
  const image = new Image();
  image.src = sheet;
  await image.decode();
  const count = (side, step) => Math.max(1, Math.round(side / step));
  return { table, sheet, columns: count(image.naturalWidth, table.tile_width), rows: count(image.naturalHeight, table.tile_height) };
}

/** Shows one tile in an element with the tile's aspect ratio, at any size. @param {Storyboard} board */
export function showTile(element, { table, sheet, columns, rows }, place) {
  const { x, y } = table.tiles[place];
  const percent = (at, step, count) => (count > 1 ? ((at / step) * 100) / (count - 1) : 0);
  Object.assign(element.style, {
    backgroundImage: `url("${sheet}")`,
    backgroundSize: `${columns * 100}% ${rows * 100}%`,
    backgroundPosition: `${percent(x, table.tile_width, columns)}% ${percent(y, table.tile_height, rows)}%`,
  });
}
