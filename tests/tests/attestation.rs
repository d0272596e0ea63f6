//! Attestation documents: what is believed, and every reason not to.

use hsm_core::algorithm::{self, Algorithm, PORTABLE};
use hsm_core::attestation::{FRESHNESS_MS, verify};
use hsm_protocol::ErrorCode;
use hsm_protocol::command::attest::Measured;
use hsm_protocol::key_spec::KeySpec;
use hsm_tests::enclave::{Document, Enclave};
use rcgen::date_time_ymd;

const MALFORMED: Result<(), ErrorCode> = Err(ErrorCode::ATTESTATION_MALFORMED);
const STALE: Result<(), ErrorCode> = Err(ErrorCode::ATTESTATION_STALE);
const UNTRUSTED: Result<(), ErrorCode> = Err(ErrorCode::ATTESTATION_UNTRUSTED);
const NOW: u64 = 1_780_000_000_000;

fn p384() -> &'static dyn Algorithm {
    algorithm::find(PORTABLE, KeySpec::ECC_NIST_P384).expect("in the registry").1
}

fn check(document: &[u8], root: [u8; 32]) -> Result<(), ErrorCode> {
    verify(document, NOW, &[[0; 32], root], p384()).map(|_| ())
}

/// A document that AWS signed, of an enclave that somebody published; the root is AWS's.
#[test]
fn a_document_of_aws() {
    const DOCUMENT: &[u8] = include_bytes!("../vectors/nitro-enclave.cose");
    const MADE: u64 = 1_767_472_867_402;
    // As published with the certificate, aws.nitro-enclaves, G1.
    const ROOT: [u8; 32] = [
        0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06,
        0x31, 0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79,
        0xbb, 0x5b,
    ];
    let at = |now_ms| verify(DOCUMENT, now_ms, &[ROOT], p384());
    let facts = at(MADE + 1000).expect("AWS vouches for it");
    assert_eq!(facts.module_id, "i-0368fa67e156d6d23-enc019b8596b1a9dad6");
    assert_eq!((facts.timestamp_ms, facts.measured), (MADE, Measured::Enclave));
    assert_eq!(facts.public_key, None);
    let pcrs: Vec<_> = facts.pcrs().collect();
    assert_eq!(pcrs.len(), 16);
    assert_eq!((pcrs[0].0, &pcrs[0].1[..4]), (0, &[0x4b, 0x8d, 0x4c, 0xf2][..]));
    assert_eq!((pcrs[15].0, pcrs[15].1), (15, &[0; 48][..]));

    assert_eq!(at(MADE + FRESHNESS_MS + 1).map(|_| ()), STALE);
    assert_eq!(verify(DOCUMENT, MADE, &[[0; 32]], p384()).map(|_| ()), UNTRUSTED);
    // No byte of it may be another one.
    for at in (0..DOCUMENT.len()).step_by(97).chain(DOCUMENT.len() - 96..DOCUMENT.len() - 90) {
        let mut changed = DOCUMENT.to_vec();
        changed[at] ^= 1;
        assert!(verify(&changed, MADE, &[ROOT], p384()).is_err(), "byte {at}");
    }
}

#[test]
fn an_honest_document() {
    let enclave = Enclave::new(2048);
    let document = enclave.attest(NOW);
    let facts = verify(&document, NOW, &[enclave.root()], p384()).expect("trusted");
    assert_eq!(facts.module_id, "i-0123456789abcdef0-enc0123456789abcdef");
    let pcrs: Vec<_> = facts.pcrs().collect();
    assert_eq!(pcrs, [(0, &[0xA0; 48][..]), (1, &[0xA1; 48][..]), (8, &[0xA8; 48][..])]);
    assert!(facts.public_key.is_some());

    let mut tagged = vec![0xd2];
    tagged.extend_from_slice(&document);
    assert_eq!(check(&tagged, enclave.root()), Ok(()), "with the tag of COSE_Sign1");
    let honest = enclave.document(NOW);
    let older = Document { indefinite: true, ..honest.clone() };
    assert_eq!(check(&enclave.sign(&older), enclave.root()), Ok(()), "of unknown length");
    let tpm = enclave.sign(&Document { pcrs_name: "nitrotpm_pcrs", ..honest });
    let facts = verify(&tpm, NOW, &[enclave.root()], p384()).expect("trusted");
    assert_eq!(facts.measured, Measured::NitroTpm);
}

#[test]
fn time_has_limits_on_both_sides() {
    let enclave = Enclave::new(2048);
    for (timestamp, expected) in [
        (NOW - FRESHNESS_MS, Ok(())),
        (NOW - FRESHNESS_MS - 1, STALE),
        (NOW + FRESHNESS_MS, Ok(())),
        (NOW + FRESHNESS_MS + 1, STALE),
        (1, STALE),
        (0, MALFORMED),
        (u64::MAX, STALE),
    ] {
        assert_eq!(check(&enclave.attest(timestamp), enclave.root()), expected, "{timestamp}");
    }
}

