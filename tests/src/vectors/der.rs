//! The encodings that vectors do without.

use hsm_core::algorithm::{Algorithm, PublicKeyBuf};
use hsm_core::secret::SecretBuf;

/// `SubjectPublicKeyInfo` of a public key, given as the bytes at its end: the bytes before them are
/// the same for every key of a spec.
pub(super) fn public(entry: &dyn Algorithm, key: &[u8]) -> PublicKeyBuf {
    let mut secret = SecretBuf::new();
    let size = entry.spec().row().expect("a known spec").secret_size;
    secret.resize(size).expect("short enough")[size - 1] = 1;
    let mut public = PublicKeyBuf::new();
    entry.public_key(&secret, &mut public).expect("a valid secret");
    let mut der = public.as_bytes().to_vec();
    let start = der.len() - key.len();
    der[start..].copy_from_slice(key);
    public.set(&[&der]).expect("as long as before");
    public
}

/// `SubjectPublicKeyInfo` of an RSA key (RFC 3279 2.3.1).
pub(super) fn rsa_public(modulus: &[u8], exponent: &[u8]) -> PublicKeyBuf {
    const RSA_ENCRYPTION: &[u8] =
        &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let key = value(0x30, &[integer(modulus), integer(exponent)].concat());
    let key = value(0x03, &[&[0], &key[..]].concat());
    let mut public = PublicKeyBuf::new();
    public.set(&[&value(0x30, &[RSA_ENCRYPTION, &key].concat())]).expect("short enough");
    public
}

/// `ECDSA-Sig-Value` (RFC 3279 2.2.3).
pub(super) fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    value(0x30, &[integer(r), integer(s)].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    value(
        0x02,
        &[
            &[0][..usize::from(number.get(zeros).is_none_or(|byte| *byte >= 0x80))],
            &number[zeros..],
        ]
        .concat(),
    )
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let length: &[u8] = match content.len() {
        0..0x80 => &[low],
        0x80..0x100 => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, content].concat()
}
