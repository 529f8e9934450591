// Formats times and names: pure, no DOM. Sizes and lists: `format.js` of the npm package.

const AGES = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86_400, 3600, "hour"],
  [7 * 86_400, 86_400, "day"],
];

/** A duration in milliseconds, as in players: `0:07`, `1:02:03`. */
export function duration(ms) {
  const seconds = Math.max(ms > 0 ? 1 : 0, Math.round(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** The remaining time of an upload, as text. */
export function timeLeft(seconds) {
  if (seconds < 1.5) return "about a second left";
  if (seconds < 60) return `${Math.round(seconds)} s left`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min left`;
  return `${(seconds / 3600).toFixed(1)} h left`;
}

/** The age of something; if older than a week, its date. Both in Unix milliseconds. */
export function ago(then, now) {
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 45) return "just now";
  for (const [below, size, unit] of AGES) {
    if (seconds < below) {
      return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.max(1, Math.floor(seconds / size)), unit);
    }
  }
  return new Intl.DateTimeFormat("en", { dateStyle: "medium" }).format(then);
}

/** Up to two initials of a user. */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const picked = words.length > 1 ? [words[0], words.at(-1)] : words;
  return picked.map((word) => [...word][0].toUpperCase()).join("") || "·";
}
