//! Key specs, usages and algorithms: the names of the API, and which key may use which.
//!
//! What exists in the API and what this service offers differ: the service model (`crate::api`)
//! has the names there are, the key-spec table of the device protocol says what is offered.

use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KeySpec, KeySpecRow, KeyUsage, MacAlgorithm, SigningAlgorithm,
};

use super::KeyRecord;
use crate::error::{Exception, KmsError};
use crate::model::action::{KeyRule, Requirement};
use crate::model::{Action, Operation};

/// The only encryption algorithm of symmetric keys, and the default.
pub const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";

/// `DataKeySpec` of the service model, with the length of the data key in bytes.
pub const DATA_KEY_SPECS: &[(&str, u16)] = &[("AES_256", 32), ("AES_128", 16)];

/// `KeyAgreementAlgorithmSpec` of the service model.
pub const KEY_AGREEMENT_ALGORITHMS: &[&str] = &["ECDH"];

/// `EncapsulationAlgorithmSpec` of the service model.
pub const ENCAPSULATION_ALGORITHMS: &[&str] = &["ML_KEM"];

/// Whether the service model allows a usage for a key spec.
#[must_use]
pub fn model_allows(spec: &str, usage: &str) -> bool {
    match KeySpec::from_aws_name(spec).and_then(KeySpec::row) {
        Some(row) => row.usages.iter().any(|allowed| allowed.aws_name() == Some(usage)),
        // SM2, which devices do not have.
        None => ["ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"].contains(&usage),
    }
}

