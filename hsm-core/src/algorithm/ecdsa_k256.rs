//! ECC_SECG_P256K1: ECDSA with SHA-256 on secp256k1 (SEC 2); not approved by FIPS 140-3.
//!
//! The curve's crate signs with the lower of the two values of s. Both verify, here and
//! elsewhere; verifiers of block chains take only the lower.

use hex_literal::hex;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use k256::Secp256k1;
use pkcs8::ObjectIdentifier;
use sha2::Sha256;

use super::ecc::{AgreementKat, Ecc, NamedCurve, SignatureKat};
use crate::fault::Kat;

/// The portable implementation.
pub type EccSecgP256k1 = Ecc<Secp256k1>;
/// The registry entry.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const EccSecgP256k1: EccSecgP256k1 = Ecc::ENTRY;

impl NamedCurve for Secp256k1 {
    type Hash = Sha256;
    const SPEC: KeySpec = KeySpec::ECC_SECG_P256K1;
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_256;
    const APPROVED: bool = false;
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
    const SPKI_PREFIX: &'static [u8] = &hex!("3056 301006072a8648ce3d020106052b8104000a 034200");
    const PKCS8_PREFIX: &'static [u8] =
        &hex!("308184020100 301006072a8648ce3d020106052b8104000a 046d306b0201010420");
    const PKCS8_PUBLIC: &'static [u8] = &hex!("a144034200");
    /// RFC 6979 on secp256k1 with low s, the vector that secp256k1 libraries share.
    const SIGNATURE_KAT: SignatureKat = SignatureKat {
        sign: Kat::EcdsaK256Sign,
        verify: Kat::EcdsaK256Verify,
        message: b"Alan Turing",
        secret: &hex!("f8b8af8ce3c7cca5e300d33939540c10d45ce001b8f252bfbc57ba0342904181"),
        nonce: &hex!("ada57d48f19878bc67f98abc027b37c189ed66e8eae8c14db7a27d51b2b94350"),
        public: &hex!(
            "04"
            "92df7b245b81aa637ab4e867c8d511008f79161a97d64f2ac709600352f7acbc"
            "e9bfdf1b13fa0cb1de4521e5386cde3a1cd26c5ab584989d07bbed58a5419f62"
        ),
        signature: &hex!(
            "7063ae83e7f62bbb171798131b4a0564b956930092b33b07b395615d9ec7e15c"
            "58dfcc1e00a35e1572f366ffe34ba0fc47db1e7189759b9fb233c5b05ab388ea"
        ),
    };
    const AGREEMENT_KAT: Option<AgreementKat> = None;
}
