//! The secret paths of device and channel, with every secret marked as undefined memory.
//!
//! `cargo xtask constant-time` runs this under Valgrind. Public again are only what a protocol
//! sends and the results that a caller learns; all other dependence of a branch or an address on a
//! secret is an error. The exceptions, with the reason for each, are in `exceptions.supp`.

mod memcheck;

use std::process::ExitCode;

use hsm_core::algorithm::{Algorithm, Message, PORTABLE, find};
use hsm_core::keystore::domain::Domain;
use hsm_core::keystore::wrap::{self, NewAttributes};
use hsm_core::keystore::{identity::Identity, sealed};
use hsm_core::secret::{Secret, SecretBuf};
use hsm_core::shamir::{self, Sharing};
use hsm_core::testing::{MemoryPlatform, TestRng};
use hsm_protocol::channel::{Opener, RECORD_OVERHEAD, Sealer};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, Origin, SigningAlgorithm};
use hsm_protocol::token::sealed::{PairPurpose, PreparedPair};
use hsm_protocol::token::{History, KeyToken};
use hsm_protocol::{ErrorCode, KeyId};
use memcheck::{classify, declassify, declassify_value};
use rand_core::{Infallible, Rng, TryCryptoRng, TryRng};

const KEY: KeyId = KeyId::single_region([7; 16]);

const CASES: [(&str, fn()); 6] = [
    ("key token: wrap, unwrap, refuse", key_token),
    ("prepared pair: seal, open, refuse", prepared_pair),
    ("MAC: verify, refuse", mac),
    ("record of the channel: seal, open, refuse", records),
    ("Ed25519: expand, sign", ed25519),
    ("secret sharing: split, combine", sharing),
];

fn main() -> ExitCode {
    if !memcheck::is_watching() {
        eprintln!("run this with: cargo xtask constant-time");
        return ExitCode::from(2);
    }
    if std::env::args().any(|argument| argument == "--leak") {
        leak();
        return ExitCode::SUCCESS;
    }
    for (name, case) in CASES {
        case();
        println!("{name}");
    }
    ExitCode::SUCCESS
}

/// What must be found: a branch and an address that depend on a secret.
fn leak() {
    let secret = secret(1);
    let byte = secret.expose()[0];
    let table = [1u8; 256];
    if byte == 3 {
        println!("{}", table[usize::from(byte)]);
    }
}

/// A generator all of whose output is secret.
struct SecretRng(TestRng);

impl TryRng for SecretRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(out);
        classify(out);
        Ok(())
    }
}

impl TryCryptoRng for SecretRng {}

fn secret(seed: u64) -> SecretBuf {
    let mut secret = SecretBuf::new();
    let bytes = secret.resize(32).expect("fits");
    TestRng(seed).fill_bytes(bytes);
    classify(bytes);
    secret
}

fn domain() -> Domain {
    let identity =
        Identity::create(&mut MemoryPlatform::new(), &mut TestRng(1)).expect("an identity");
    let domain = Domain::for_tests(&identity, &mut SecretRng(TestRng(2))).expect("a domain");
    declassify(domain.id().as_bytes());
    domain
}

fn key_token() {
    let (domain, material) = (domain(), secret(3));
    let new = NewAttributes {
        key: KEY,
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
        origin: Origin::AWS_KMS,
        history: History::CLEAN,
        approval: None,
    };
    let mut token = [0; KeyToken::MAX_SIZE];
    let (_, length) =
        wrap::wrap(&domain, &new, &material, &mut TestRng(4), &mut token).expect("the token fits");
    let token = &mut token[..length];
    declassify(token);
    let mut out = SecretBuf::new();
    wrap::unwrap(&domain, token, &mut out).expect("the token is authentic");
    token[length - 1] ^= 1;
    let mut refusal = wrap::unwrap(&domain, token, &mut out).err();
    declassify_value(&mut refusal);
    assert_eq!(refusal, Some(ErrorCode::TOKEN_INVALID));
}

