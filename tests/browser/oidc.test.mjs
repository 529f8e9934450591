// Tests of the development provider: the whole code flow, as the Worker and a browser perform it.
//
//   node --test tests/browser/oidc.test.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createPublicKey, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const NODE = `${ROOT}node_modules/.bin/node`;
const PROVIDER = `${ROOT}local/oidc/provider.mjs`;
const CALLBACK = "http://localhost:8787/auth/callback";
const OTHER_CALLBACK = "http://127.0.0.1:8787/auth/callback";
const DEADLINE = AbortSignal.timeout(30_000);

let provider;
let issuer;

/** Starts the provider on a free port and waits until it listens. */
async function start(...args) {
  const child = spawn(NODE, [PROVIDER, "--client-id", "test", "--redirect", CALLBACK, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let complaints = "";
  child.stderr.on("data", (chunk) => (complaints += chunk));
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([
    once(lines, "line", { signal: DEADLINE }),
    once(child, "exit").then(([code]) => assert.fail(`the provider ended with ${code}: ${complaints}`)),
  ]);
  return { child, line, complaints: () => complaints };
}

before(async () => {
  provider = await start("--port", "0", "--redirect", OTHER_CALLBACK);
  issuer = provider.line.replace("listening ", "");
});

after(async () => {
  // If a filter excluded all tests, nothing was started.
  if (!provider) return;
  provider.child.kill("SIGTERM");
  await once(provider.child, "exit", { signal: DEADLINE });
  assert.equal(provider.complaints(), "", "the provider reported no errors");
});

/** A minimal browser for a code flow: keeps cookies, follows redirects until they leave the provider. */
function browser() {
  const cookies = new Map();
  return async function visit(url, init = {}) {
    for (let hop = 0; hop < 10; hop += 1) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
      const response = await fetch(url, { ...init, redirect: "manual", headers: { ...init.headers, cookie } });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        if (value === "") cookies.delete(name);
        else cookies.set(name, value);
      }
      const target = response.headers.get("location");
      if (!target) return { url, response };
      url = new URL(target, url).href;
      init = {};
      if (!url.startsWith(`${issuer}/`)) return { url, response };
    }
    throw new Error("redirect loop in the provider");
  };
}

function authorizationUrl(parameters) {
  const url = new URL(`${issuer}/auth`);
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
}

function authorizationParameters(extra = {}) {
  const verifier = randomBytes(32).toString("base64url");
  return {
    verifier,
    parameters: {
      client_id: "test",
      redirect_uri: CALLBACK,
      response_type: "code",
      scope: "openid profile email",
      state: randomBytes(8).toString("hex"),
      nonce: randomBytes(8).toString("hex"),
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
      ...extra,
    },
  };
}

async function nameTyped(visit, formUrl, name) {
  return visit(formUrl, { method: "POST", body: new URLSearchParams({ name }) });
}

