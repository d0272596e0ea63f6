//! What leaves the device for storage.

use std::fmt::Debug;

use hsm_protocol::ErrorCode;
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::domain::Rule;
use hsm_protocol::id::{DeviceId, DomainId};
use hsm_protocol::identity::{PublicKey, Signature};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin, WrappingAlgorithm};
use hsm_protocol::token::recovery::{
    self, Backup, BackupHeader, Handover, HandoverHeader, Share, ShareHeader,
};
use hsm_protocol::token::replica::{ReplicaAttributes, ReplicaToken};
use hsm_protocol::token::sealed::{
    AttestedRecipient, Attributes, GuardedPair, ImportToken, PairPurpose, PreparedPair, Sealed,
};
use hsm_protocol::token::{Blob, DomainToken, History, KeyAttributes, KeyToken, context};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

use crate::{DEVICE, DOMAIN, ID, MATERIAL, MRK, PUBLIC, SIGNATURE, golden};

/// Version 1, which no device makes any more and each reads.
#[test]
fn key_token_of_the_first_version() {
    let parts: [&[u8]; 8] = [
        &[0x11],
        DOMAIN.as_bytes(),
        &0x0102_0304_u32.to_le_bytes(),
        &MRK.to_bytes(),
        MATERIAL.as_bytes(),
        &[1, 1, 1],
        &[0x0E; 16],
        &[0x5E; 48],
    ];
    let token = parts.concat();
    golden("key-token", &token);
    let read = KeyToken::parse(&token).unwrap();
    let attributes = KeyAttributes { history: History::UNKNOWN, approval: None, ..ATTRIBUTES };
    assert_eq!((read.attributes, read.header.len()), (attributes, KeyToken::HEADER_SIZE_V1));
    let mut imported = token.clone();
    imported[KeyToken::HEADER_SIZE_V1 - 17] = Origin::EXTERNAL.0;
    let history = KeyToken::parse(&imported).unwrap().attributes.history;
    assert!(history.contains(History::IMPORTED) && history.contains(History::UNKNOWN));
}

const ATTRIBUTES: KeyAttributes = KeyAttributes {
    domain: DOMAIN,
    domain_key: 0x0102_0304,
    key: MRK,
    material: MATERIAL,
    spec: KeySpec::SYMMETRIC_DEFAULT,
    usage: KeyUsage::ENCRYPT_DECRYPT,
    origin: Origin::AWS_KMS,
    history: History::BOUND_LATER,
    approval: Some(Rule { total: 3, officers: 1 }),
};

#[test]
fn key_token() {
    let mut token = [0x5E; KeyToken::HEADER_SIZE + 48];
    let (header, sealed) = ATTRIBUTES.write(&[0x0E; 16], &mut token).unwrap();
    assert_eq!((header.len(), sealed.len()), (KeyToken::HEADER_SIZE, 48));
    golden("key-token-v2", &token);
    let read = KeyToken::parse(&token).unwrap();
    assert_eq!(read.attributes, ATTRIBUTES);
    assert_eq!((read.nonce, read.sealed), (&[0x0E; 16], &[0x5E; 48][..]));
    let long = [&token[..], &[0; KeyToken::MAX_SIZE]].concat();
    for bad in [&token[..token.len() - 48], &long, &[]] {
        assert_eq!(KeyToken::parse(bad), Err(ErrorCode::TOKEN_MALFORMED));
    }
    // A history and a rule that this version does not know.
    let rule = KeyToken::HEADER_SIZE - 18;
    for (at, value) in [(rule - 1, 0x80), (rule, 0), (rule + 1, 4)] {
        let mut bad = token;
        bad[at] = value;
        assert_eq!(KeyToken::parse(&bad), Err(ErrorCode::TOKEN_MALFORMED), "{at}");
    }
    let free = KeyAttributes { approval: None, history: History::CLEAN, ..ATTRIBUTES };
    free.write(&[0x0E; 16], &mut token).unwrap();
    assert_eq!(KeyToken::parse(&token).unwrap().attributes, free);
}

