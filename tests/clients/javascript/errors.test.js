// Errors by their classes, and what the SDK does about those that pass.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as kms from '@aws-sdk/client-kms'

const client = new kms.KMSClient()
const call = (name, input = {}) => client.send(new kms[`${name}Command`](input))
const make = async (input) => (await call('CreateKey', input)).KeyMetadata.KeyId

/** Expects the class of an error and its text; the SDK has filled in the rest. */
const refused = async (answer, kind, text) => {
  const error = await answer.then(() => assert.fail('the call succeeded'), (reason) => reason)
  assert(error instanceof kind, `${error.name}: ${error.message}`)
  assert(error instanceof kms.KMSServiceException)
  assert.equal(error.$metadata.httpStatusCode, 400)
  assert.equal(error.$fault, 'client')
  assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/)
  if (text) assert.match(error.message, text)
  return error
}

test('modelled errors have classes', async () => {
  const KeyId = await make()
  const signing = await make({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
  const AliasName = `alias/${KeyId}`
  const Plaintext = Buffer.from('m')
  await call('CreateAlias', { AliasName, TargetKeyId: KeyId })
  const { CiphertextBlob } = await call('Encrypt', { KeyId, Plaintext })

  const alias = { AliasName, TargetKeyId: KeyId }
  await refused(call('CreateAlias', alias), kms.AlreadyExistsException, /already exists/)
  const absent = { KeyId: 'alias/absent' }
  await refused(call('DescribeKey', absent), kms.NotFoundException, /alias\/absent is not found/)
  await refused(call('DescribeKey', { KeyId: 'arn:aws:kms' }), kms.InvalidArnException)
  const wrongUse = call('Encrypt', { KeyId: signing, Plaintext })
  await refused(wrongUse, kms.InvalidKeyUsageException)
  const other = await make()
  await refused(call('Decrypt', { CiphertextBlob, KeyId: other }), kms.IncorrectKeyException)
  const damaged = Buffer.from(CiphertextBlob)
  damaged[damaged.length - 1] ^= 1
  await refused(call('Decrypt', { CiphertextBlob: damaged }), kms.InvalidCiphertextException)
  const dry = call('Encrypt', { KeyId, Plaintext, DryRun: true })
  await refused(dry, kms.DryRunOperationException)
  const GrantTokens = ['none']
  const token = call('Encrypt', { KeyId, Plaintext, GrantTokens })
  await refused(token, kms.InvalidGrantTokenException)
  await refused(call('PutKeyPolicy', { KeyId, Policy: '{' }), kms.MalformedPolicyDocumentException)
  const Tags = [{ TagKey: 'aws:x', TagValue: '' }]
  await refused(call('TagResource', { KeyId, Tags }), kms.TagException)
  await refused(call('ListKeys', { Marker: 'x' }), kms.InvalidMarkerException)
  await refused(call('EnableKeyRotation', { KeyId: signing }), kms.UnsupportedOperationException)
  const store = call('DeleteCustomKeyStore', { CustomKeyStoreId: 'cks-1' })
  await refused(store, kms.CustomKeyStoreNotFoundException)
})

test('errors that no operation models have names', async () => {
  const invalid = call('GenerateRandom', { NumberOfBytes: 1025 })
  const text = /^1 validation error detected: .*'numberOfBytes'/
  const error = await refused(invalid, kms.KMSServiceException, text)
  assert.equal(error.name, 'ValidationException')

  const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'x'.repeat(40) }
  const stranger = new kms.KMSClient({ credentials })
  const unknown = stranger.send(new kms.ListKeysCommand({}))
  const { name } = await refused(unknown, kms.KMSServiceException, /security token/)
  assert.equal(name, 'UnrecognizedClientException')
})

// The daemon of this test takes one of these in two seconds.
test('what is throttled is tried again', async () => {
  const ask = (maxAttempts) => {
    const asking = new kms.KMSClient({ maxAttempts })
    return () => asking.send(new kms.DescribeCustomKeyStoresCommand({}))
  }
  const impatient = await Promise.allSettled(Array.from({ length: 16 }, ask(1)))
  const failed = impatient.filter(({ status }) => status === 'rejected')
  assert(failed.length > 0, 'nothing was throttled')
  for (const { reason } of failed) {
    assert.equal(reason.name, 'ThrottlingException')
    assert.match(reason.message, /You have exceeded the rate at which you may call KMS/)
    assert.equal(reason.$metadata.attempts, 1)
  }
  const patient = await Promise.all(Array.from({ length: 4 }, ask(20)))
  assert(patient.some(({ $metadata }) => $metadata.attempts > 1), 'nothing was tried again')
})
