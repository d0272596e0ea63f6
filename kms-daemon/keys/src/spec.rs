//! Which key may be used for what.
//!
//! What exists in the API and what this service offers differ: the service model
//! ([`kms_model::enums`]) has the names there are, the key-spec table of the device protocol says
//! what is offered.

use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KeySpec, KeySpecRow, KeyUsage, SigningAlgorithm,
};

use super::KeyRecord;
use kms_base::error::{Exception, KmsError};
use kms_model::action::{KeyRule, Requirement};
use kms_model::enums::{
    EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec, KeyAgreementAlgorithmSpec,
    MacAlgorithmSpec, SigningAlgorithmSpec,
};
use kms_model::{Action, Operation};

/// What a request wants to do with a key, as the API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Encrypt or decrypt.
    Encryption(EncryptionAlgorithmSpec),
    /// Sign or verify.
    Signing(SigningAlgorithmSpec),
    /// Compute or verify a MAC.
    Mac(MacAlgorithmSpec),
    /// Agree on a shared secret.
    Agreement(KeyAgreementAlgorithmSpec),
    /// Encapsulate or decapsulate a shared secret.
    Encapsulation(EncapsulationAlgorithmSpec),
}

impl Algorithm {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encryption(algorithm) => algorithm.name(),
            Self::Signing(algorithm) => algorithm.name(),
            Self::Mac(algorithm) => algorithm.name(),
            Self::Agreement(algorithm) => algorithm.name(),
            Self::Encapsulation(algorithm) => algorithm.name(),
        }
    }

    /// Whether a key of this spec and usage may be used with it.
    fn fits(self, spec: KeySpec, usage: KeyUsage) -> bool {
        let Some(row) = spec.row() else { return false };
        match self {
            Self::Encryption(algorithm) => {
                let has = |known| row.encryption_algorithms.contains(&known);
                usage == KeyUsage::ENCRYPT_DECRYPT && algorithm.device().is_some_and(has)
            }
            Self::Signing(algorithm) => {
                let has = |known| row.signing_algorithms.contains(&known);
                usage == KeyUsage::SIGN_VERIFY && algorithm.device().is_some_and(has)
            }
            Self::Mac(algorithm) => {
                usage == KeyUsage::GENERATE_VERIFY_MAC
                    && row.mac_algorithms.contains(&algorithm.device())
            }
            Self::Agreement(KeyAgreementAlgorithmSpec::ECDH) => usage == KeyUsage::KEY_AGREEMENT,
            Self::Encapsulation(EncapsulationAlgorithmSpec::ML_KEM) => {
                usage == KeyUsage::ENCAPSULATE_DECAPSULATE
            }
        }
    }
}

/// The names of the algorithms a key may be used with, for lists of them.
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
        KeyUsage::KEY_AGREEMENT => vec![KeyAgreementAlgorithmSpec::ECDH.name()],
        KeyUsage::ENCAPSULATE_DECAPSULATE => vec![EncapsulationAlgorithmSpec::ML_KEM.name()],
        _ => return None,
    })
}

/// Whether a key is of the kind that `action` needs.
#[must_use]
pub fn suits(key: &KeyRecord, action: Action) -> bool {
    let offered = key.external.is_none() || is_for_external(action);
    offered && KeyRule::of(action).is_some_and(|rule| meets(key, rule.requirement))
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
        _ if key.external.is_some() && !is_for_external(rule.action) => false,
        Requirement::OwnSymmetric | Requirement::Own => !key.is_external(),
        Requirement::External => key.is_external(),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let (arn, origin) = (key.arn(), key.origin_name().unwrap_or_default());
    let text = format!("{arn} origin is {origin} which is not valid for this operation.");
    Err(KmsError::new(Exception::UnsupportedOperation, text))
}

