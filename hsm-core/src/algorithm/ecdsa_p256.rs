//! ECC_NIST_P256: ECDSA with SHA-256 and ECDH on P-256 (SP 800-186).

use hex_literal::hex;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use p256::NistP256;
use pkcs8::ObjectIdentifier;
use sha2::Sha256;

use super::ecc::{AgreementKat, Ecc, NamedCurve, SignatureKat};
use crate::fault::Kat;

/// The portable implementation.
pub type EccNistP256 = Ecc<NistP256>;
/// The registry entry.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const EccNistP256: EccNistP256 = Ecc::ENTRY;

/// `SubjectPublicKeyInfo` up to the point.
pub(crate) const SPKI_PREFIX: &[u8] =
    &hex!("3059 301306072a8648ce3d020106082a8648ce3d030107 034200");
/// Length of a `SubjectPublicKeyInfo` in bytes, with the uncompressed point.
pub(crate) const SPKI_SIZE: usize = SPKI_PREFIX.len() + 65;

impl NamedCurve for NistP256 {
    type Hash = Sha256;
    const SPEC: KeySpec = KeySpec::ECC_NIST_P256;
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_256;
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    const SPKI_PREFIX: &'static [u8] = SPKI_PREFIX;
    const PKCS8_PREFIX: &'static [u8] =
        &hex!("308187020100 301306072a8648ce3d020106082a8648ce3d030107 046d306b0201010420");
    const PKCS8_PUBLIC: &'static [u8] = &hex!("a144034200");
    /// RFC 6979 A.2.5.
    const SIGNATURE_KAT: SignatureKat = SignatureKat {
        sign: Kat::EcdsaSign,
        verify: Kat::EcdsaVerify,
        message: b"sample",
        secret: &hex!("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
        nonce: &hex!("a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60"),
        public: &hex!(
            "04"
            "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
            "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
        ),
        signature: &hex!(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        ),
    };
    /// NIST CAVP, ECDH primitive, P-256, count 0.
    const AGREEMENT_KAT: Option<AgreementKat> = Some(AgreementKat {
        kat: Kat::Ecdh,
        secret: &hex!("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"),
        peer: &hex!(
            "04"
            "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
            "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"
        ),
        shared: &hex!("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b"),
    });
}