/// What a request wants to do with a key, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm<'a> {
    /// An `EncryptionAlgorithmSpec`.
    Encryption(&'a str),
    /// A `SigningAlgorithmSpec`.
    Signing(&'a str),
    /// A `MacAlgorithmSpec`.
    Mac(&'a str),
    /// A `KeyAgreementAlgorithmSpec`.
    Agreement(&'a str),
    /// An `EncapsulationAlgorithmSpec`.
    Encapsulation(&'a str),
}

impl<'a> Algorithm<'a> {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'a str {
        match self {
            Self::Encryption(name)
            | Self::Signing(name)
            | Self::Mac(name)
            | Self::Agreement(name)
            | Self::Encapsulation(name) => name,
        }
    }
}

/// The names of the algorithms a key may be used with.
#[must_use]
pub fn algorithms(spec: KeySpec, usage: KeyUsage) -> Option<Vec<&'static str>> {
    let row = spec.row()?;
    Some(match usage {
        KeyUsage::ENCRYPT_DECRYPT => {
            row.encryption_algorithms.iter().filter_map(|row| row.aws_name()).collect()
        }
        KeyUsage::SIGN_VERIFY => {
            row.signing_algorithms.iter().filter_map(|row| row.aws_name()).collect()
        }
        KeyUsage::GENERATE_VERIFY_MAC => {
            row.mac_algorithms.iter().filter_map(|row| row.aws_name()).collect()
        }
        KeyUsage::KEY_AGREEMENT => KEY_AGREEMENT_ALGORITHMS.to_vec(),
        KeyUsage::ENCAPSULATE_DECAPSULATE => ENCAPSULATION_ALGORITHMS.to_vec(),
        _ => return None,
    })
}

/// Whether a key is of the kind that `action` needs.
#[must_use]
pub fn suits(key: &KeyRecord, action: Action) -> bool {
    KeyRule::of(action).is_some_and(|rule| meets(key, rule.requirement))
}

/// Whether a key is of a kind.
fn meets(key: &KeyRecord, requirement: Requirement) -> bool {
    let symmetric = key.spec == KeySpec::SYMMETRIC_DEFAULT;
    match requirement {
        Requirement::AnyKey => true,
        Requirement::Asymmetric => key.spec.row().is_some_and(has_public_half),
        Requirement::Symmetric => symmetric,
        Requirement::OwnSymmetric => symmetric && !key.is_external(),
        Requirement::Own => !key.is_external(),
        Requirement::External => key.is_external(),
        Requirement::MultiRegion => key.multi_region.is_some(),
        Requirement::Usage(usage) => key.usage == usage,
    }
}

/// Checks that the material of a key comes from where an action needs it to.
///
/// # Errors
/// [`Exception::UnsupportedOperation`].
pub fn check_origin(key: &KeyRecord, rule: KeyRule) -> Result<(), KmsError> {
    let fits = match rule.requirement {
        Requirement::OwnSymmetric | Requirement::Own => !key.is_external(),
        Requirement::External => key.is_external(),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let (arn, origin) = (key.arn(), key.origin.aws_name().unwrap_or_default());
    let text = format!("{arn} origin is {origin} which is not valid for this operation.");
    Err(KmsError::new(Exception::UnsupportedOperation, text))
}

/// Checks that a key is of the kind that an action needs, and may be used with `algorithm`.
/// [`check_origin`] comes before.
///
/// # Errors
/// [`Exception::InvalidKeyUsage`] if the key was made for another use or has no such algorithm,
/// else [`Exception::UnsupportedOperation`].
pub fn check_use(
    key: &KeyRecord,
    rule: KeyRule,
    algorithm: Option<Algorithm<'_>>,
) -> Result<(), KmsError> {
    if !meets(key, rule.requirement) {
        return Err(unfit(key, rule));
    }
    let Some(algorithm) = algorithm else { return Ok(()) };
    let fits =
        algorithms(key.spec, key.usage).is_some_and(|names| names.contains(&algorithm.name()));
    if fits {
        return Ok(());
    }
    let text =
        format!("Algorithm {} is incompatible with key spec {:?}.", algorithm.name(), key.spec);
    Err(KmsError::new(Exception::InvalidKeyUsage, text))
}

/// Why a key cannot be used for an action.
fn unfit(key: &KeyRecord, rule: KeyRule) -> KmsError {
    let (arn, operation) = (key.arn(), Operation::of(rule.action).map_or("", Operation::name));
    match rule.requirement {
        Requirement::Usage(_) => {
            let text =
                format!("{arn} key usage is {:?} which is not valid for {operation}.", key.usage);
            KmsError::new(Exception::InvalidKeyUsage, text)
        }
        Requirement::MultiRegion => {
            let text = format!("{arn} is not a multi-region primary key.");
            KmsError::new(Exception::UnsupportedOperation, text)
        }
        _ => {
            let text =
                format!("{arn} key spec is {:?} which is not valid for {operation}.", key.spec);
            KmsError::new(Exception::UnsupportedOperation, text)
        }
    }
}

const fn has_public_half(row: &KeySpecRow) -> bool {
    row.public_size > 0
}

/// The device's number for an encryption algorithm that [`check_use`] has accepted.
///
/// # Errors
/// [`Exception::InvalidKeyUsage`].
pub fn encryption_algorithm(name: &str) -> Result<EncryptionAlgorithm, KmsError> {
    EncryptionAlgorithm::from_aws_name(name).ok_or_else(|| not_offered(name))
}

/// The longest plaintext that an asymmetric key encrypts, in bytes (RFC 8017 7.1.1); `None` for
/// a symmetric algorithm.
#[must_use]
pub fn max_plaintext(spec: KeySpec, algorithm: EncryptionAlgorithm) -> Option<usize> {
    let hash = match algorithm {
        EncryptionAlgorithm::RSAES_OAEP_SHA_1 => 20,
        EncryptionAlgorithm::RSAES_OAEP_SHA_256 => 32,
        _ => return None,
    };
    // The primes are as long as their product.
    Some(spec.row()?.secret_size.saturating_sub(2 * hash + 2))
}

/// The device's number for a signing algorithm that [`check_use`] has accepted.
///
/// # Errors
/// [`Exception::InvalidKeyUsage`].
pub fn signing_algorithm(name: &str) -> Result<SigningAlgorithm, KmsError> {
    SigningAlgorithm::from_aws_name(name).ok_or_else(|| not_offered(name))
}

/// The device's number for a MAC algorithm that [`check_use`] has accepted.
///
/// # Errors
/// [`Exception::InvalidKeyUsage`].
pub fn mac_algorithm(name: &str) -> Result<MacAlgorithm, KmsError> {
    MacAlgorithm::from_aws_name(name).ok_or_else(|| not_offered(name))
}

fn not_offered(name: &str) -> KmsError {
    KmsError::new(Exception::InvalidKeyUsage, format!("Algorithm {name} is not offered."))
}

#[cfg(test)]
mod tests {
    use hsm_protocol::key_spec::KEY_SPECS as OFFERED;

    use super::*;
    use crate::api::values;

    #[test]
    fn what_is_offered_is_in_the_model() {
        for row in OFFERED {
            let spec = row.spec.aws_name().unwrap();
            assert!(values::KEY_SPEC.contains(&spec));
            for usage in row.usages {
                assert!(model_allows(spec, usage.aws_name().unwrap()));
                let names = algorithms(row.spec, *usage).unwrap();
                assert!(!names.is_empty());
                for name in names {
                    let model = [
                        values::ENCRYPTION_ALGORITHM_SPEC,
                        values::SIGNING_ALGORITHM_SPEC,
                        values::MAC_ALGORITHM_SPEC,
                        values::KEY_AGREEMENT_ALGORITHM_SPEC,
                        values::ENCAPSULATION_ALGORITHM_SPEC,
                    ];
                    assert!(model.concat().contains(&name));
                }
            }
            assert_eq!(row.data_key_pair, values::DATA_KEY_PAIR_SPEC.contains(&spec), "{spec}");
        }
    }

    #[test]
    fn plaintexts_leave_room_for_the_padding() {
        let specs = [KeySpec::RSA_2048, KeySpec::RSA_3072, KeySpec::RSA_4096];
        for (algorithm, lengths) in [
            (EncryptionAlgorithm::RSAES_OAEP_SHA_1, [214, 342, 470]),
            (EncryptionAlgorithm::RSAES_OAEP_SHA_256, [190, 318, 446]),
        ] {
            assert_eq!(specs.map(|spec| max_plaintext(spec, algorithm)), lengths.map(Some));
        }
        let symmetric = EncryptionAlgorithm::SYMMETRIC_DEFAULT;
        assert_eq!(max_plaintext(KeySpec::SYMMETRIC_DEFAULT, symmetric), None);
    }

    #[test]
    fn what_is_in_the_model_is_offered_but_for_sm2() {
        let offered = |name: &&&str| KeySpec::from_aws_name(name).is_some();
        assert_eq!(values::KEY_SPEC.iter().filter(offered).count(), values::KEY_SPEC.len() - 1);
        assert!(model_allows("SM2", "KEY_AGREEMENT"));
        assert!(!model_allows("SM2", "GENERATE_VERIFY_MAC"));
        assert!(!model_allows("ML_KEM_512", "SIGN_VERIFY"));
    }
}
