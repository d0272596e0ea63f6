//! The tables of algorithms: what each needs of keys and messages. Which spec has which algorithm
//! is in the key-spec table.

use super::{EncryptionAlgorithm, KeyFamily, MacAlgorithm, MessageType, SigningAlgorithm};

/// Length of the message representative mu of ML-DSA, in bytes (FIPS 204 6.2).
pub const MU: usize = 64;

/// Digest lengths in bytes (FIPS 180-4).
const SHA_1: usize = 20;
const SHA_224: usize = 28;
const SHA_256: usize = 32;
const SHA_384: usize = 48;
const SHA_512: usize = 64;

/// A signing algorithm and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct SigningAlgorithmRow {
    /// The algorithm.
    pub algorithm: SigningAlgorithm,
    /// The family of its keys.
    pub family: KeyFamily,
    /// What its messages may be.
    pub messages: &'static [MessageType],
    /// Length of a digest in place of the message, in bytes; `None` if it takes no digests.
    pub digest_size: Option<usize>,
}

/// An encryption algorithm and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct EncryptionAlgorithmRow {
    /// The algorithm.
    pub algorithm: EncryptionAlgorithm,
    /// The family of its keys.
    pub family: KeyFamily,
    /// Digest length of the hash in OAEP, in bytes (RFC 8017 7.1); `None` without OAEP.
    pub oaep_hash_size: Option<usize>,
}

/// A MAC algorithm and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct MacAlgorithmRow {
    /// The algorithm.
    pub algorithm: MacAlgorithm,
    /// The family of its keys.
    pub family: KeyFamily,
    /// Length of a MAC in bytes: that of the hash's digest, not truncated.
    pub mac_size: usize,
}

const fn hashed(
    algorithm: SigningAlgorithm,
    family: KeyFamily,
    digest_size: usize,
) -> SigningAlgorithmRow {
    const MESSAGES: &[MessageType] = &[MessageType::RAW, MessageType::DIGEST];
    SigningAlgorithmRow { algorithm, family, messages: MESSAGES, digest_size: Some(digest_size) }
}

const fn oaep(algorithm: EncryptionAlgorithm, hash_size: usize) -> EncryptionAlgorithmRow {
    let oaep_hash_size = Some(hash_size);
    EncryptionAlgorithmRow { algorithm, family: KeyFamily::Rsa, oaep_hash_size }
}

const fn hmac(algorithm: MacAlgorithm, mac_size: usize) -> MacAlgorithmRow {
    MacAlgorithmRow { algorithm, family: KeyFamily::Hmac, mac_size }
}

/// The table of signing algorithms.
pub const SIGNING_ALGORITHMS: &[SigningAlgorithmRow] = &[
    hashed(SigningAlgorithm::ECDSA_SHA_256, KeyFamily::Ecc, SHA_256),
    hashed(SigningAlgorithm::ECDSA_SHA_384, KeyFamily::Ecc, SHA_384),
    hashed(SigningAlgorithm::ECDSA_SHA_512, KeyFamily::Ecc, SHA_512),
    hashed(SigningAlgorithm::RSASSA_PSS_SHA_256, KeyFamily::Rsa, SHA_256),
    hashed(SigningAlgorithm::RSASSA_PSS_SHA_384, KeyFamily::Rsa, SHA_384),
    hashed(SigningAlgorithm::RSASSA_PSS_SHA_512, KeyFamily::Rsa, SHA_512),
    hashed(SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256, KeyFamily::Rsa, SHA_256),
    hashed(SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_384, KeyFamily::Rsa, SHA_384),
    hashed(SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_512, KeyFamily::Rsa, SHA_512),
    SigningAlgorithmRow {
        algorithm: SigningAlgorithm::ED25519_SHA_512,
        family: KeyFamily::Edwards,
        messages: &[MessageType::RAW],
        digest_size: None,
    },
    SigningAlgorithmRow {
        algorithm: SigningAlgorithm::ED25519_PH_SHA_512,
        family: KeyFamily::Edwards,
        messages: &[MessageType::DIGEST],
        digest_size: Some(SHA_512),
    },
    SigningAlgorithmRow {
        algorithm: SigningAlgorithm::ML_DSA_SHAKE_256,
        family: KeyFamily::MlDsa,
        messages: &[MessageType::RAW, MessageType::EXTERNAL_MU],
        digest_size: None,
    },
];

