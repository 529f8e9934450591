// Formats sizes and lists: pure, no DOM.

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** A number of bytes in decimal units, as in file managers: `12.4 MB`. `locale` is a language tag. */
export function bytes(count, locale = "en") {
  let power = 0;
  while (count >= 999.5 && power < UNITS.length - 1) {
    count /= 1000;
    power += 1;
  }
  return new Intl.NumberFormat(locale, {
    style: "unit",
    unit: UNITS[power],
    unitDisplay: power === 0 ? "long" : "short",
    maximumFractionDigits: power < 2 || count >= 100 ? 0 : 1,
  }).format(count);
}

/** `A, B and C` */
export const list = (words, locale = "en-GB") => new Intl.ListFormat(locale, { type: "conjunction" }).format(words);
