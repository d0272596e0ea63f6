//! Parsers by themselves.

use std::path::Path;
use std::sync::LazyLock;

use host_driver::approval::Pending;
use host_driver::attest::Anchor;
use hsm_core::algorithm::{self, Algorithm, Message, PORTABLE, PublicKeyBuf};
use hsm_core::attestation::{self, RootId};
use hsm_core::secret::SecretBuf;
use hsm_core::testing::TestRng;
use hsm_protocol::attestation::{Claims, Signed};
use hsm_protocol::channel::{Initiator, Opener, RECORD_OVERHEAD, Responder, Sealer};
use hsm_protocol::command::{Command, decode};
use hsm_protocol::curve::{KeyPair, Portable};
use hsm_protocol::domain::{Issued, certificate};
use hsm_protocol::for_each_command;
use hsm_protocol::frame::{self, Decoder, MAX_ENCODED};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::token::replica::ReplicaToken;
use hsm_protocol::token::sealed::{AttestedRecipient, ImportToken, PreparedPair, Sealed};
use hsm_protocol::token::{Blob, DomainToken, KeyToken};
use kms_ceremony::ApprovalFile;
use p256::SecretKey;
use sha2::{Digest, Sha256};

const MESSAGE: Message<'_> = Message::Raw(b"message");

/// Whatever decodes encodes to something that decodes to the same.
pub(crate) fn frames(input: &[u8]) {
    let (mut decoder, mut again) = (Decoder::<MAX_ENCODED>::new(), Decoder::<MAX_ENCODED>::new());
    let mut rest = input;
    let mut encoded = vec![0; MAX_ENCODED];
    while let Some(frame) = decoder.next(&mut rest) {
        let length = frame::encode(frame.header, frame.payload, &mut encoded).expect("it fitted");
        let mut encoded = &encoded[..length];
        let same = again.next(&mut encoded).expect("a whole frame");
        assert_eq!((same.header, &*same.payload), (frame.header, &*frame.payload));
    }
}

/// Nobody gets a session by chance, at either end.
pub(crate) fn handshake(input: &[u8]) {
    static KEY: LazyLock<KeyPair> = LazyLock::new(|| {
        let secret = SecretKey::from_slice(&[9; 32]).expect("a scalar");
        KeyPair::new(&Portable, secret).expect("a pair")
    });
    if let Ok(responder) = Responder::read(&Portable, &KEY, input) {
        // Only the holder of the host's key can have written it; who that is, the device checks.
        let _ = responder.host().host_id();
    }
    let (initiator, _) =
        Initiator::start(KEY.secret(), &KEY.public(), &mut TestRng(1)).expect("a point");
    assert!(initiator.finish(input).is_err(), "a session without the device's key");
}

/// What was sealed opens, once, in order, and nothing else does.
pub(crate) fn records(input: &[u8]) {
    let (mut sealer, mut opener) = (Sealer::new([7; 32]), Opener::new([7; 32]));
    let mut forged = input.to_vec();
    assert!(Opener::new([7; 32]).open(0, &mut forged).is_err(), "a forged record");
    for message in input.chunks(64) {
        let sequence = sealer.sequence();
        let mut record = message.to_vec();
        record.resize(message.len() + RECORD_OVERHEAD, 0);
        sealer.seal(&mut record, message.len()).expect("there is room");
        let opened = opener.open(sequence, &mut record).expect("what was sealed");
        assert_eq!(opened, message);
        assert!(opener.open(sequence, &mut record).is_err(), "a record taken twice");
    }
}

/// The number of a command, then its body.
pub(crate) fn request_bodies(input: &[u8]) {
    use hsm_protocol::command::{
        agree, approval, attest, audit, cipher, domain, firmware, import, key, mac, random,
        recovery, replica, session, sign, statement, system,
    };
    let Some((number, body)) = input.split_first_chunk() else { return };
    let number = u16::from_le_bytes(*number);
    macro_rules! table {
        ($($opcode:literal $name:ident $family:ident::$request:ident $(<$lifetime:lifetime>)? => $response:ty,
           $roles:ident, $states:ident, audit = $audit:literal, idempotent = $idempotent:literal, pace = $pace:ident
           $(, hides($($hidden:ident),+))?;)+) => {
            match number {
                $($opcode => round_trip(body, decode::<$family::$request $(<$lifetime>)?>(body)),)+
                _ => {}
            }
        };
    }
    for_each_command!(table);
}

/// What decodes encodes to bytes no longer: postcard takes longer forms of a number too.
fn round_trip<C: Command>(body: &[u8], decoded: Result<C, hsm_protocol::ErrorCode>) {
    if let Ok(command) = decoded {
        let mut out = vec![0; body.len()];
        let length = command.encode(&mut out).expect("no longer than it was").len();
        assert!(command.hidden() <= length, "what the audit chain leaves out is a part of it");
    }
}

