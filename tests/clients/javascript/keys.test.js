// The life of a key of each kind, by the AWS SDK for JavaScript; what it makes is held against
// Node's own cryptography.

import assert from 'node:assert/strict'
import * as crypto from 'node:crypto'
import { test } from 'node:test'

import * as kms from '@aws-sdk/client-kms'

const client = new kms.KMSClient()
const MESSAGE = Buffer.from('what is signed, sealed or authenticated\0')
const CONTEXT = { Purpose: 'test', Zweck: 'Prüfung' }

/** Sends a command by its name. */
const call = (name, input = {}) => client.send(new kms[`${name}Command`](input))

/** The public half of a key, as Node takes it. */
const publicKey = async (KeyId) => {
  const { PublicKey } = await call('GetPublicKey', { KeyId })
  return crypto.createPublicKey({ key: Buffer.from(PublicKey), format: 'der', type: 'spki' })
}

/** Signs, and has the signature verified by the service, which takes no other message with it. */
const sign = async (KeyId, SigningAlgorithm) => {
  const input = { KeyId, Message: MESSAGE, SigningAlgorithm }
  const { Signature } = await call('Sign', input)
  assert.equal((await call('Verify', { ...input, Signature })).SignatureValid, true)
  const changed = call('Verify', { ...input, Message: MESSAGE.subarray(1), Signature })
  await assert.rejects(changed, kms.KMSInvalidSignatureException)
  return Signature
}

const encryptSymmetric = async (KeyId) => {
  const sealed = await call('Encrypt', { KeyId, Plaintext: MESSAGE, EncryptionContext: CONTEXT })
  assert(sealed.CiphertextBlob instanceof Uint8Array)
  const { CiphertextBlob } = sealed
  const opened = await call('Decrypt', { CiphertextBlob, EncryptionContext: CONTEXT })
  assert.deepEqual(Buffer.from(opened.Plaintext), MESSAGE)
  await assert.rejects(call('Decrypt', { CiphertextBlob }), kms.InvalidCiphertextException)

  const moved = await call('ReEncrypt', {
    CiphertextBlob, SourceEncryptionContext: CONTEXT, DestinationKeyId: KeyId,
  })
  const again = await call('Decrypt', { CiphertextBlob: moved.CiphertextBlob })
  assert.deepEqual(again.Plaintext, opened.Plaintext)

  const data = await call('GenerateDataKey', { KeyId, KeySpec: 'AES_256' })
  const key = await call('Decrypt', { CiphertextBlob: data.CiphertextBlob })
  assert.deepEqual(key.Plaintext, data.Plaintext)
  const pair = await call('GenerateDataKeyPair', { KeyId, KeyPairSpec: 'ECC_NIST_P256' })
  const der = { format: 'der', type: 'pkcs8' }
  const own = crypto.createPrivateKey({ key: Buffer.from(pair.PrivateKeyPlaintext), ...der })
  const spki = crypto.createPublicKey(own).export({ format: 'der', type: 'spki' })
  assert.deepEqual(spki, Buffer.from(pair.PublicKey))

  const before = await call('DescribeKey', { KeyId })
  await call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 })
  const status = await call('GetKeyRotationStatus', { KeyId })
  const days = (status.NextRotationDate - before.KeyMetadata.CreationDate) / 86_400_000
  assert(Math.abs(days - 90) < 0.1, `${days} days`)
  await call('RotateKeyOnDemand', { KeyId })
  const after = await call('DescribeKey', { KeyId })
  const material = ({ KeyMetadata }) => KeyMetadata.CurrentKeyMaterialId
  assert.notEqual(material(after), material(before))
}

