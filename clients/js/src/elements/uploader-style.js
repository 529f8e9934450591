// The style sheet of <glimpse-uploader>. An app changes it by custom properties (`--glimpse-accent`, `--glimpse-text`,
// `--glimpse-surface`, `--glimpse-border`, `--glimpse-error`, `--glimpse-radius`) and by `::part()`. Colors follow the
// `color-scheme` of the page.

export const STYLE = `
:host{display:block;line-height:1.5;color:var(--glimpse-text,CanvasText);
--a:var(--glimpse-accent,light-dark(#5142d3,#a89dff));}
:host([hidden]),[hidden]{display:none!important}
*{box-sizing:border-box}
p,ul{margin:0;padding:0}
button{font:inherit;color:var(--a);background:none;border:0;padding:0 .9em;cursor:pointer;border-radius:2em}
:disabled{color:inherit;cursor:default}
:focus-visible{outline:3px solid var(--a);outline-offset:2px}
svg{width:1.4em;height:1.4em;flex:none;fill:none;stroke:currentColor;stroke-width:1.7;stroke-linecap:round;stroke-linejoin:round;vertical-align:middle}
progress{display:block;width:100%;height:.5em;accent-color:var(--a)}
.box{display:flex;flex-wrap:wrap;align-items:center;gap:.4em .9em;margin-top:.6em;padding:.6em .6em .6em 1em;border:1px solid var(--glimpse-border,#8886);border-radius:var(--glimpse-radius,14px);background:var(--glimpse-surface,Canvas)}
.drop{flex-wrap:nowrap;margin:0;padding:1.1em;border:1.5px dashed #888;cursor:pointer}
.drop>svg{width:2em;height:2em;color:var(--a)}
.drop:hover,.over .drop{border-color:var(--a)}
button:hover,.over .drop{background:#8882}
.over *{pointer-events:none}
[part=choose]{padding:0;border-radius:4px;font-weight:600;text-decoration:underline;text-underline-offset:3px}
[part=limits],[part=status]{font-size:.875em;opacity:.75}
[part=body]{flex:1 1 9em;min-width:0}
[part=name]{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-weight:550}
[part=actions]{display:flex;margin-left:auto}
[part=actions] button{min-width:40px;height:40px}
.icon{padding:0}
[part=message]:empty{display:none}
[part=message]{flex-basis:100%;font-size:.875em;overflow-wrap:anywhere}
[part=notice],[part~=error] [part=message],[part~=refused] [part=message]{color:var(--glimpse-error,light-dark(#b3261e,#ff9c92))}
.live{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media(hover:none){.mouse{display:none}}
@media(forced-colors:active){button{border:1px solid}}`;
