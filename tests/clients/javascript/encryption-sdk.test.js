// The AWS Encryption SDK for JavaScript: envelope encryption with data keys from Strongroom.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'

import {
  AlgorithmSuiteIdentifier, AwsKmsMrkAwareSymmetricKeyringNode, CommitmentPolicy, KmsKeyringNode,
  NodeCachingMaterialsManager, buildClient, getClient, getLocalCryptographicMaterialsCache,
} from '@aws-crypto/client-node'
import * as kms from '@aws-sdk/client-kms'

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const client = new kms.KMS()
const encryptionContext = { tenant: 'blue', Zweck: 'Prüfung' }
const plaintext = randomBytes(100_000)
const make = async () => (await client.createKey({})).KeyMetadata.Arn

const assertOpens = async (keyring, sealed) => {
  const opened = await decrypt(keyring, sealed)
  assert.deepEqual(opened.plaintext, plaintext)
  const { encryptionContext: found } = opened.messageHeader
  for (const [name, value] of Object.entries(encryptionContext)) assert.equal(found[name], value)
}

for (const suiteId of [
  AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
]) {
  test(`${AlgorithmSuiteIdentifier[suiteId]}`, async () => {
    const [generatorKeyId, other, stranger] = [await make(), await make(), await make()]
    const both = new KmsKeyringNode({ generatorKeyId, keyIds: [other] })
    const { result } = await encrypt(both, plaintext, { encryptionContext, suiteId })
    for (const keyId of [generatorKeyId, other]) {
      await assertOpens(new KmsKeyringNode({ keyIds: [keyId] }), result)
    }
    await assert.rejects(decrypt(new KmsKeyringNode({ keyIds: [stranger] }), result))
    const changed = Buffer.from(result)
    changed[changed.length - 200] ^= 1
    await assert.rejects(decrypt(both, changed))
  })
}

test('keyrings that discover their key keep to their filter', async () => {
  const generatorKeyId = await make()
  const sealing = new KmsKeyringNode({ generatorKeyId })
  const { result } = await encrypt(sealing, plaintext, { encryptionContext })
  const discovering = (accountID) => new KmsKeyringNode({
    discovery: true, discoveryFilter: { accountIDs: [accountID], partition: 'aws' },
  })
  await assertOpens(discovering('000000000000'), result)
  await assert.rejects(decrypt(discovering('111122223333'), result))
})

test('the keyring for multi-Region keys takes others too', async () => {
  const keyring = new AwsKmsMrkAwareSymmetricKeyringNode({ keyId: await make(), client })
  const { result } = await encrypt(keyring, plaintext, { encryptionContext })
  await assertOpens(keyring, result)
})

test('the cache saves calls', async () => {
  const generatorKeyId = await make()
  let calls = 0
  const counted = getClient(kms.KMS, {})
  const clientProvider = (region) => {
    const counting = counted(region)
    counting.middlewareStack.add((next) => (input) => { calls += 1; return next(input) })
    return counting
  }
  const materials = new NodeCachingMaterialsManager({
    backingMaterials: new KmsKeyringNode({ generatorKeyId, clientProvider }),
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 600_000,
    maxMessagesEncrypted: 3,
  })
  for (let count = 0; count < 6; count++) {
    const { result } = await encrypt(materials, plaintext, { encryptionContext, plaintextLength: plaintext.length })
    await assertOpens(new KmsKeyringNode({ keyIds: [generatorKeyId] }), result)
  }
  assert.equal(calls, 2)
})
