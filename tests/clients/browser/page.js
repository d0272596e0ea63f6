// Runs in a browser: the AWS SDK for JavaScript and the AWS Encryption SDK for browsers, from an
// origin that is not the service's. What happened is posted to the test.

import {
  AlgorithmSuiteIdentifier, CommitmentPolicy, KmsKeyringBrowser, WebCryptoCachingMaterialsManager, buildClient,
  getClient, getLocalCryptographicMaterialsCache,
} from '@aws-crypto/client-browser'
import * as sdk from '@aws-sdk/client-kms'

const assert = (condition, text) => {
  if (!condition) throw new Error(text)
}
const equal = (found, wanted) =>
  assert(JSON.stringify(found) === JSON.stringify(wanted), `${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`)
const rejected = async (promise, name) => {
  const error = await promise.then(() => undefined, (error) => error)
  assert(error, `it worked, wanted ${name}`)
  equal(error.name, name)
  return error
}
const text = (value) => new TextEncoder().encode(value)
const bytes = (value) => Array.from(value)

// What a page can do that the service lets in.
const welcome = ({ kms, endpoint, region, credentials }) => ({
  'the AWS SDK': async () => {
    const { KeyMetadata: key, $metadata } = await kms.createKey({ Description: 'from a browser' })
    assert(/^[0-9a-f-]{36}$/.test($metadata.requestId), `request id ${$metadata.requestId}`)
    const EncryptionContext = { stage: 'Prüfung' }
    const sealed = await kms.encrypt({ KeyId: key.Arn, Plaintext: text('in a page'), EncryptionContext })
    const { CiphertextBlob } = sealed
    equal(bytes((await kms.decrypt({ CiphertextBlob, EncryptionContext })).Plaintext), bytes(text('in a page')))
    await rejected(kms.decrypt({ CiphertextBlob }), 'InvalidCiphertextException')
  },

  'refusals can be read': async () => {
    const KeyId = '00000000-0000-4000-8000-000000000000'
    const error = await rejected(kms.describeKey({ KeyId }), 'NotFoundException')
    assert(error.message.includes(KeyId), error.message)
    equal(error.$metadata.httpStatusCode, 400)
    assert(error.$metadata.requestId, 'a refusal has its request id')
    const wrong = { ...credentials, secretAccessKey: 'w'.repeat(40) }
    const stranger = new sdk.KMS({ endpoint, region, credentials: wrong, maxAttempts: 1 })
    await rejected(stranger.listKeys({}), 'InvalidSignatureException')
  },

  'a signature that the browser checks': async () => {
    const made = await kms.createKey({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
    const { KeyId } = made.KeyMetadata
    const Message = text('signed by the service')
    const { Signature } = await kms.sign({ KeyId, Message, SigningAlgorithm: 'ECDSA_SHA_256' })
    const { PublicKey } = await kms.getPublicKey({ KeyId })
    const curve = { name: 'ECDSA', namedCurve: 'P-256' }
    const key = await crypto.subtle.importKey('spki', PublicKey, curve, false, ['verify'])
    assert(await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, plain(Signature), Message), 'not verified')
  },

  'the Encryption SDK': async () => {
    const make = async () => (await kms.createKey({})).KeyMetadata.Arn
    const [generatorKeyId, other, stranger] = [await make(), await make(), await make()]
    const clientProvider = getClient(sdk.KMS, { endpoint, credentials })
    const keyring = (...keyIds) => new KmsKeyringBrowser({ clientProvider, keyIds })
    const both = new KmsKeyringBrowser({ clientProvider, generatorKeyId, keyIds: [other] })
    const plaintext = crypto.getRandomValues(new Uint8Array(50_000))
    const encryptionContext = { tenant: 'blue', Zweck: 'Prüfung' }
    const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    for (const suiteId of [
      AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
      AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    ]) {
      const { result } = await encrypt(both, plaintext, { encryptionContext, suiteId })
      for (const keyId of [generatorKeyId, other]) {
        const opened = await decrypt(keyring(keyId), result)
        equal(bytes(opened.plaintext), bytes(plaintext))
        equal(opened.messageHeader.encryptionContext.Zweck, 'Prüfung')
      }
      assert(await decrypt(keyring(stranger), result).then(() => false, () => true), 'another key opens it')
      const changed = result.slice()
      changed[changed.length - 200] ^= 1
      assert(await decrypt(both, changed).then(() => false, () => true), 'changed, and yet it opens')
    }
  },

  'data keys that are kept': async () => {
    const generatorKeyId = (await kms.createKey({})).KeyMetadata.Arn
    const backingMaterials = new KmsKeyringBrowser({ clientProvider: getClient(sdk.KMS, { endpoint, credentials }), generatorKeyId })
    const cache = getLocalCryptographicMaterialsCache(10)
    const manager = new WebCryptoCachingMaterialsManager({ backingMaterials, cache, maxAge: 60_000 })
    const { encrypt, decrypt } = buildClient()
    const plaintext = text('kept')
    const { result } = await encrypt(manager, plaintext, { plaintextLength: plaintext.length })
    equal(bytes((await decrypt(manager, result)).plaintext), bytes(plaintext))
    await kms.disableKey({ KeyId: generatorKeyId })
    const again = await encrypt(manager, plaintext, { plaintextLength: plaintext.length })
    for (const sealed of [result, again.result]) equal(bytes((await decrypt(manager, sealed)).plaintext), bytes(plaintext))
  },
})

// What a page can do that it does not: the browser lets it see nothing.
const unwelcome = ({ kms, endpoint }) => ({
  'the AWS SDK gets no answer': async () => {
    await rejected(kms.listKeys({}), 'TypeError')
  },
  'the readiness page is not for other origins': async () => {
    await rejected(fetch(`${endpoint}/healthz`), 'TypeError')
  },
})

// DER of a signature to the fixed size that Web Crypto takes.
const plain = (signature) => {
  const out = new Uint8Array(64)
  let at = 2
  for (const half of [0, 1]) {
    const length = signature[at + 1]
    const number = signature.subarray(at + 2, at + 2 + length)
    const digits = number.subarray(Math.max(0, length - 32))
    out.set(digits, half * 32 + 32 - digits.length)
    at += 2 + length
  }
  return out
}

const results = {}
try {
  const configuration = await (await fetch('/configuration')).json()
  const { endpoint, region, credentials, allowed } = configuration
  // A retry would hide a request that failed.
  const kms = new sdk.KMS({ endpoint, region, credentials, maxAttempts: 1 })
  const cases = (allowed ? welcome : unwelcome)({ kms, endpoint, region, credentials })
  for (const [name, run] of Object.entries(cases)) {
    results[name] = await run().then(() => 'passed', (error) => `${error?.name}: ${error?.message}\n${error?.stack}`)
  }
} catch (error) {
  results.page = `${error}\n${error?.stack}`
}
await fetch('/result', { method: 'POST', body: JSON.stringify(results) })
