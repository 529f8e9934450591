// Evaluates measurements: the median of a side, the median ratio of pairs, rows of a table.

const sorted = (values) => [...values].sort((a, b) => a - b);

/** The median. */
export function median(values) {
  return sorted(values)[Math.floor(values.length / 2)];
}

/** The value at this percentile. */
export function percentile(values, hundredths) {
  return sorted(values)[Math.min(values.length - 1, Math.floor((values.length * hundredths) / 100))];
}

/** The median of each figure of a side's rounds. */
export function medianRun(measurements) {
  const of = (name) => median(measurements.map((one) => one[name]));
  return { perSecond: of("perSecond"), p50Ms: of("p50Ms"), p99Ms: of("p99Ms"), cpuUs: of("cpuUs") };
}

/** The ratios of `ours` to the other side, round by round: requests per second, and CPU time per request. */
export function ratios(ours, theirs) {
  const pairs = ours.map((one, round) => [one, theirs[round]]);
  return {
    perSecond: median(pairs.map(([one, other]) => one.perSecond / other.perSecond)),
    cpu: median(pairs.map(([one, other]) => other.cpuUs / one.cpuUs)),
  };
}

/** A number with three significant digits. */
export function formatNumber(value) {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Prints rows as a Markdown table. */
export function table(head, rows) {
  console.log(`\n| ${head.join(" | ")} |\n|${head.map(() => "---").join("|")}|`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
}
