// The style sheet of <glimpse-uploader>. An app changes it by custom properties (`--glimpse-accent`, `--glimpse-text`,
// `--glimpse-surface`, `--glimpse-border`, `--glimpse-error`, `--glimpse-radius`) and by `::part()`. Colors follow the
// `color-scheme` of the page.

export const STYLE = `
:host{display:block;line-height:1.5;color:var(--t);
--t:var(--glimpse-text,CanvasText);
--s:var(--glimpse-surface,Canvas);
--a:var(--glimpse-accent,light-dark(#5142d3,#a89dff));
--e:var(--glimpse-error,light-dark(#b3261e,#ff9c92));
--b:var(--glimpse-border,color-mix(in srgb,var(--t) 16%,var(--s)));
--m:color-mix(in srgb,var(--t) 68%,var(--s));
--h:color-mix(in srgb,var(--a) 10%,var(--s));
--r:var(--glimpse-radius,14px)}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box}
p,ul{margin:0;padding:0}
button{font:inherit;color:var(--a);background:none;border:0;padding:0 .9em;cursor:pointer;border-radius:2em}
:disabled{color:inherit;cursor:default}
:focus-visible{outline:3px solid var(--a);outline-offset:2px}
svg{width:1.4em;height:1.4em;flex:none;fill:none;stroke:currentColor;stroke-width:1.7;stroke-linecap:round;stroke-linejoin:round;vertical-align:middle}
progress{display:block;width:100%;height:.5em;accent-color:var(--a)}
.box{display:flex;flex-wrap:wrap;align-items:center;gap:.4em .9em;margin-top:.6em;padding:.65em;border:1px solid var(--b);border-radius:var(--r);background:var(--s)}
.drop{flex-wrap:nowrap;margin:0;padding:1.1em;border:1.5px dashed var(--m);cursor:pointer}
.drop>svg{width:2em;height:2em;color:var(--a)}
.drop:hover,.over .drop,button:hover{border-color:var(--a);background:var(--h)}
.choose{padding:0;font-weight:600;text-decoration:underline;text-underline-offset:3px}
.small{font-size:.875em;color:var(--m)}
.frame{position:relative;display:grid;place-items:center;overflow:hidden;width:5.5em;aspect-ratio:16/9;border-radius:calc(var(--r) - 6px);background:var(--b);color:var(--m)}
video{position:absolute;width:100%;height:100%;object-fit:cover}
.body{flex:1 1 9em;min-width:0}
.name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-weight:550}
.actions{display:flex;margin-left:auto}
.actions button{min-width:40px;height:40px}
.icon{padding:0}
.message{flex-basis:100%;font-size:.875em;overflow-wrap:anywhere}
.notice,[part~=error] .message,[part~=refused] .message{color:var(--e)}
.live{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media(hover:none){.mouse{display:none}}
@media(forced-colors:active){button,.frame{border:1px solid}}`;
