// A real OpenID Connect provider (the certified `oidc-provider`) for development, whose accounts are the names that
// users enter. There are no passwords, so it binds to loopback only. All state is in memory; a name has the same
// subject after a restart, so it keeps its videos.
//
//   node_modules/.bin/node local/oidc/provider.mjs --port 9400 --client-id glimpse-dev \
//       --redirect http://localhost:8787/auth/callback [--redirect …] [--issuer http://localhost:9400]

import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import Provider, { interactionPolicy } from "oidc-provider";

import { errorPage, signInPage } from "./pages.mjs";

const USAGE =
  "usage: provider.mjs --port PORT --client-id ID --redirect URL [--redirect URL …] [--issuer URL]";
/** The maximum size of a form, in bytes: one name. */
const MAX_FORM_BYTES = 4096;
/** The maximum length of an account's name, in characters. */
const MAX_NAME = 80;
/** Lifetimes of the form, of codes and of tokens, in seconds. */
const TTL = { Interaction: 3600, Session: 3600, Grant: 3600, AuthorizationCode: 60, AccessToken: 3600, IdToken: 3600 };

function quit(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}

/** Parses the command line; an error ends the process with one message. */
function readOptions(args) {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        port: { type: "string", default: "9400" },
        "client-id": { type: "string", default: "glimpse-dev" },
        redirect: { type: "string", multiple: true, default: [] },
        issuer: { type: "string" },
      },
    }));
  } catch (error) {
    quit(`${error.message}\n${USAGE}`);
  }
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) quit(`--port ${values.port} is not a port\n${USAGE}`);
  if (values.redirect.length === 0) quit(`--redirect is missing: name a URL to return to after a sign-in\n${USAGE}`);
  for (const url of [...values.redirect, ...(values.issuer ? [values.issuer] : [])]) {
    if (!URL.canParse(url)) quit(`${url} is not a URL\n${USAGE}`);
  }
  return { port, clientId: values["client-id"], redirects: values.redirect, issuer: values.issuer };
}

/** The account of an entered name; undefined if it is blank. Names that differ in spacing or case are one account. */
function accountOf(typed) {
  const name = [...typed.normalize("NFC").replace(/[\p{C}\s]+/gu, " ").trim()].slice(0, MAX_NAME).join("");
  if (name === "") return undefined;
  const subject = createHash("sha256").update(name.toLowerCase()).digest("base64url").slice(0, 22);
  const mailbox = name.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, ".").replace(/^\.+|\.+$/g, "");
  return { subject, name, email: `${mailbox || subject.toLowerCase()}@glimpse.example` };
}

function freshSigningKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomBytes(8).toString("hex"), use: "sig", alg: "RS256" };
}

/** Stores the provider's records until they expire or the process ends. */
function memoryAdapter() {
  const records = new Map();
  const find = (wanted) => {
    const found = [...records.values()].find((record) => record.expires > Date.now() && wanted(record));
    return Promise.resolve(found?.payload);
  };
  return class {
    constructor(model) {
      this.model = model;
    }
    upsert(id, payload, expiresIn) {
      for (const [key, record] of records) if (record.expires <= Date.now()) records.delete(key);
      const expires = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
      records.set(`${this.model} ${id}`, { id, model: this.model, payload, expires });
      return Promise.resolve();
    }
    find(id) {
      return find((record) => record.model === this.model && record.id === id);
    }
    findByUid(uid) {
      return find((record) => record.model === this.model && record.payload.uid === uid);
    }
    findByUserCode(code) {
      return find((record) => record.model === this.model && record.payload.userCode === code);
    }
    consume(id) {
      const record = records.get(`${this.model} ${id}`);
      if (record) record.payload.consumed = Math.floor(Date.now() / 1000);
      return Promise.resolve();
    }
    destroy(id) {
      records.delete(`${this.model} ${id}`);
      return Promise.resolve();
    }
    revokeByGrantId(grantId) {
      for (const [key, record] of records) if (record.payload.grantId === grantId) records.delete(key);
      return Promise.resolve();
    }
  };
}