/// Headers parse; what they say of lengths holds.
pub(crate) fn tokens(input: &[u8]) {
    if let Ok(token) = KeyToken::parse(input) {
        assert_eq!(token.header.len() + token.sealed.len(), input.len());
        assert!(input.len() <= KeyToken::MAX_SIZE);
    }
    if let Ok(blob) = Blob::parse(input) {
        assert_eq!(blob.header.len() + blob.iv.len() + blob.sealed.len(), input.len());
    }
    if let Ok(token) = ReplicaToken::parse(input) {
        assert_eq!(token.header.len() + token.sealed.len(), input.len());
        assert!(input.len() <= ReplicaToken::MAX_SIZE);
    }
    let _ = DomainToken::parse(input);
    let _ = Sealed::<PreparedPair>::parse(input);
    let _ = Sealed::<ImportToken>::parse(input);
    let _ = Sealed::<AttestedRecipient>::parse(input);
}

/// CBOR, COSE and X.509 of attestation documents: nothing is believed but what AWS signed.
pub(crate) fn attestation(input: &[u8]) {
    const GENUINE: &[u8] = include_bytes!("../../vectors/nitro-enclave.cose");
    const MADE_MS: u64 = 1_767_472_867_402;
    static ROOT: LazyLock<RootId> = LazyLock::new(|| {
        // The first certificate of the bundle; its length is that of AWS's.
        let at = GENUINE.windows(8).position(|window| window == b"cabundle").expect("there is one");
        Sha256::digest(&GENUINE[at + 12..at + 12 + 533]).into()
    });
    let (_, p384) = algorithm::find(PORTABLE, KeySpec::ECC_NIST_P384).expect("in the registry");
    if attestation::verify(input, MADE_MS, &[*ROOT], p384).is_ok() {
        // The message around it may be tagged or not.
        let payload = &GENUINE[10..GENUINE.len() - 98];
        assert!(input.windows(payload.len()).any(|window| window == payload), "forged");
    }
}

/// Statements of devices, certificates, and requests that are carried to operators: what is read is what would
/// have been written, and nobody vouches for any of it by chance.
pub(crate) fn statements(input: &[u8]) {
    static CA: LazyLock<PublicKey> = LazyLock::new(|| {
        let key = SecretKey::from_slice(&[9; 32]).expect("a scalar");
        PublicKey::from_point(&key.public_key())
    });
    if let Ok(signed) = Signed::parse(input) {
        let mut out = vec![0; input.len() + 64];
        let length = signed.write(&mut out).expect("there is room");
        assert!(Signed::parse(&out[..length]).is_ok_and(|again| again == signed));
        if let Ok(claims) = Claims::decode(signed.claims) {
            let mut out = vec![0; signed.claims.len()];
            assert_eq!(claims.encode(&mut out), Ok(signed.claims.len()));
            assert_eq!(out, signed.claims);
        }
    }
    let vouched = host_driver::attest::verify(input, &Anchor::DeviceCa(*CA), None);
    assert!(vouched.is_err(), "a statement of nobody's");
    assert!(Issued::read(input, &CA).is_err(), "a certificate that nobody has signed");
    let _ = certificate::read_root(input);
    if let Ok(pending) = Pending::from_bytes(input) {
        let bytes = pending.to_bytes().expect("it was bytes before");
        assert!(Pending::from_bytes(&bytes).is_ok_and(|again| again == pending));
        assert!(pending.describe().len() > 6);
    }
    let _ = ApprovalFile::parse(input, Path::new("input"));
}

/// The entry that the first byte names, and the rest.
fn entry(input: &[u8]) -> Option<(&'static dyn Algorithm, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((PORTABLE[usize::from(*first) % PORTABLE.len()], rest))
}

/// PKCS#8 and raw material. What is taken makes a public key.
pub(crate) fn private_keys(input: &[u8]) {
    let Some((entry, material)) = entry(input) else { return };
    let mut secret = SecretBuf::new();
    if entry.import(material, &mut secret).is_ok() {
        let row = entry.spec().row().expect("a spec of the table");
        assert_eq!(secret.expose().len(), row.secret_size);
        if row.public_size > 0 {
            let mut public = PublicKeyBuf::new();
            entry.public_key(&secret, &mut public).expect("an imported key has a public half");
            assert_eq!(public.as_bytes().len(), row.public_size);
        }
    }
}

/// `SubjectPublicKeyInfo` of a peer, and signatures and ciphertexts made of the input.
pub(crate) fn public_keys(input: &[u8]) {
    let Some((entry, rest)) = entry(input) else { return };
    let row = entry.spec().row().expect("a spec of the table");
    let mut rng = TestRng(1);
    let mut secret = SecretBuf::new();
    if secret.resize(row.secret_size).map(|bytes| bytes.fill(0x42)).is_ok() {
        let _ = entry.agree(&secret, rest, &mut SecretBuf::new());
    }
    let (key, rest) = rest.split_at(rest.len().min(row.public_size));
    let mut public = PublicKeyBuf::new();
    if public.set(&[key]).is_err() {
        return;
    }
    for algorithm in row.signing_algorithms {
        assert!(entry.verify(&public, *algorithm, MESSAGE, rest).is_err(), "a forged signature");
    }
    let mut out = vec![0; 1024];
    for algorithm in row.encryption_algorithms {
        let _ = entry.encrypt_public(
            &public,
            *algorithm,
            &rest[..rest.len().min(32)],
            &mut rng,
            &mut out,
        );
    }
}