async function exchange(code, verifier, redirect = CALLBACK) {
  return fetch(`${issuer}/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: "test",
      redirect_uri: redirect,
      code,
      code_verifier: verifier,
    }),
  });
}

/** The claims of an id_token after verification with the provider's published keys. */
async function checkedClaims(token) {
  const [head, body, signature] = token.split(".");
  const { alg, kid } = JSON.parse(Buffer.from(head, "base64url"));
  assert.equal(alg, "RS256");
  const { keys } = await (await fetch(`${issuer}/jwks`)).json();
  const key = createPublicKey({ key: keys.find((candidate) => candidate.kid === kid), format: "jwk" });
  const signed = verify("sha256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"));
  assert.ok(signed, "the signature does not verify");
  return JSON.parse(Buffer.from(body, "base64url"));
}

async function signedIn(name, extra) {
  const visit = browser();
  const { verifier, parameters } = authorizationParameters(extra);
  const form = await visit(authorizationUrl(parameters));
  assert.equal(form.response.status, 200);
  assert.match(await form.response.text(), /<input id="name"/);
  const back = new URL((await nameTyped(visit, form.url, name)).url);
  assert.equal(`${back.origin}${back.pathname}`, parameters.redirect_uri);
  assert.equal(back.searchParams.get("state"), parameters.state);
  assert.equal(back.searchParams.get("iss"), issuer);
  const code = back.searchParams.get("code");
  return { visit, code, verifier, parameters };
}

test("discovery contains only the issuer, the code flow, S256 and RS256", async () => {
  const metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, issuer);
  assert.deepEqual(metadata.response_types_supported, ["code"]);
  assert.deepEqual(metadata.code_challenge_methods_supported, ["S256"]);
  assert.deepEqual(metadata.id_token_signing_alg_values_supported, ["RS256"]);
  assert.deepEqual(metadata.token_endpoint_auth_methods_supported, ["none"]);
});

test("an entered name results in an id_token with sub, name and email", async () => {
  const { code, verifier, parameters } = await signedIn("Zoë O'Hara");
  const response = await exchange(code, verifier);
  assert.equal(response.status, 200);
  const claims = await checkedClaims((await response.json()).id_token);
  assert.deepEqual(
    [claims.iss, claims.aud, claims.nonce, claims.name, claims.email],
    [issuer, "test", parameters.nonce, "Zoë O'Hara", "zoe.o.hara@glimpse.example"],
  );
  assert.match(claims.sub, /^[\w-]{22}$/);
});

test("names that differ in spacing or case are one account, other names are not", async () => {
  const subjects = [];
  for (const name of ["Ada Lovelace", "  ada   LOVELACE ", "Ada", "Dev"]) {
    const { code, verifier } = await signedIn(name);
    subjects.push((await checkedClaims((await (await exchange(code, verifier)).json()).id_token)).sub);
  }
  assert.equal(subjects[0], subjects[1]);
  assert.notEqual(subjects[0], subjects[2]);
  assert.equal(subjects[3], "7yYOmqPGc68kDReiZgSANh", "the subject of the token that `cargo xtask dev` prints: local/src/dev.rs");
});

test("the second redirect address works too", async () => {
  const { code, verifier } = await signedIn("Ada", { redirect_uri: OTHER_CALLBACK });
  assert.equal((await exchange(code, verifier, OTHER_CALLBACK)).status, 200);
});

test("the form is shown again at the next sign-in", async () => {
  const { visit } = await signedIn("Ada");
  const again = await visit(authorizationUrl(authorizationParameters().parameters));
  assert.match(await again.response.text(), /Who are you today/);
});

test("a code works once, and only with its verifier", async () => {
  const first = await signedIn("Ada");
  assert.equal((await exchange(first.code, randomBytes(32).toString("base64url"))).status, 400);
  const second = await signedIn("Ada");
  assert.equal((await exchange(second.code, second.verifier)).status, 200);
  assert.equal((await exchange(second.code, second.verifier)).status, 400);
});

test("a request without PKCE is redirected with an error, an unknown redirect URI gets an error page", async () => {
  const bare = authorizationParameters({ code_challenge: undefined, code_challenge_method: undefined });
  const back = new URL((await browser()(authorizationUrl(bare.parameters))).url);
  assert.equal(back.searchParams.get("error"), "invalid_request");

  const foreign = authorizationParameters({ redirect_uri: "http://evil.example/" });
  const { url, response } = await browser()(authorizationUrl(foreign.parameters));
  assert.ok(url.startsWith(issuer), "no redirect to an unknown URI");
  assert.equal(response.status, 400);
  assert.match(await response.text(), /Sign-in failed/);
});

test("an empty name is requested again, and a form without a sign-in is rejected", async () => {
  const visit = browser();
  const form = await visit(authorizationUrl(authorizationParameters().parameters));
  const empty = await nameTyped(visit, form.url, "  \u200b ");
  assert.equal(empty.response.status, 400);
  assert.match(await empty.response.text(), /Enter any name/);
  const stranger = await nameTyped(browser(), form.url, "Mallory");
  assert.equal(stranger.response.status, 400);
  assert.match(await stranger.response.text(), /This sign-in has ended/);
});

test("a port in use and a missing redirect result in one line and exit code 1", async () => {
  const cases = [
    [["--port", new URL(issuer).port, "--redirect", CALLBACK], /^port \d+ is in use: [^\n]+\n$/],
    [["--port", "0"], /^--redirect is missing/],
    [["--port", "banana", "--redirect", CALLBACK], /^--port banana is not a port/],
  ];
  for (const [args, expected] of cases) {
    const child = spawn(NODE, [PROVIDER, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let complaints = "";
    child.stderr.on("data", (chunk) => (complaints += chunk));
    const [code] = await once(child, "close", { signal: DEADLINE });
    assert.equal(code, 1, args.join(" "));
    assert.match(complaints, expected);
  }
});

test("an issuer can be named", async () => {
  const named = await start("--port", "0", "--issuer", "https://id.glimpse.example");
  const address = named.line.replace("listening ", "");
  const metadata = await (await fetch(`${address}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, "https://id.glimpse.example");
  named.child.kill("SIGTERM");
  await once(named.child, "exit", { signal: DEADLINE });
});