/// The table of encryption algorithms.
pub const ENCRYPTION_ALGORITHMS: &[EncryptionAlgorithmRow] = &[
    EncryptionAlgorithmRow {
        algorithm: EncryptionAlgorithm::SYMMETRIC_DEFAULT,
        family: KeyFamily::Symmetric,
        oaep_hash_size: None,
    },
    oaep(EncryptionAlgorithm::RSAES_OAEP_SHA_1, SHA_1),
    oaep(EncryptionAlgorithm::RSAES_OAEP_SHA_256, SHA_256),
];

/// The table of MAC algorithms.
pub const MAC_ALGORITHMS: &[MacAlgorithmRow] = &[
    hmac(MacAlgorithm::HMAC_SHA_224, SHA_224),
    hmac(MacAlgorithm::HMAC_SHA_256, SHA_256),
    hmac(MacAlgorithm::HMAC_SHA_384, SHA_384),
    hmac(MacAlgorithm::HMAC_SHA_512, SHA_512),
];

impl SigningAlgorithm {
    /// The algorithm's row; `None` for one this build does not know.
    #[must_use]
    pub fn row(self) -> Option<&'static SigningAlgorithmRow> {
        SIGNING_ALGORITHMS.iter().find(|row| row.algorithm == self)
    }
}

impl EncryptionAlgorithm {
    /// The algorithm's row; `None` for one this build does not know.
    #[must_use]
    pub fn row(self) -> Option<&'static EncryptionAlgorithmRow> {
        ENCRYPTION_ALGORITHMS.iter().find(|row| row.algorithm == self)
    }
}

impl MacAlgorithm {
    /// The algorithm's row; `None` for one this build does not know.
    #[must_use]
    pub fn row(self) -> Option<&'static MacAlgorithmRow> {
        MAC_ALGORITHMS.iter().find(|row| row.algorithm == self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KEY_SPECS, KeySpec};
    use super::*;

    #[test]
    fn every_spec_and_algorithm_has_one_row() {
        let specs: [usize; 4] = [
            KeySpec::ALL.iter().filter(|(spec, _)| spec.row().is_some()).count(),
            SigningAlgorithm::ALL.iter().filter(|(one, _)| one.row().is_some()).count(),
            EncryptionAlgorithm::ALL.iter().filter(|(one, _)| one.row().is_some()).count(),
            MacAlgorithm::ALL.iter().filter(|(one, _)| one.row().is_some()).count(),
        ];
        let rows = [
            KEY_SPECS.len(),
            SIGNING_ALGORITHMS.len(),
            ENCRYPTION_ALGORITHMS.len(),
            MAC_ALGORITHMS.len(),
        ];
        let known = [
            KeySpec::ALL.len(),
            SigningAlgorithm::ALL.len(),
            EncryptionAlgorithm::ALL.len(),
            MacAlgorithm::ALL.len(),
        ];
        assert_eq!((specs, rows), (known, known));
    }

    #[test]
    fn specs_have_the_algorithms_of_their_family() {
        for row in KEY_SPECS {
            let signing = row.signing_algorithms.iter().map(|one| one.row().unwrap().family);
            let encryption = row.encryption_algorithms.iter().map(|one| one.row().unwrap().family);
            let mac = row.mac_algorithms.iter().map(|one| one.row().unwrap().family);
            for family in signing.chain(encryption).chain(mac) {
                assert_eq!(family, row.family, "{:?}", row.spec);
            }
            for mac in row.mac_algorithms {
                assert_eq!(mac.row().unwrap().mac_size, row.secret_size, "{:?}", row.spec);
            }
        }
    }

    #[test]
    fn digests_have_a_length_where_they_are_taken() {
        for row in SIGNING_ALGORITHMS {
            let takes_digests = row.messages.contains(&MessageType::DIGEST);
            assert_eq!(row.digest_size.is_some(), takes_digests, "{:?}", row.algorithm);
        }
    }
}
