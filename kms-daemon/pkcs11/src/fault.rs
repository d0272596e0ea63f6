//! Why a token did not serve.

use cryptoki::error::{Error, RvError};
use serde::{Deserialize, Serialize};

/// Longest name of a return value that is passed on, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// Why a token did not serve. What the worker says, and what the daemon finds out about the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The module cannot be loaded, or does not start.
    #[error("the PKCS#11 module does not load")]
    Module,
    /// The module has no token of that label.
    #[error("the module has no such token")]
    NoToken,
    /// The module has several tokens of that label.
    #[error("the module has several tokens of that label")]
    Ambiguous,
    /// The token is not the one that it was: it has another serial number.
    #[error("another token has taken the place of this one; its serial number is another")]
    Replaced,
    /// The token has no user PIN.
    #[error("the token has no user")]
    NoUser,
    /// The PIN is wrong.
    #[error("the token refuses the PIN")]
    WrongPin,
    /// The PIN is locked.
    #[error("the token has locked the PIN")]
    PinLocked,
    /// One more wrong PIN would lock it, and nobody has asked for this login.
    #[error("the token would lock the PIN after one more failure, so it is not tried")]
    PinAtRisk,
    /// Somebody else is logged in.
    #[error("another user is logged in")]
    LoggedIn,
    /// The token does not have the key.
    #[error("the token does not have the key")]
    NoKey,
    /// The key in the token is not as it has to be.
    #[error("the key in the token is not one that stays there")]
    WrongKey,
    /// What is to be decrypted was not encrypted under this key and this additional data.
    #[error("the ciphertext is not one of the key")]
    Ciphertext,
    /// The answer is not what was asked for.
    #[error("the answer of the token is malformed")]
    Malformed,
    /// The token refuses, with this return value.
    #[error("the token refuses: {0}")]
    Refused(String),
    /// The process did not answer in time.
    #[error("the process of the module does not answer")]
    TimedOut,
    /// The process has ended, or does not start.
    #[error("the process of the module has ended")]
    Ended,
    /// It failed a moment ago, and is left alone for a while.
    #[error("the process of the module is not started again yet")]
    Resting,
    /// As many processes run as may.
    #[error("as many processes of PKCS#11 modules run as may")]
    Crowded,
    /// Too many calls are waiting.
    #[error("too many calls are waiting for the token")]
    Busy,
}

impl Fault {
    /// All that [`Fault::name`] returns.
    pub const NAMES: [&'static str; 19] = [
        "ModuleUnusable",
        "TokenMissing",
        "TokenAmbiguous",
        "TokenReplaced",
        "UserMissing",
        "PinIncorrect",
        "PinLocked",
        "PinAtRisk",
        "UserLoggedIn",
        "KeyMissing",
        "KeyUnsafe",
        "CiphertextInvalid",
        "AnswerMalformed",
        "TokenRefused",
        "TimedOut",
        "ProcessEnded",
        "ProcessResting",
        "TooManyProcesses",
        "TooManyRequests",
    ];

    /// A name for metrics and reports, one of [`Fault::NAMES`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Module => "ModuleUnusable",
            Self::NoToken => "TokenMissing",
            Self::Ambiguous => "TokenAmbiguous",
            Self::Replaced => "TokenReplaced",
            Self::NoUser => "UserMissing",
            Self::WrongPin => "PinIncorrect",
            Self::PinLocked => "PinLocked",
            Self::PinAtRisk => "PinAtRisk",
            Self::LoggedIn => "UserLoggedIn",
            Self::NoKey => "KeyMissing",
            Self::WrongKey => "KeyUnsafe",
            Self::Ciphertext => "CiphertextInvalid",
            Self::Malformed => "AnswerMalformed",
            Self::Refused(_) => "TokenRefused",
            Self::TimedOut => "TimedOut",
            Self::Ended => "ProcessEnded",
            Self::Resting => "ProcessResting",
            Self::Crowded => "TooManyProcesses",
            Self::Busy => "TooManyRequests",
        }
    }

    /// Whether logging in again with the same PIN may only make it worse.
    #[must_use]
    pub const fn is_about_pin(&self) -> bool {
        matches!(self, Self::WrongPin | Self::PinLocked | Self::PinAtRisk)
    }

    /// Whether the token, or its process, was asked at all.
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        !matches!(self, Self::Resting | Self::Crowded | Self::Busy)
    }

    /// Whether a process that says so is worth keeping: the token has understood, and refused.
    #[must_use]
    pub(crate) const fn is_answer(&self) -> bool {
        matches!(self, Self::NoKey | Self::WrongKey | Self::Ciphertext)
    }
}

/// Of return values that mean one thing in every call. Others depend on the call.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::LibraryLoading(_)
            | Error::MissingSymbol(_)
            | Error::NullFunctionPointer
            | Error::NotSupported => Self::Module,
            Error::Pkcs11(value, _) => match value {
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
                    Self::WrongPin
                }
                // PKCS #11 2.40, 5.1.6: an expired PIN has to be set anew by its owner.
                RvError::PinExpired | RvError::PinLocked => Self::PinLocked,
                RvError::UserPinNotInitialized => Self::NoUser,
                RvError::UserAlreadyLoggedIn
                | RvError::UserAnotherAlreadyLoggedIn
                | RvError::UserTooManyTypes => Self::LoggedIn,
                RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::DeviceRemoved
                | RvError::SlotIdInvalid => Self::NoToken,
                RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Self::NoKey,
                RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => Self::Ciphertext,
                other => Self::Refused(format!("{other:?}").chars().take(MAX_NAME).collect()),
            },
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn every_name_is_listed() {
        let known = [
            Fault::Module,
            Fault::NoToken,
            Fault::Ambiguous,
            Fault::Replaced,
            Fault::NoUser,
            Fault::WrongPin,
            Fault::PinLocked,
            Fault::PinAtRisk,
            Fault::LoggedIn,
            Fault::NoKey,
            Fault::WrongKey,
            Fault::Ciphertext,
            Fault::Malformed,
            Fault::Refused("GeneralError".to_owned()),
            Fault::TimedOut,
            Fault::Ended,
            Fault::Resting,
            Fault::Crowded,
            Fault::Busy,
        ];
        assert_eq!(known.each_ref().map(Fault::name), Fault::NAMES);
    }

    #[test]
    fn return_values_about_pins_are_told_apart() {
        for (value, fault) in [
            (RvError::PinIncorrect, Fault::WrongPin),
            (RvError::PinLenRange, Fault::WrongPin),
            (RvError::PinLocked, Fault::PinLocked),
            (RvError::PinExpired, Fault::PinLocked),
            (RvError::UserPinNotInitialized, Fault::NoUser),
            (RvError::UserAnotherAlreadyLoggedIn, Fault::LoggedIn),
            (RvError::DeviceRemoved, Fault::NoToken),
            (RvError::EncryptedDataInvalid, Fault::Ciphertext),
            (RvError::GeneralError, Fault::Refused("GeneralError".to_owned())),
        ] {
            assert_eq!(Fault::from(Error::Pkcs11(value, Function::Login)), fault);
        }
        assert!(Fault::WrongPin.is_about_pin() && Fault::PinLocked.is_about_pin());
        assert!(!Fault::NoToken.is_about_pin() && !Fault::TimedOut.is_about_pin());
    }
}