const encryptRsa = async (KeyId) => {
  const key = await publicKey(KeyId)
  for (const size of [1, 256]) {
    const EncryptionAlgorithm = `RSAES_OAEP_SHA_${size}`
    const oaepHash = `sha${size}`
    const padding = crypto.constants.RSA_PKCS1_OAEP_PADDING
    const outside = crypto.publicEncrypt({ key, oaepHash, padding }, MESSAGE)
    const inside = await call('Encrypt', { KeyId, Plaintext: MESSAGE, EncryptionAlgorithm })
    for (const CiphertextBlob of [outside, inside.CiphertextBlob]) {
      const opened = await call('Decrypt', { KeyId, CiphertextBlob, EncryptionAlgorithm })
      assert.deepEqual(Buffer.from(opened.Plaintext), MESSAGE)
    }
  }
}

const signRsa = async (KeyId) => {
  const key = await publicKey(KeyId)
  for (const size of [256, 384, 512]) {
    const pss = { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: size / 8 }
    const pkcs1 = { padding: crypto.constants.RSA_PKCS1_PADDING }
    for (const [scheme, options] of [['PSS', pss], ['PKCS1_V1_5', pkcs1]]) {
      const signature = await sign(KeyId, `RSASSA_${scheme}_SHA_${size}`)
      assert(crypto.verify(`sha${size}`, MESSAGE, { key, ...options }, signature), scheme)
    }
  }
}

const signEcdsa = (size) => async (KeyId) => {
  const signature = await sign(KeyId, `ECDSA_SHA_${size}`)
  assert(crypto.verify(`sha${size}`, MESSAGE, await publicKey(KeyId), signature))
}

const signEd25519 = async (KeyId) => {
  const signature = await sign(KeyId, 'ED25519_SHA_512')
  assert(crypto.verify(null, MESSAGE, await publicKey(KeyId), signature))
}

const signMlDsa = (size) => async (KeyId) => {
  assert.equal((await sign(KeyId, 'ML_DSA_SHAKE_256')).length, size)
}

const authenticate = (size) => async (KeyId) => {
  const input = { KeyId, Message: MESSAGE, MacAlgorithm: `HMAC_SHA_${size}` }
  const { Mac } = await call('GenerateMac', input)
  assert.equal(Mac.length, size / 8)
  assert.equal((await call('VerifyMac', { ...input, Mac })).MacValid, true)
  Mac[0] ^= 1
  await assert.rejects(call('VerifyMac', { ...input, Mac }), kms.KMSInvalidMacException)
}

const agree = (namedCurve) => async (KeyId) => {
  const own = crypto.generateKeyPairSync('ec', { namedCurve })
  const PublicKey = own.publicKey.export({ format: 'der', type: 'spki' })
  const input = { KeyId, KeyAgreementAlgorithm: 'ECDH', PublicKey }
  const { SharedSecret } = await call('DeriveSharedSecret', input)
  const { privateKey } = own
  const ours = crypto.diffieHellman({ privateKey, publicKey: await publicKey(KeyId) })
  assert.deepEqual(Buffer.from(SharedSecret), ours)
}

const encapsulate = async (KeyId) => {
  const input = { KeyId, EncapsulationAlgorithm: 'ML_KEM' }
  const { SharedSecret, SharedSecretCiphertextBlob } = await call('Encapsulate', input)
  const opened = await call('Decapsulate', { ...input, SharedSecretCiphertextBlob })
  assert.deepEqual(opened.SharedSecret, SharedSecret)
}