#[test]
fn replica_token() {
    let attributes = ReplicaAttributes {
        source: (DOMAIN, 0x0102_0304),
        target: (DomainId([0xD1; 16]), 5),
        key: MRK,
        material: MATERIAL,
        spec: KeySpec::RSA_3072,
        usage: KeyUsage::SIGN_VERIFY,
        origin: Origin::EXTERNAL,
    };
    let mut token = [0x5E; ReplicaToken::HEADER_SIZE + 48];
    let (header, sealed) = attributes.write(&PUBLIC, &mut token).unwrap();
    assert_eq!((header.len(), sealed.len()), (ReplicaToken::HEADER_SIZE, 48));
    golden("replica-token", &token);
    let read = ReplicaToken::parse(&token).unwrap();
    assert_eq!(read.attributes, attributes);
    assert_eq!((read.ephemeral, read.sealed), (PUBLIC, &[0x5E; 48][..]));
    let long = [&token[..], &[0; ReplicaToken::MAX_SIZE]].concat();
    for bad in [&token[..token.len() - 48], &long, &[]] {
        assert_eq!(ReplicaToken::parse(bad), Err(ErrorCode::TOKEN_MALFORMED));
    }
}

#[test]
fn blob() {
    let mut out = [0; 32 + Blob::OVERHEAD];
    let parts = Blob::write(ID, &MATERIAL, &[0x0E; 16], &[0x1F; 12], 32, &mut out).unwrap();
    parts.body.fill(0xC7);
    parts.tag.fill(0x7A);
    golden("blob", &out);
    assert_eq!(out.len(), 126, "32 bytes encrypted must stay under 150");
    let read = Blob::parse(&out).unwrap();
    assert_eq!((read.key, read.material, read.iv), (ID, MATERIAL, &[0x1F; 12]));
    assert_eq!(read.sealed.len(), 48);
    assert_eq!(Blob::parse(&out[..Blob::OVERHEAD]), Err(ErrorCode::CIPHERTEXT_INVALID));
    let mut flag = out;
    flag[1] = 2;
    assert_eq!(Blob::parse(&flag), Err(ErrorCode::CIPHERTEXT_INVALID));
}

#[test]
fn sealed_tokens() {
    fn check<A: Attributes + Copy + PartialEq + Debug>(name: &str, attributes: A) {
        let mut out = [0x5E; 200];
        let nonce = [0x0E; 16];
        let (_, rest) =
            Sealed::write_header(&DOMAIN, 0x0102_0304, &attributes, &nonce, &mut out).unwrap();
        rest[32..48].fill(0x7A);
        let length = Sealed::<A>::HEADER_SIZE + 48;
        golden(name, &out[..length]);
        let read = Sealed::<A>::parse(&out[..length]).unwrap();
        assert_eq!((read.domain, read.domain_key), (DOMAIN, 0x0102_0304));
        assert_eq!((read.attributes, read.nonce), (attributes, &nonce));
        assert_eq!(read.sealed.len(), 48);
        for cut in [0, 1, Sealed::<A>::HEADER_SIZE + 15] {
            assert_eq!(Sealed::<A>::parse(&out[..cut]), Err(ErrorCode::TOKEN_MALFORMED));
        }
        out[0] ^= 1;
        assert_eq!(Sealed::<A>::parse(&out[..length]), Err(ErrorCode::TOKEN_MALFORMED));
    }
    check(
        "prepared-pair-v2",
        PreparedPair { spec: KeySpec::RSA_4096, purpose: PairPurpose::DATA_KEY_PAIR },
    );
    check(
        "guarded-pair",
        GuardedPair { spec: KeySpec::RSA_2048, rule: Rule { total: 3, officers: 1 } },
    );
    check("attested-recipient", AttestedRecipient { expires_ms: 1_800_000_000_000 });
    check(
        "import-token",
        ImportToken {
            key: MRK,
            spec: KeySpec::HMAC_512,
            usage: KeyUsage::GENERATE_VERIFY_MAC,
            wrapping: KeySpec::RSA_3072,
            algorithm: WrappingAlgorithm::RSAES_OAEP_SHA_256,
            expires_ms: 1_800_000_000_000,
        },
    );
}

#[test]
fn domain_token() {
    let mut out = [0x5E; DomainToken::OVERHEAD + 100];
    let joiner = DeviceId([0x10; 16]);
    DomainToken::write_header(&DOMAIN, 7, &DEVICE, &joiner, &PUBLIC, &mut out).unwrap();
    let start = out.len() - Signature::SIZE;
    out[start..].copy_from_slice(&SIGNATURE.to_bytes());
    golden("domain-token", &out);
    let read = DomainToken::parse(&out).unwrap();
    assert_eq!((read.domain, read.version), (DOMAIN, 7));
    assert_eq!((read.exporter, read.joiner, read.ephemeral), (DEVICE, joiner, PUBLIC));
    assert_eq!((read.sealed.len(), read.signature), (116, SIGNATURE));
    assert_eq!(DomainToken::parse(&out[..100]), Err(ErrorCode::DOMAIN_TOKEN_INVALID));
}

