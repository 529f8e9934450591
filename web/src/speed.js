// Measures the speed of an upload: pure, the time is an argument.

/** The time window of the speed measurement, in milliseconds. */
const SPEED_WINDOW_MS = 4000;

/** Computes the speed (bytes per second, 0 until known) over the last few seconds from the bytes sent so far. */
export function createSpeedMeter() {
  const samples = [];
  return (sent, now) => {
    samples.push([sent, now]);
    while (samples.length > 2 && now - samples[0][1] > SPEED_WINDOW_MS) samples.shift();
    const [firstSent, firstTime] = samples[0];
    return now - firstTime < 250 ? 0 : (sent - firstSent) / ((now - firstTime) / 1000);
  };
}
