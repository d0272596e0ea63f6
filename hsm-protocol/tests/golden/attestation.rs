//! Requests and responses of attested recipients, and what a device attests itself.

use hsm_protocol::attestation::{
    Claims, DomainClaims, KeyClaims, MAX_CLAIMS, MAX_STATEMENT, Measurement, Signed, cose,
};
use hsm_protocol::command::attest::{
    Attest, AttestationRoots, Attested, Enveloped, For, Measured, Recipient, RootList,
};
use hsm_protocol::command::{agree, cipher, random};
use hsm_protocol::domain::{Certificate, DeviceKind, Issued, Kind, Rule, certificate};
use hsm_protocol::identity::{IdentityDocument, PublicKey, Signature};
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, KeyUsage, Origin};
use hsm_protocol::token::History;
use hsm_protocol::{Bytes, Opcode};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

use crate::{CONTEXT, DOMAIN, ID, KEY, MATERIAL, golden, request, response};

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

/// What other tools check: a device CA, a device's certificate and a statement about a key, all of them truly
/// signed. `docs/attestation.md` has the same bytes.
#[test]
fn a_whole_statement() {
    let key = |byte| SecretKey::from_slice(&[byte; 32]).unwrap();
    let public = |byte| PublicKey::from_point(&key(byte).public_key());
    let sign = |byte, digest: &[u8; 32]| {
        let signature: p256::ecdsa::Signature =
            SigningKey::from(key(byte)).sign_prehash(digest).unwrap();
        Signature::from_bytes(&signature.to_bytes().into())
    };
    let sha256 = |message: &[u8]| -> [u8; 32] { Sha256::digest(message).into() };
    let (ca, signing, link, join) = (public(1), public(2), public(3), public(4));
    let signature = sign(2, &sha256(&IdentityDocument::message(&signing, &link, &join)));
    let identity = IdentityDocument { signing, link, join, signature };
    assert_eq!(identity.verify(), Ok(()));
    let root = certificate::root_message(&ca).unwrap();
    let root = certificate::root(&ca, &sign(1, &sha256(&root))).unwrap();
    golden("vector-device-ca", &root);
    let kind = DeviceKind::Hardware;
    let body = Certificate::message(&ca, &identity, kind).unwrap();
    let certificate = Certificate { kind, signature: sign(1, &sha256(&body)) };
    assert_eq!(certificate.verify(&ca, &identity), Ok(()));
    let certificate = certificate.to_der(&ca, &identity).unwrap();
    golden("vector-device-certificate", &certificate);

    let point = public(5).to_uncompressed().unwrap();
    let spki = [&SPKI[..], &point].concat();
    let claims = Claims {
        nonce: b"chosen by the verifier",
        device: signing.device_id(),
        kind,
        board: "board",
        firmware: "0.1.0",
        measurement: Some(Measurement(sha256(b"a firmware image"))),
        boot: 7,
        domain: Some(DomainClaims {
            id: DOMAIN,
            kind: Kind::Production,
            state: [0x57; 32],
            version: 3,
            soft_members: 0,
        }),
        key: Some(KeyClaims {
            id: ID,
            material: MATERIAL,
            spec: KeySpec::ECC_NIST_P256,
            usage: KeyUsage::SIGN_VERIFY,
            origin: Origin::AWS_KMS,
            domain_key: 1,
            history: History::CLEAN,
            approval: Some(Rule { total: 2, officers: 1 }),
            public: &spki,
        }),
    };
    let mut encoded = [0; MAX_CLAIMS];
    let length = claims.encode(&mut encoded).unwrap();
    let encoded = &encoded[..length];
    let signature = sign(2, &cose::digest(encoded).unwrap());
    let device = signing.device_id();
    let signed = Signed { device, certificate: Some(&certificate), claims: encoded, signature };
    let mut statement = [0; MAX_STATEMENT];
    let length = signed.write(&mut statement).unwrap();
    let statement = &statement[..length];
    golden("vector-statement", statement);
    let read = Signed::parse(statement).unwrap();
    let issued = Issued::read(read.certificate.unwrap(), &ca).unwrap();
    assert_eq!(issued.kind, kind);
    assert_eq!(read.verify(&issued.signing).unwrap(), claims);
    let documented = include_str!("../../../docs/attestation.md");
    for name in ["vector-device-ca", "vector-device-certificate", "vector-statement"] {
        let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        assert!(documented.contains(&std::fs::read_to_string(path).unwrap()), "{name}");
    }
}

/// Before the point of a `SubjectPublicKeyInfo` of P-256.
const SPKI: [u8; 26] = hex_literal::hex!("3059301306072a8648ce3d020106082a8648ce3d030107034200");
