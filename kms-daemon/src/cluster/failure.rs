//! Why a cluster did not serve, and what callers are told.

use std::fmt;

use kms_base::error::{Exception, KmsError};
use kms_keys::custom_store::ConnectionError;
use kms_pkcs11::Fault;

/// Why a cluster did not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The operator of the host does not allow the module, or not any more.
    NotAllowed,
    /// The cluster is not registered any more.
    NotRegistered,
    /// Too few tokens serve.
    TooFew {
        /// How many do.
        serving: usize,
        /// How many have to.
        needed: usize,
    },
    /// The password cannot be one.
    Password,
    /// There is no random number.
    Random,
    /// What a device made of it does not fit.
    Content,
    /// What a token said, or the last of them.
    Token(Fault),
}

impl Failure {
    /// The exception of cryptographic operations.
    pub(crate) fn of_use(&self) -> KmsError {
        match self {
            Self::Token(Fault::Ciphertext) => KmsError::bare(Exception::InvalidCiphertext),
            _ => KmsError::new(Exception::KmsInvalidState, self.text()),
        }
    }

    /// The exception of `CreateKey`.
    pub(crate) fn of_new_key(&self) -> KmsError {
        let exception = match self {
            Self::TooFew { .. } => Exception::CloudHsmClusterInvalidConfiguration,
            _ => Exception::CustomKeyStoreInvalidState,
        };
        KmsError::new(exception, self.text())
    }

    /// The exception of `CreateCustomKeyStore`.
    pub(crate) fn of_store(&self) -> KmsError {
        let exception = match self {
            Self::NotRegistered => Exception::CloudHsmClusterNotFound,
            Self::TooFew { serving: 1.., .. } => Exception::CloudHsmClusterInvalidConfiguration,
            _ => Exception::CloudHsmClusterNotActive,
        };
        KmsError::new(exception, self.text())
    }

    /// The exception of `GenerateRandom`.
    pub(crate) fn of_random(&self) -> KmsError {
        KmsError::new(Exception::CustomKeyStoreInvalidState, self.text())
    }

    /// Why a store is not connected.
    pub(crate) const fn of_connection(&self) -> ConnectionError {
        match self {
            Self::NotAllowed | Self::NotRegistered => ConnectionError::ClusterNotFound,
            Self::TooFew { .. } => ConnectionError::InsufficientCloudhsmHsms,
            Self::Password => ConnectionError::InvalidCredentials,
            Self::Random | Self::Content => ConnectionError::InternalError,
            Self::Token(fault) => match fault {
                Fault::Module => ConnectionError::ClusterNotFound,
                // A token that has taken the place of another one is not of the cluster.
                Fault::NoToken | Fault::Replaced => ConnectionError::InsufficientCloudhsmHsms,
                Fault::NoUser => ConnectionError::UserNotFound,
                Fault::WrongPin => ConnectionError::InvalidCredentials,
                Fault::PinLocked | Fault::PinAtRisk => ConnectionError::UserLockedOut,
                Fault::LoggedIn => ConnectionError::UserLoggedIn,
                Fault::TimedOut | Fault::Ended | Fault::Resting | Fault::Crowded | Fault::Busy => {
                    ConnectionError::NetworkErrors
                }
                Fault::Ambiguous
                | Fault::NoKey
                | Fault::WrongKey
                | Fault::Ciphertext
                | Fault::Malformed
                | Fault::Refused(_) => ConnectionError::InternalError,
            },
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::NotAllowed => {
                "The PKCS#11 module of the cluster is not one that this service runs: its operator names \
                 modules with --pkcs11-module."
            }
            Self::NotRegistered => "The cluster is not registered with this service.",
            Self::TooFew { serving, needed } => {
                return format!(
                    "{serving} tokens of the cluster serve, of the {needed} that are needed. Bring the \
                     others back first."
                );
            }
            Self::Password => "The password of the key store is not text.",
            Self::Random => "The service has no random numbers.",
            Self::Content => {
                "The cluster has decrypted something that is not a ciphertext of the KMS key."
            }
            Self::Token(fault) => match fault {
                Fault::NoKey => {
                    "The cluster does not have the key any more. Restore its tokens from a backup that has it."
                }
                Fault::WrongKey => {
                    "The key in the tokens of the cluster is not one that stays in them; it is not used."
                }
                Fault::WrongPin | Fault::PinLocked | Fault::PinAtRisk => {
                    "The cluster does not accept the password of the key store. Disconnect it, update its \
                     password, and connect it again."
                }
                Fault::NoToken | Fault::Ambiguous => "No token of the cluster is there.",
                Fault::Replaced => {
                    "A token of the cluster is another one than it was: its serial number is not the registered \
                     one. It is not used before the operator of the service has accepted it (kmsctl cluster \
                     accept), or the former one is back."
                }
                Fault::Crowded => {
                    "The service runs as many processes of PKCS#11 modules as it may. Its operator raises \
                     --pkcs11-processes, or disconnects other custom key stores."
                }
                Fault::Busy => "The cluster has too many requests under way. Try again.",
                _ => "The cluster does not serve now. Try again later.",
            },
        };
        text.to_owned()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(fault) => fault.fmt(f),
            other => f.write_str(&other.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_that_are_wrong_or_locked_are_told_apart() {
        let of = |fault| Failure::Token(fault).of_connection().name();
        assert_eq!(of(Fault::WrongPin), "INVALID_CREDENTIALS");
        assert_eq!(of(Fault::PinLocked), "USER_LOCKED_OUT");
        assert_eq!(of(Fault::NoUser), "USER_NOT_FOUND");
        assert_eq!(of(Fault::LoggedIn), "USER_LOGGED_IN");
        assert_eq!(of(Fault::Module), "CLUSTER_NOT_FOUND");
        assert_eq!(of(Fault::NoToken), "INSUFFICIENT_CLOUDHSM_HSMS");
        assert_eq!(of(Fault::Replaced), "INSUFFICIENT_CLOUDHSM_HSMS");
        assert_eq!(of(Fault::Ended), "NETWORK_ERRORS");
        assert_eq!(of(Fault::TimedOut), "NETWORK_ERRORS");
        assert_eq!(of(Fault::Malformed), "INTERNAL_ERROR");
    }

    #[test]
    fn a_wrong_ciphertext_is_the_callers_and_all_else_is_the_clusters() {
        let of = |fault| Failure::Token(fault).of_use();
        assert_eq!(of(Fault::Ciphertext).exception(), Exception::InvalidCiphertext);
        let refused = Fault::Refused("GENERAL".to_owned());
        for fault in [Fault::NoKey, Fault::TimedOut, Fault::Ended, Fault::WrongPin, refused] {
            let error = of(fault);
            assert_eq!(error.exception(), Exception::KmsInvalidState);
            assert!(error.message().is_some_and(|text| !text.contains("GENERAL")));
        }
    }
}