fn prepared_pair() {
    let (domain, material) = (domain(), secret(5));
    let mut token = [0; 1024];
    let attributes = PreparedPair { spec: KeySpec::RSA_2048, purpose: PairPurpose::KEY };
    let length = sealed::seal(&domain, &attributes, material.expose(), &mut TestRng(6), &mut token)
        .expect("the token fits");
    let token = &mut token[..length];
    declassify(token);
    sealed::open::<PreparedPair>(&domain, token).expect("the token is authentic");
    token[length - 1] ^= 1;
    let mut is_refused = sealed::open::<PreparedPair>(&domain, token).is_err();
    declassify_value(&mut is_refused);
    assert!(is_refused);
}

fn entry(spec: KeySpec) -> &'static dyn Algorithm {
    find(PORTABLE, spec).expect("an entry for every spec").1
}

fn mac() {
    let key = secret(7);
    let (entry, algorithm) = (entry(KeySpec::HMAC_256), MacAlgorithm::HMAC_SHA_256);
    let mut mac = [0; 32];
    entry.mac(&key, algorithm, b"message", &mut mac).expect("a MAC");
    declassify(&mac);
    let verify = |mac: &[u8]| {
        let mut result = entry.verify_mac(&key, algorithm, b"message", mac);
        declassify_value(&mut result);
        result
    };
    assert_eq!(verify(&mac), Ok(()));
    for wrong in [0, 31] {
        let mut mac = mac;
        mac[wrong] ^= 1;
        assert_eq!(verify(&mac), Err(ErrorCode::MAC_INVALID));
    }
}

/// The handshake is left out: all it does with secrets is the curve's, whose crate turns even public
/// points into options by branches.
fn records() {
    let key = || {
        let key: [u8; 32] = secret(8).expose().try_into().expect("32 bytes");
        key
    };
    let (mut sealer, mut opener) = (Sealer::new(key()), Opener::new(key()));
    let sequence = sealer.sequence();
    let mut record = vec![0x61; 64 + RECORD_OVERHEAD];
    let length = sealer.seal(&mut record, 64).expect("a record");
    record.truncate(length);
    declassify(&record);
    let mut altered = record.clone();
    let opened = opener.open(sequence, &mut record).expect("an authentic record");
    declassify(opened);
    assert_eq!(opened, [0x61; 64]);

    let mut opener = Opener::new(key());
    altered[0] ^= 1;
    assert_eq!(opener.open(sequence, &mut altered).err(), Some(ErrorCode::BAD_RECORD));
}

/// Expanded and not. ECDSA is left out: its crates make options of scalars by branches.
fn ed25519() {
    let (entry, algorithm) =
        (entry(KeySpec::ECC_NIST_EDWARDS25519), SigningAlgorithm::ED25519_SHA_512);
    let mut key = secret(9);
    let mut out = [0; 64];
    let rng = &mut TestRng(10);
    entry.sign(&key, algorithm, Message::Raw(b"message"), rng, &mut out).expect("a signature");
    entry.expand(&mut key).expect("a seed");
    entry.sign(&key, algorithm, Message::Raw(b"message"), rng, &mut out).expect("a signature");
}

fn sharing() {
    let mut secret = Secret::zeroed();
    SecretRng(TestRng(11)).fill_bytes(secret.expose_mut());
    let sharing = Sharing::of(&secret, 3, &mut SecretRng(TestRng(12))).expect("a threshold");
    let mut shares = [const { Secret::zeroed() }; 3];
    for (number, share) in [2, 5, 8].into_iter().zip(&mut shares) {
        sharing.share(number, share).expect("a share");
    }
    let [two, five, eight] = &shares;
    let given = [(8, eight.expose()), (2, two.expose()), (5, five.expose())];
    let mut combined = Secret::zeroed();
    shamir::combine(&given, &mut combined).expect("shares");
    let [combined, secret] = [&combined, &secret].map(|secret| *secret.expose());
    declassify(&combined);
    declassify(&secret);
    assert_eq!(combined, secret);
}