/// Whether an action can be about a key of an external key store. Such keys do not rotate, are not imported
/// or replicated, and make no data key pairs.
const fn is_for_external(action: Action) -> bool {
    !matches!(
        action,
        Action::DeleteImportedKeyMaterial
            | Action::DisableKeyRotation
            | Action::EnableKeyRotation
            | Action::GenerateDataKeyPair
            | Action::GenerateDataKeyPairWithoutPlaintext
            | Action::GetKeyRotationStatus
            | Action::GetParametersForImport
            | Action::ImportKeyMaterial
            | Action::ListKeyRotations
            | Action::ReplicateKey
            | Action::RotateKeyOnDemand
            | Action::UpdatePrimaryRegion
    )
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
    algorithm: Option<Algorithm>,
) -> Result<(), KmsError> {
    if !meets(key, rule.requirement) {
        return Err(unfit(key, rule));
    }
    let Some(algorithm) = algorithm else { return Ok(()) };
    if algorithm.fits(key.spec, key.usage) {
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
pub fn encryption_algorithm(
    algorithm: EncryptionAlgorithmSpec,
) -> Result<EncryptionAlgorithm, KmsError> {
    algorithm.device().ok_or_else(|| not_offered(algorithm.name()))
}

/// The longest plaintext that an asymmetric key encrypts, in bytes (RFC 8017 7.1.1); `None` for
/// a symmetric algorithm.
#[must_use]
pub fn max_plaintext(spec: KeySpec, algorithm: EncryptionAlgorithm) -> Option<usize> {
    let hash = algorithm.row()?.oaep_hash_size?;
    // The primes are as long as their product.
    Some(spec.row()?.secret_size.saturating_sub(2 * hash + 2))
}

/// The device's number for a signing algorithm that [`check_use`] has accepted.
///
/// # Errors
/// [`Exception::InvalidKeyUsage`].
pub fn signing_algorithm(algorithm: SigningAlgorithmSpec) -> Result<SigningAlgorithm, KmsError> {
    algorithm.device().ok_or_else(|| not_offered(algorithm.name()))
}

fn not_offered(name: &str) -> KmsError {
    KmsError::new(Exception::InvalidKeyUsage, format!("Algorithm {name} is not offered."))
}

#[cfg(test)]
mod tests {
    use hsm_protocol::key_spec::KEY_SPECS as OFFERED;

    use super::*;
    use kms_model::enums::{self, DataKeyPairSpec, KeyUsageType};

    #[test]
    fn what_is_offered_is_in_the_model() {
        for row in OFFERED {
            let mut specs = enums::KeySpec::ALL.iter();
            let spec = specs.find(|spec| spec.device() == Some(row.spec)).unwrap();
            for usage in row.usages {
                let mut usages = KeyUsageType::ALL.iter();
                let modelled = usages.find(|modelled| modelled.device() == *usage).unwrap();
                assert!(spec.allows(*modelled));
                let names = algorithms(row.spec, *usage).unwrap();
                assert!(!names.is_empty());
                for name in names {
                    let model = [
                        EncryptionAlgorithmSpec::NAMES,
                        SigningAlgorithmSpec::NAMES,
                        MacAlgorithmSpec::NAMES,
                        KeyAgreementAlgorithmSpec::NAMES,
                        EncapsulationAlgorithmSpec::NAMES,
                    ];
                    assert!(model.concat().contains(&name));
                }
            }
            let mut pairs = DataKeyPairSpec::ALL.iter();
            let has_pairs = pairs.any(|pair| pair.device() == Some(row.spec));
            assert_eq!(row.data_key_pair, has_pairs, "{spec:?}");
        }
    }

    #[test]
    fn keys_fit_the_algorithms_that_are_listed_for_them() {
        let all: [Vec<_>; 5] = [
            EncryptionAlgorithmSpec::ALL.iter().copied().map(Algorithm::Encryption).collect(),
            SigningAlgorithmSpec::ALL.iter().copied().map(Algorithm::Signing).collect(),
            MacAlgorithmSpec::ALL.iter().copied().map(Algorithm::Mac).collect(),
            KeyAgreementAlgorithmSpec::ALL.iter().copied().map(Algorithm::Agreement).collect(),
            EncapsulationAlgorithmSpec::ALL.iter().copied().map(Algorithm::Encapsulation).collect(),
        ];
        let all = all.concat();
        for row in OFFERED {
            for usage in row.usages {
                let mut listed = algorithms(row.spec, *usage).unwrap();
                let fitting = all.iter().filter(|algorithm| algorithm.fits(row.spec, *usage));
                let mut fitting: Vec<_> = fitting.map(|algorithm| algorithm.name()).collect();
                listed.sort_unstable();
                fitting.sort_unstable();
                assert_eq!(fitting, listed, "{:?} {usage:?}", row.spec);
            }
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
        let all = enums::KeySpec::ALL;
        let offered = all.iter().filter(|spec| spec.device().is_some());
        assert_eq!(offered.count(), all.len() - 1);
        assert!(enums::KeySpec::SM2.allows(KeyUsageType::KEY_AGREEMENT));
        assert!(!enums::KeySpec::SM2.allows(KeyUsageType::GENERATE_VERIFY_MAC));
        assert!(!enums::KeySpec::ML_KEM_512.allows(KeyUsageType::SIGN_VERIFY));
    }
}