// Each way to use a key, of each spec that has one; of RSA the quickest to find.
const KINDS = [
  ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', encryptSymmetric],
  ['RSA_2048', 'ENCRYPT_DECRYPT', encryptRsa],
  ['RSA_2048', 'SIGN_VERIFY', signRsa],
  ['ECC_NIST_P256', 'SIGN_VERIFY', signEcdsa(256)],
  ['ECC_NIST_P384', 'SIGN_VERIFY', signEcdsa(384)],
  ['ECC_NIST_P521', 'SIGN_VERIFY', signEcdsa(512)],
  ['ECC_SECG_P256K1', 'SIGN_VERIFY', signEcdsa(256)],
  ['ECC_NIST_EDWARDS25519', 'SIGN_VERIFY', signEd25519],
  ['ML_DSA_44', 'SIGN_VERIFY', signMlDsa(2420)],
  ['ML_DSA_65', 'SIGN_VERIFY', signMlDsa(3309)],
  ['ML_DSA_87', 'SIGN_VERIFY', signMlDsa(4627)],
  ['ECC_NIST_P256', 'KEY_AGREEMENT', agree('P-256')],
  ['ECC_NIST_P384', 'KEY_AGREEMENT', agree('P-384')],
  ['ECC_NIST_P521', 'KEY_AGREEMENT', agree('P-521')],
  ['HMAC_224', 'GENERATE_VERIFY_MAC', authenticate(224)],
  ['HMAC_256', 'GENERATE_VERIFY_MAC', authenticate(256)],
  ['HMAC_384', 'GENERATE_VERIFY_MAC', authenticate(384)],
  ['HMAC_512', 'GENERATE_VERIFY_MAC', authenticate(512)],
  ['ML_KEM_512', 'ENCAPSULATE_DECAPSULATE', encapsulate],
  ['ML_KEM_768', 'ENCAPSULATE_DECAPSULATE', encapsulate],
  ['ML_KEM_1024', 'ENCAPSULATE_DECAPSULATE', encapsulate],
]

for (const [KeySpec, KeyUsage, use] of KINDS) {
  test(`${KeySpec} to ${KeyUsage}`, async () => {
    const Tags = [{ TagKey: 'made', TagValue: 'by a test' }]
    const before = Date.now()
    const made = await call('CreateKey', { KeySpec, KeyUsage, Tags, Description: 'a life' })
    const { KeyId, Arn, CreationDate } = made.KeyMetadata
    assert(CreationDate instanceof Date && CreationDate >= before - 1000 && CreationDate <= Date.now())
    assert.match(made.$metadata.requestId, /^[0-9a-f-]{36}$/)

    const AliasName = `alias/javascript/${KeyId}`
    await call('CreateAlias', { AliasName, TargetKeyId: KeyId })
    const aliasArn = Arn.replace(/key\/.*/, AliasName)
    for (const form of [KeyId, Arn, AliasName, aliasArn]) {
      const { KeyMetadata } = await call('DescribeKey', { KeyId: form })
      assert.deepEqual(KeyMetadata, made.KeyMetadata)
    }
    assert.deepEqual((await call('ListResourceTags', { KeyId })).Tags, Tags)

    await use(KeyId)

    await call('DisableKey', { KeyId })
    await assert.rejects(use(KeyId), kms.DisabledException)
    await call('EnableKey', { KeyId })
    const { DeletionDate, KeyState } = await call('ScheduleKeyDeletion', { KeyId })
    assert.equal(KeyState, 'PendingDeletion')
    assert(Math.abs((DeletionDate - Date.now()) / 86_400_000 - 30) < 0.1)
    await assert.rejects(use(KeyId), kms.KMSInvalidStateException)
    await call('CancelKeyDeletion', { KeyId })
    const { KeyMetadata } = await call('DescribeKey', { KeyId })
    assert.deepEqual([KeyMetadata.KeyState, KeyMetadata.Enabled], ['Disabled', false])
    await call('DeleteAlias', { AliasName })
  })
}

test('every usage that the SDK knows has a kind', () => {
  const known = new Set(Object.values(kms.KeyUsageType))
  assert.deepEqual(new Set(KINDS.map(([, usage]) => usage)), known)
})

test('paginators see every key once', async () => {
  const made = new Set()
  for (let count = 0; count < 5; count++) {
    made.add((await call('CreateKey')).KeyMetadata.KeyId)
  }
  const listed = []
  for await (const page of kms.paginateListKeys({ client, pageSize: 2 }, {})) {
    assert(page.Keys.length <= 2)
    listed.push(...page.Keys.map((key) => key.KeyId))
  }
  assert.equal(new Set(listed).size, listed.length)
  assert.deepEqual(listed.filter((key) => made.has(key)).length, 5)
})
