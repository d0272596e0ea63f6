//! Requests and responses of attested recipients.

use hsm_protocol::command::attest::{
    Attest, AttestationRoots, Attested, Enveloped, For, Measured, Recipient, RootList,
};
use hsm_protocol::command::{agree, cipher, random};
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec};
use hsm_protocol::{Bytes, Opcode};

use crate::{CONTEXT, KEY, request, response};

const RECIPIENT: Recipient<'_> =
    Recipient { now_ms: 1_700_000_000_000, token: Bytes(b"recipient") };

#[test]
fn attestation_commands() {
    let b = &mut [0; 512];
    let roots = Bytes(&[0x4F; 64]);
    request(&AttestationRoots, b);
    response(Opcode::AttestationRoots, &RootList { roots }, b);
    request(&Attest { now_ms: 1_700_000_000_000, document: Bytes(b"document") }, b);
    let attested = Attested {
        module_id: "i-0123456789abcdef0-enc0123456789abcdef",
        timestamp_ms: 1_699_999_999_000,
        measured: Measured::NitroTpm,
        pcrs: Bytes(&[4, 3, 0xAA, 0xBB, 0xCC]),
        recipient: RECIPIENT.token,
        expires_ms: 1_700_000_300_000,
    };
    response(Opcode::Attest, &attested, b);
}

#[test]
fn commands_for_recipients() {
    let b = &mut [0; 512];
    let recipient = RECIPIENT;
    let blob = Bytes(b"blob");
    let request_of = cipher::Decrypt { key: KEY, context: CONTEXT, blob };
    request(&For { recipient, request: request_of }, b);
    let algorithm = EncryptionAlgorithm::RSAES_OAEP_SHA_256;
    let request_of = cipher::DecryptPrivate { key: KEY, algorithm, ciphertext: blob };
    request(&For { recipient, request: request_of }, b);
    let request_of = agree::DeriveSharedSecret { key: KEY, peer: Bytes(b"spki") };
    request(&For { recipient, request: request_of }, b);
    let request_of = cipher::GenerateDataKey { key: KEY, context: CONTEXT, length: 32 };
    request(&For { recipient, request: request_of }, b);
    let (spec, pair) = (KeySpec::RSA_2048, Bytes(b"pair".as_slice()));
    let request_of = cipher::GenerateDataKeyPair { key: KEY, context: CONTEXT, spec, pair };
    request(&For { recipient, request: request_of }, b);
    request(&For { recipient, request: random::Random { length: 300 } }, b);

    let secret = Enveloped { envelope: Bytes(b"cms"), blob: Bytes(b""), public: Bytes(b"") };
    let data_key = Enveloped { blob, ..secret };
    for opcode in [
        Opcode::DecryptFor,
        Opcode::DecryptPrivateFor,
        Opcode::DeriveSharedSecretFor,
        Opcode::RandomFor,
    ] {
        response(opcode, &secret, &mut [0; 64]);
    }
    response(Opcode::GenerateDataKeyFor, &data_key, b);
    let pair = Enveloped { public: Bytes(b"spki"), ..data_key };
    response(Opcode::GenerateDataKeyPairFor, &pair, b);
}
