// HTML pages of the development provider: a form for the name, and an error page.

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1c22;--soft:#5d606c;--paper:#f7f6f3;--card:#fff;--line:#d9d8d2;--accent:#4338ca;--on:#fff;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#f0eff4;--soft:#a5a7b4;--paper:#121318;--card:#1b1c23;--line:#363844;--accent:#a9a4ff;--on:#14131f;--bad:#ff8f85}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:min(24rem,100%);padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:1rem}
h1{margin:0 0 .25rem;font-size:1.375rem;letter-spacing:-.01em}
p{margin:0 0 1.25rem;color:var(--soft)}
label{display:block;margin-bottom:.375rem;font-weight:600}
input,button{width:100%;font:inherit;padding:.625rem .75rem;border-radius:.625rem}
input{color:inherit;background:var(--paper);border:1px solid var(--soft)}
button{margin-top:1rem;border:0;background:var(--accent);color:var(--on);font-weight:600;cursor:pointer}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.bad{margin:.5rem 0 0;color:var(--bad)}
small{display:block;margin-top:1.25rem;color:var(--soft)}`;

function escape(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function page(title, body) {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>${STYLE}</style></head>
<body><main>${body}</main></body>
</html>
`;
}

/** The form for the name; `error` is the reason why the last one was rejected. */
export function signInPage(error) {
  const note = error ? `<p class="bad" id="note" role="alert">${escape(error)}</p>` : "";
  return page(
    "Sign in · Glimpse development",
    `<h1>Who are you today?</h1>
<p>Any name will do. The same name finds the same videos again.</p>
<form method="post">
<label for="name">Your name</label>
<input id="name" name="name" maxlength="80" required autofocus autocomplete="username"${error ? ' aria-invalid="true" aria-describedby="note"' : ""}>
${note}<button>Continue to Glimpse</button>
</form>
<small>Development sign-in: it answers this machine only and asks for no password.</small>`,
  );
}

/** A page for a sign-in that cannot continue. */
export function errorPage(sentence) {
  return page("Sign in · Glimpse development", `<h1>Sign-in failed</h1><p role="alert">${escape(String(sentence))}</p>`);
}
