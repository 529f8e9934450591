/**
 * The canonical parameters of an image, with their texts, in canonical order.
 * @param {Kind} kind @param {string | undefined} format undefined: a text that is valid for every format
 * @param {Record<string, unknown>} parameters
 * @returns {[name: string, text: string][]}
 * @throws {RangeError} for a parameter that is unknown, out of range or in conflict with another one
 */
export function canonicalParameters(kind: Kind, format: string | undefined, parameters: Record<string, unknown>): [name: string, text: string][];
export namespace FORMATS {
    let thumbnail: readonly ["jpg", "png", "webp", "avif"];
    let animated: readonly ["webp", "gif", "mp4"];
    let storyboard: readonly ["vtt", "jpg", "webp", "json", "m3u8"];
    let clip: readonly ["mp4"];
}
export function isTable(format: string): boolean;
export function isFixed(kind: string, parameters: [string, string][]): boolean;
export type Kind = "thumbnail" | "animated" | "storyboard" | "clip";
/**
 * Parses a value: a number (milliseconds for seconds, hundredths for `dpr`), a boolean or a word; undefined if it is
 * invalid. The text describes the values.
 */
export type ParameterType = [parse: (value: any) => any, expected: string];