#[test]
fn fields_out_of_range() {
    let enclave = Enclave::new(2048);
    let honest = enclave.document(NOW);
    type Change = fn(&mut Document);
    let changes: [(&str, Change, Result<(), ErrorCode>); 19] = [
        ("no module id", |d| d.module_id.clear(), MALFORMED),
        ("another digest", |d| d.digest = "SHA256".to_owned(), MALFORMED),
        ("no registers", |d| d.pcrs.clear(), MALFORMED),
        ("register 31", |d| d.pcrs.push((31, vec![1; 64])), Ok(())),
        ("register 32", |d| d.pcrs.push((32, vec![1; 48])), MALFORMED),
        ("a register twice", |d| d.pcrs.push((8, vec![1; 48])), MALFORMED),
        ("a short register", |d| d.pcrs.push((2, vec![1; 47])), MALFORMED),
        ("no registers under the name", |d| d.pcrs_name = "pcr", MALFORMED),
        ("a field twice", |d| d.pcrs_name = "timestamp", MALFORMED),
        ("no certificate", |d| d.certificate.clear(), MALFORMED),
        ("a long certificate", |d| d.certificate = vec![0x30; 1025], MALFORMED),
        ("no bundle", |d| d.cabundle.clear(), MALFORMED),
        ("a bundle of nine", |d| d.cabundle = vec![d.certificate.clone(); 9], MALFORMED),
        ("a long user_data", |d| d.user_data = Some(vec![0; 1025]), MALFORMED),
        ("user_data", |d| d.user_data = Some(vec![0; 1024]), Ok(())),
        ("no public key", |d| d.public_key = None, Ok(())),
        ("another algorithm", |d| d.protected = vec![0xa1, 0x01, 0x26], MALFORMED),
        ("an empty header", |d| d.protected.clear(), MALFORMED),
        ("a critical header", |d| d.protected = hex_header(), MALFORMED),
    ];
    for (name, change, expected) in changes {
        let mut document = honest.clone();
        change(&mut document);
        assert_eq!(check(&enclave.sign(&document), enclave.root()), expected, "{name}");
    }
}

/// {1: -35, 2: [3]}.
fn hex_header() -> Vec<u8> {
    vec![0xa2, 0x01, 0x38, 0x22, 0x02, 0x81, 0x03]
}

#[test]
fn who_vouches() {
    let (enclave, other) = (Enclave::new(2048), Enclave::new(2048));
    let honest = enclave.document(NOW);
    let sign = |document: &Document| check(&enclave.sign(document), enclave.root());
    assert_eq!(check(&enclave.attest(NOW), other.root()), UNTRUSTED, "a root nobody set");
    assert_eq!(verify(&enclave.attest(NOW), NOW, &[], p384()).map(|_| ()), UNTRUSTED, "no roots");
    assert_eq!(check(&other.sign(&honest), enclave.root()), UNTRUSTED, "another's signature");

    let theirs = other.document(NOW);
    let leaf = Document { certificate: theirs.certificate.clone(), ..honest.clone() };
    assert_eq!(check(&other.sign(&leaf), enclave.root()), UNTRUSTED, "another's leaf");
    let mut bundle = theirs.cabundle.clone();
    bundle[0] = honest.cabundle[0].clone();
    let forged = Document { cabundle: bundle, ..theirs };
    assert_eq!(check(&other.sign(&forged), enclave.root()), UNTRUSTED, "a root for show");
    let mut bundle = honest.cabundle.clone();
    bundle.remove(1);
    assert_eq!(sign(&Document { cabundle: bundle, ..honest.clone() }), UNTRUSTED, "a gap");
    let bundle = honest.cabundle[1..].to_vec();
    assert_eq!(sign(&Document { cabundle: bundle, ..honest.clone() }), UNTRUSTED, "no root");
    let mut bundle = honest.cabundle.clone();
    let last = bundle[2].len() - 1;
    bundle[2][last] ^= 1;
    assert_eq!(sign(&Document { cabundle: bundle, ..honest.clone() }), UNTRUSTED, "a changed one");
    let instance = honest.cabundle[2].clone();
    let bundle = [honest.cabundle.clone(), vec![instance; 5]].concat();
    assert_eq!(sign(&Document { cabundle: bundle, ..honest }), Ok(()), "repetitions");
}

#[test]
fn certificates_of_another_time_or_kind() {
    let expired = Enclave::with_leaf(2048, |leaf| leaf.not_after = date_time_ymd(2026, 1, 1));
    assert_eq!(check(&expired.attest(NOW), expired.root()), UNTRUSTED, "expired");
    let future = Enclave::with_leaf(2048, |leaf| leaf.not_before = date_time_ymd(2030, 1, 1));
    assert_eq!(check(&future.attest(NOW), future.root()), UNTRUSTED, "not yet valid");
    let authority = Enclave::with_leaf(2048, |leaf| {
        leaf.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert_eq!(check(&authority.attest(NOW), authority.root()), UNTRUSTED, "an authority");
}

/// Cut anywhere, with something behind, and of types of their own.
#[test]
fn damaged_encodings() {
    let enclave = Enclave::new(2048);
    let document = enclave.attest(NOW);
    for length in (0..document.len()).step_by(41) {
        assert_eq!(check(&document[..length], enclave.root()), MALFORMED, "{length} bytes");
    }
    assert_eq!(check(&[&document[..], &[0]].concat(), enclave.root()), MALFORMED, "one byte more");
    assert_eq!(check(&[&[0xd1], &document[..]].concat(), enclave.root()), MALFORMED, "a MAC's tag");
    assert_eq!(check(&vec![0x84; 16 * 1024], enclave.root()), MALFORMED, "arrays of arrays");
    let long = vec![0; 16 * 1024 + 1];
    assert_eq!(check(&long, enclave.root()), Err(ErrorCode::TOO_LARGE));
}