#[test]
fn encryption_context() {
    let pairs: [(&[u8], &[u8]); 2] = [(b"purpose", b"test"), (b"tenant", b"")];
    let mut out = [0; 64];
    let unsorted = context::encode(pairs.into_iter(), &mut out);
    assert_eq!(unsorted, Ok(4 + 4 + 7 + 4 + 4 + 4 + 6 + 4), "purpose sorts before tenant");
    golden("context", &out[..unsorted.unwrap()]);
    let swapped = context::encode(pairs.into_iter().rev(), &mut out);
    assert_eq!(swapped, Err(ErrorCode::INVALID_ARGUMENT));
    let twice = context::encode([pairs[0], pairs[0]].into_iter(), &mut out);
    assert_eq!(twice, Err(ErrorCode::INVALID_ARGUMENT));
    assert_eq!(context::encode(pairs.into_iter(), &mut out[..36]), Err(ErrorCode::TOO_LARGE));
    assert_eq!(context::encode([].into_iter(), &mut []), Ok(0));
}

#[test]
fn recovery_tokens() {
    let key = |byte| p256::SecretKey::from_slice(&[byte; 32]).unwrap();
    let public = |byte| PublicKey::from_point(&key(byte).public_key());
    let sign = |byte: u8, message: &[u8]| {
        let signature: p256::ecdsa::Signature = SigningKey::from(key(byte))
            .sign_prehash(&Sha256::digest(message))
            .map_err(|_| ErrorCode::INTERNAL)?;
        Ok(Signature::from_bytes(&signature.to_bytes().into()))
    };
    let (maker, operator) = (public(1), public(2));
    let header = BackupHeader {
        domain: DOMAIN,
        version: 0x0102_0304,
        state: [0x57; 32],
        set: [0x5E; 16],
        maker: maker.device_id(),
        threshold: 2,
        shares: 3,
    };
    let mut backup = [0x5E; Backup::OVERHEAD + 40];
    header.write(&mut backup).unwrap();
    let end = backup.len() - Signature::SIZE;
    let signature = sign(1, &recovery::backup_message(&backup[..end])).unwrap();
    backup[end..].copy_from_slice(&signature.to_bytes());
    golden("recovery-backup", &backup);
    let read = Backup::parse(&backup).unwrap();
    assert_eq!((read.header, read.sealed.len()), (header, 56));
    assert_eq!(read.verify(&Portable, &maker), Ok(()));
    assert_eq!(read.verify(&Portable, &operator), Err(ErrorCode::RECOVERY_INVALID));

    let secret = [0x3A; 32];
    let header = ShareHeader {
        domain: DOMAIN,
        version: 0x0102_0304,
        set: [0x5E; 16],
        maker: maker.device_id(),
        threshold: 2,
        number: 3,
        operator: operator.operator_id(),
        backup: recovery::backup_digest(&backup),
    };
    let sealed = {
        let ephemeral = KeyPair::new(&Portable, key(4)).unwrap();
        let sign = |message: &[u8]| sign(1, message);
        Share::seal(&Portable, &header, &public(3), &ephemeral, &secret, sign)
    };
    let sealed = sealed.unwrap();
    golden("recovery-share", &sealed);
    let share = Share::parse(&sealed).unwrap();
    assert_eq!((share.header, share.verify(&maker)), (header, Ok(())));
    assert_eq!(*share.open(&key(3)).unwrap(), secret);
    assert!(share.open(&key(2)).is_err(), "the operator's signing key is for nothing else");

    let header = HandoverHeader {
        domain: DOMAIN,
        set: [0x5E; 16],
        number: 3,
        operator: operator.operator_id(),
        backup: recovery::backup_digest(&backup),
        device: DEVICE,
    };
    let sealed = Handover::seal(&header, &public(5), &key(6), &secret, |message| sign(2, message));
    let sealed = sealed.unwrap();
    golden("recovery-handover", &sealed);
    let handover = Handover::parse(&sealed).unwrap();
    assert_eq!((handover.header, handover.verify(&Portable, &operator)), (header, Ok(())));
    assert_eq!(*handover.open(&Portable, &key(5)).unwrap(), secret);
    for index in 0..sealed.len() {
        let mut bad = sealed;
        bad[index] ^= 2;
        let opened = Handover::parse(&bad).and_then(|handover| {
            handover.verify(&Portable, &operator)?;
            handover.open(&Portable, &key(5)).map(drop)
        });
        assert_eq!(opened, Err(ErrorCode::RECOVERY_INVALID), "byte {index}");
    }
}
