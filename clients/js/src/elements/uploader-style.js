// The style sheet of <glimpse-uploader>. An app changes it by custom properties (`--glimpse-accent`, `--glimpse-text`,
// `--glimpse-muted`, `--glimpse-surface`, `--glimpse-border`, `--glimpse-error`, `--glimpse-success`, `--glimpse-radius`)
// and by `::part()`. Colors follow the `color-scheme` of the page.

export const STYLE = `
:host { display: block; line-height: 1.5;
  --text: var(--glimpse-text, CanvasText);
  --surface: var(--glimpse-surface, Canvas);
  --accent: var(--glimpse-accent, #5142d3);
  --error: var(--glimpse-error, #b3261e);
  --success: var(--glimpse-success, #1d7346);
  --muted: var(--glimpse-muted, color-mix(in srgb, var(--text) 66%, var(--surface)));
  --border: var(--glimpse-border, color-mix(in srgb, var(--text) 16%, var(--surface)));
  --tint: color-mix(in srgb, var(--accent) 9%, var(--surface));
  --radius: var(--glimpse-radius, 14px);
  color: var(--text); }
@supports (color: light-dark(#000, #fff)) {
  :host {
    --accent: var(--glimpse-accent, light-dark(#5142d3, #a89dff));
    --error: var(--glimpse-error, light-dark(#b3261e, #ff9c92));
    --success: var(--glimpse-success, light-dark(#1d7346, #6fd3a0)); }
}
:host([hidden]), [hidden] { display: none !important; }
*, ::before { box-sizing: border-box; }
p, ul { margin: 0; padding: 0; }
ul { list-style: none; }
button { font: inherit; color: inherit; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
svg { width: 22px; height: 22px; flex: none; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.small { font-size: .875em; color: var(--muted); font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }

.drop { display: flex; align-items: center; gap: 1em; padding: 1.1em 1.25em; border: 1.5px dashed color-mix(in srgb, var(--accent) 45%, var(--border)); border-radius: var(--radius); background: var(--surface); cursor: pointer; transition: border-color .15s, background-color .15s; }
.drop > svg { width: 46px; height: 46px; padding: 11px; border-radius: calc(var(--radius) - 2px); background: var(--tint); color: var(--accent); }
.drop:hover, .over .drop { border-color: var(--accent); background: var(--tint); }
.over .drop { border-style: solid; }
.drop.off { cursor: default; opacity: .6; }
.choose { padding: 0; border: 0; background: none; color: var(--accent); font-weight: 600; text-decoration: underline; text-underline-offset: 3px; border-radius: 3px; }
.choose[disabled] { cursor: default; }

.notice, .total { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .25em .75em; margin-top: .75em; padding: .7em 1em; border: 1px solid var(--border); border-radius: var(--radius); background: var(--surface); }
.notice { border-color: color-mix(in srgb, var(--error) 40%, var(--border)); color: var(--error); }
.total progress { flex-basis: 100%; }
.total strong { font-weight: 600; font-size: .9375em; }

.list { display: grid; gap: .5em; margin-top: .75em; }
.list:empty { display: none; }
.item { display: flex; flex-wrap: wrap; align-items: center; gap: .5em .875em; padding: .625em; border: 1px solid var(--border); border-radius: var(--radius); background: var(--surface); }
.item:focus { outline-offset: -3px; }
.frame { position: relative; display: grid; place-items: center; flex: none; overflow: hidden; width: 5.5em; aspect-ratio: 16 / 9; border-radius: calc(var(--radius) - 6px); background: color-mix(in srgb, var(--text) 8%, var(--surface)); color: var(--muted); }
.frame video { position: absolute; width: 100%; height: 100%; object-fit: cover; }
.body { flex: 1 1 9em; min-width: 0; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 560; }
.message { flex-basis: 100%; padding: .1em .35em; font-size: .875em; overflow-wrap: anywhere; }
.message strong { color: var(--error); font-weight: 620; }
.actions { display: flex; align-items: center; gap: .25em; margin-left: auto; }
.actions button { display: grid; place-items: center; min-width: 40px; height: 40px; padding: 0; border: 0; border-radius: 50%; background: none; color: var(--muted); transition: background-color .15s, color .15s; }
.actions button:hover { background: var(--tint); color: var(--accent); }
.text { padding: .3em .9em; min-height: 36px; border: 1px solid currentColor; border-radius: 999px; background: none; color: var(--accent); font-size: .875em; font-weight: 600; }
.actions .text { height: auto; padding: .3em .9em; border: 1px solid currentColor; border-radius: 999px; color: var(--accent); }
[data-state=done] .status { color: var(--success); }
.status svg { width: 1.15em; height: 1.15em; margin-right: .3em; vertical-align: -.2em; stroke-width: 2.4; }

progress { display: block; width: 100%; height: 6px; margin-top: .4em; border: 0; border-radius: 3px; overflow: hidden; appearance: none; background: color-mix(in srgb, var(--accent) 16%, var(--surface)); color: var(--accent); }
progress::-webkit-progress-bar { background: none; }
progress::-webkit-progress-value { border-radius: 3px; background: var(--accent); transition: width .2s linear; }
progress::-moz-progress-bar { border-radius: 3px; background: var(--accent); }
[data-state=paused] progress { opacity: .5; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@media (hover: none) { .mouse { display: none; } .choose::first-letter { text-transform: uppercase; } .choose { display: inline-block; } }
@media (prefers-reduced-motion: reduce) { *, ::-webkit-progress-value { transition: none !important; } }
@media (forced-colors: active) {
  .actions button, .frame { border: 1px solid ButtonText; }
  progress { height: 8px; border: 1px solid ButtonText; color: Highlight; }
  progress::-webkit-progress-value { background: Highlight; forced-color-adjust: none; }
  progress::-moz-progress-bar { background: Highlight; forced-color-adjust: none; }
  .message strong { text-decoration: underline; }
}`;