/** The form is shown at every sign-in, so that users can sign out and sign in with another name. */
function alwaysAsk() {
  const policy = interactionPolicy.base();
  const check = new interactionPolicy.Check("always_ask", "the name is requested at every sign-in", (ctx) =>
    ctx.oidc.result?.login ? interactionPolicy.Check.NO_NEED_TO_PROMPT : interactionPolicy.Check.REQUEST_PROMPT,
  );
  policy.get("login").checks.add(check);
  return policy;
}

function configuration({ clientId, redirects }, accounts) {
  return {
    adapter: memoryAdapter(),
    claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
    clients: [
      {
        client_id: clientId,
        client_name: "Glimpse",
        redirect_uris: redirects,
        response_types: ["code"],
        grant_types: ["authorization_code"],
        token_endpoint_auth_method: "none",
      },
    ],
    clientAuthMethods: ["none"],
    clientBasedCORS: () => false,
    // Name and e-mail address are in the id_token itself: the Worker makes no further requests.
    conformIdTokenClaims: false,
    cookies: { keys: [randomBytes(32).toString("base64url")] },
    features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: false } },
    findAccount: (_, subject) => {
      const account = accounts.get(subject);
      if (!account) return undefined;
      const claims = () => ({ sub: subject, name: account.name, email: account.email });
      return { accountId: subject, claims };
    },
    interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}`, policy: alwaysAsk() },
    jwks: { keys: [freshSigningKey()] },
    // The only client is Glimpse: there is no consent page for a name that was just entered.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope("openid profile email");
      await grant.save();
      return grant;
    },
    pkce: { required: () => true },
    renderError: (ctx, out) => {
      ctx.type = "html";
      ctx.body = errorPage(out.error_description ?? out.error);
    },
    responseTypes: ["code"],
    scopes: ["openid", "profile", "email"],
    ttl: TTL,
  };
}

/** The form's fields; undefined if the body is too long. */
async function readForm(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk.toString("latin1");
    if (text.length > MAX_FORM_BYTES) return undefined;
  }
  return new URLSearchParams(text);
}

function reply(response, status, page, formTargets) {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": `default-src 'none'; style-src 'unsafe-inline'; form-action 'self' ${formTargets}; frame-ancestors 'none'`,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  });
  response.end(page);
}

/** Shows the form (GET), or passes the name on to the provider (POST). */
async function signIn(provider, accounts, formTargets, request, response) {
  try {
    await provider.interactionDetails(request, response);
  } catch {
    reply(response, 400, errorPage("This sign-in has ended. Go back to the page you came from and start again."), "");
    return;
  }
  if (request.method === "GET") {
    reply(response, 200, signInPage(), formTargets);
    return;
  }
  const form = await readForm(request);
  const account = form && accountOf(form.get("name") ?? "");
  if (!account) {
    reply(response, 400, signInPage("Enter any name of up to 80 characters."), formTargets);
    return;
  }
  accounts.set(account.subject, account);
  const result = { login: { accountId: account.subject, remember: false } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

function main() {
  const options = readOptions(process.argv.slice(2));
  const server = createServer();
  server.once("error", (error) => {
    if (error.code === "EADDRINUSE") {
      quit(`port ${options.port} is in use: stop the program that uses it, or choose another port with --port`);
    }
    quit(`cannot listen on port ${options.port}: ${error.message}`);
  });
  server.listen(options.port, "127.0.0.1", () => {
    const address = `http://localhost:${server.address().port}`;
    const accounts = new Map();
    const provider = new Provider(options.issuer ?? address, configuration(options, accounts));
    provider.on("server_error", (_, error) => process.stderr.write(`oidc: ${error.stack}\n`));
    const answer = provider.callback();
    const formTargets = [...new Set(options.redirects.map((url) => new URL(url).origin))].join(" ");
    server.on("request", (request, response) => {
      const formPage = /^\/sign-in\/[\w-]+$/.test(request.url) && ["GET", "POST"].includes(request.method);
      if (!formPage) {
        answer(request, response);
        return;
      }
      signIn(provider, accounts, formTargets, request, response).catch((error) => {
        process.stderr.write(`oidc: ${error.stack}\n`);
        if (response.headersSent) response.destroy();
        else reply(response, 500, errorPage(error.message), "");
      });
    });
    process.stdout.write(`listening ${address}\n`);
  });
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, () => {
      server.close(() => process.exit(0));
      server.closeAllConnections();
    });
  }
}

main();
