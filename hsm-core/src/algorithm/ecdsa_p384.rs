//! ECC_NIST_P384: ECDSA with SHA-384 and ECDH on P-384 (SP 800-186).

use hex_literal::hex;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use p384::NistP384;
use pkcs8::ObjectIdentifier;
use sha2::Sha384;

use super::ecc::{AgreementKat, Ecc, NamedCurve, SignatureKat};
use crate::fault::Kat;

/// The portable implementation.
pub type EccNistP384 = Ecc<NistP384>;
/// The registry entry.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const EccNistP384: EccNistP384 = Ecc::ENTRY;

/// `SubjectPublicKeyInfo` up to the uncompressed point.
#[cfg(feature = "rsa")] // paths of certificates, which only lead to what is sealed with RSA
pub(crate) const SPKI_PREFIX: &[u8] = <NistP384 as NamedCurve>::SPKI_PREFIX;

impl NamedCurve for NistP384 {
    type Hash = Sha384;
    const SPEC: KeySpec = KeySpec::ECC_NIST_P384;
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_384;
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    const SPKI_PREFIX: &'static [u8] = &hex!("3076 301006072a8648ce3d020106052b81040022 036200");
    const PKCS8_PREFIX: &'static [u8] =
        &hex!("3081b6020100 301006072a8648ce3d020106052b81040022 04819e30819b0201010430");
    const PKCS8_PUBLIC: &'static [u8] = &hex!("a164036200");
    /// RFC 6979 A.2.6.
    const SIGNATURE_KAT: SignatureKat = SignatureKat {
        sign: Kat::EcdsaP384Sign,
        verify: Kat::EcdsaP384Verify,
        message: b"sample",
        secret: &hex!(
            "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba"
            "9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5"
        ),
        nonce: &hex!(
            "94ed910d1a099dad3254e9242ae85abde4ba15168eaf0ca8"
            "7a555fd56d10fbca2907e3e83ba95368623b8c4686915cf9"
        ),
        public: &hex!(
            "04"
            "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e"
            "06aae5286b300c64def8f0ea9055866064a254515480bc13"
            "8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9"
            "f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720"
        ),
        signature: &hex!(
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa7"
            "3d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46"
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526"
            "203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8"
        ),
    };
    /// NIST CAVP, ECDH primitive, P-384, count 0.
    const AGREEMENT_KAT: Option<AgreementKat> = Some(AgreementKat {
        kat: Kat::EcdhP384,
        secret: &hex!(
            "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b1"
            "5618b6818a661774ad463b205da88cf699ab4d43c9cf98a1"
        ),
        peer: &hex!(
            "04"
            "a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e76459"
            "2efda27fe7513272734466b400091adbf2d68c58e0c50066"
            "ac68f19f2e1cb879aed43a9969b91a0839c4c38a49749b66"
            "1efedf243451915ed0905a32b060992b468c64766fc8437a"
        ),
        shared: &hex!(
            "5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f4"
            "0ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1"
        ),
    });
}
