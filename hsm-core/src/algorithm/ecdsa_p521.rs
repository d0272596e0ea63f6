//! ECC_NIST_P521: ECDSA with SHA-512 and ECDH on P-521 (SP 800-186).

use hex_literal::hex;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use p521::NistP521;
use pkcs8::ObjectIdentifier;
use sha2::Sha512;

use super::ecc::{AgreementKat, Ecc, NamedCurve, SignatureKat};
use crate::fault::Kat;

/// The portable implementation.
pub type EccNistP521 = Ecc<NistP521>;
/// The registry entry.
#[allow(non_upper_case_globals, reason = "an entry is named as its type")]
pub const EccNistP521: EccNistP521 = Ecc::ENTRY;

impl NamedCurve for NistP521 {
    type Hash = Sha512;
    const SPEC: KeySpec = KeySpec::ECC_NIST_P521;
    const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ECDSA_SHA_512;
    const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
    const SPKI_PREFIX: &'static [u8] =
        &hex!("30819b 301006072a8648ce3d020106052b81040023 03818600");
    const PKCS8_PREFIX: &'static [u8] =
        &hex!("3081ee020100 301006072a8648ce3d020106052b81040023 0481d63081d30201010442");
    const PKCS8_PUBLIC: &'static [u8] = &hex!("a1818903818600");
    /// RFC 6979 A.2.7.
    const SIGNATURE_KAT: SignatureKat = SignatureKat {
        sign: Kat::EcdsaP521Sign,
        verify: Kat::EcdsaP521Verify,
        message: b"sample",
        secret: &hex!(
            "00fa"
            "d06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa8"
            "96eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538"
        ),
        nonce: &hex!(
            "01da"
            "e2ea071f8110dc26882d4d5eae0621a3256fc8847fb9022e2b7d28e6f10198b1"
            "574fdd03a9053c08a1854a168aa5a57470ec97dd5ce090124ef52a2f7ecbffd3"
        ),
        public: &hex!(
            "04"
            "0189"
            "4550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd3711"
            "23d46e45db6b5d5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a4"
            "0049"
            "3101c962cd4d2fddf782285e64584139c2f91b47f87ff82354d6630f746a28a0"
            "db25741b5b34a828008b22acc23f924faafbd4d33f81ea66956dfeaa2bfdfcf5"
        ),
        signature: &hex!(
            "00c3"
            "28fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e"
            "25a1ee9017b5d450606add152b534931d7d4e8455cc91f9b15bf05ec36e377fa"
            "0061"
            "7cce7cf5064806c467f678d3b4080d6f1cc50af26ca209417308281b68af2826"
            "23eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1ee0e44da4a67a"
        ),
    };
    /// NIST CAVP, ECDH primitive, P-521, count 0.
    const AGREEMENT_KAT: Option<AgreementKat> = Some(AgreementKat {
        kat: Kat::EcdhP521,
        secret: &hex!(
            "017e"
            "ecc07ab4b329068fba65e56a1f8890aa935e57134ae0ffcce802735151f4eac6"
            "564f6ee9974c5e6887a1fefee5743ae2241bfeb95d5ce31ddcb6f9edb4d6fc47"
        ),
        peer: &hex!(
            "04"
            "0068"
            "5a48e86c79f0f0875f7bc18d25eb5fc8c0b07e5da4f4370f3a9490340854334b"
            "1e1b87fa395464c60626124a4e70d0f785601d37c09870ebf176666877a2046d"
            "01ba"
            "52c56fc8776d9e8f5db4f0cc27636d0b741bbe05400697942e80b739884a83bd"
            "e99e0f6716939e632bc8986fa18dccd443a348b6c3e522497955a4f3c302f676"
        ),
        shared: &hex!(
            "005f"
            "c70477c3e63bc3954bd0df3ea0d1f41ee21746ed95fc5e1fdf90930d5e136672"
            "d72cc770742d1711c3c3a4c334a0ad9759436a4d3c5bf6e74b9578fac148c831"
        ),
    });
}
