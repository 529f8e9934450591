// Verifies received webhooks with Glimpse's package, with that of Standard Webhooks, with Mux's, and with the snippets
// of the docs.
// Reads `{received: [{headers, body}], secrets}` and throws at the first webhook that is not as expected.

import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { verifyWebhook } from '@glimpse-video/client/server'
import Mux from '@mux/mux-node'

/** Turns the code block of the docs that begins with this line into a module with `shape`. */
async function snippet(first, shape = (code) => code) {
  const docs = await readFile(new URL('../../../docs/webhooks.md', import.meta.url), 'utf8')
  const block = docs.split('```').find((block) => block.split('\n')[1] === first)
  assert.ok(block, `docs/webhooks.md has a block that begins with ${first}`)
  const folder = await mkdtemp(join(tmpdir(), 'glimpse-'))
  try {
    const file = join(folder, 'snippet.mjs')
    await writeFile(file, shape(block.slice(block.indexOf('\n') + 1)))
    return await import(pathToFileURL(file))
  } finally {
    await rm(folder, { recursive: true })
  }
}

const { received, secrets } = JSON.parse(await text(process.stdin))
const { verify } = await snippet("import { createHmac, timingSafeEqual } from 'node:crypto'")
/** The two lines with the library as a function; the library is resolved from this file. */
const asFunction = (code) => {
  const [first, ...rest] = code.replace("'standardwebhooks'", `'${import.meta.resolve('standardwebhooks')}'`).split('\n')
  return `${first}\nexport function withLibrary(body, headers) {\n${rest.join('\n')}\nreturn event\n}`
}
const { withLibrary } = await snippet("import { Webhook } from 'standardwebhooks'", asFunction)
const mux = new Mux({ tokenId: 'none', tokenSecret: 'none' })
const other = 'whsec_' + Buffer.alloc(24, 7).toString('base64')

/** Each verification: `(body, headers, secret)`, throws if the signature is invalid. */
const ways = {
  standardwebhooks: (body, headers, secret) => {
    process.env.WEBHOOK_SECRET = secret
    return withLibrary(body, headers)
  },
  mux: (body, headers, secret) =>
    mux.webhooks.verifySignature(body, { 'mux-signature': headers['glimpse-signature'] }, secret),
  docs: verify,
  client: verifyWebhook,
  // Without the headers of Standard Webhooks.
  'client with the header of Mux': (body, headers, secret) =>
    verifyWebhook(body, { 'glimpse-signature': headers['glimpse-signature'] }, secret),
}

for (const { headers, body } of received) {
  for (const [name, way] of Object.entries(ways)) {
    for (const secret of secrets) {
      await way(body, headers, secret)
      await assert.rejects(async () => way(body + ' ', headers, secret), `${name}: another body`)
      await assert.rejects(async () => way(body, headers, other), `${name}: another secret`)
      const old = (stamp) => String(Number(stamp) - 600)
      const late = {
        ...headers,
        'webhook-timestamp': old(headers['webhook-timestamp']),
        'glimpse-signature': headers['glimpse-signature'].replace(/t=(\d+)/, (_, stamp) => `t=${old(stamp)}`),
      }
      await assert.rejects(async () => way(body, late, secret), `${name}: another time`)
    }
  }
  assert.deepEqual(verify(body, headers, secrets[0]), JSON.parse(body))
}
console.log(`verified ${received.length}`)
