//! Refusals: the one table of their names with the HTTP statuses. AWS KMS decides by the name.

use std::borrow::Cow;
use std::fmt;

use kms_base::error::{Exception, KmsError};
use serde_json::json;

/// Longest message, in bytes: AWS KMS takes less than 512 printable ASCII characters.
const MAX_MESSAGE: usize = 511;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $status:literal;)+) => {
        /// The name of a refusal. The variants are the rows of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorName {
            $($(#[$doc])* $name,)+
        }

        impl ErrorName {
            /// Every row of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns `errorName`.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Returns the HTTP status code of the response.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

names! {
    /// A member is missing, or breaks a constraint.
    Validation, "ValidationException", 400;
    /// The key is not in a state in which it can be used.
    InvalidState, "InvalidStateException", 400;
    /// The ciphertext is damaged, or is of another key or other authenticated data.
    InvalidCiphertext, "InvalidCiphertextException", 400;
    /// The key is not for encryption.
    InvalidKeyUsage, "InvalidKeyUsageException", 400;
    /// Nobody has signed the request who may use the store.
    AuthenticationFailed, "AuthenticationFailedException", 401;
    /// The policy of the store, or that of the key, does not allow the request.
    AccessDenied, "AccessDeniedException", 403;
    /// The store does not have such a key.
    KeyNotFound, "KeyNotFoundException", 404;
    /// The path is not one of the API, or is another store's.
    InvalidUriPath, "InvalidUriPathException", 404;
    /// The method is not `POST`. The API has no name for it.
    MethodNotAllowed, "ValidationException", 405;
    /// There are too many requests.
    Throttling, "ThrottlingException", 429;
    /// The proxy failed.
    Internal, "InternalException", 500;
    /// A parameter is larger than the proxy takes, or asks for what it does not do.
    UnsupportedOperation, "UnsupportedOperationException", 501;
    /// No device has answered in time.
    DependencyTimeout, "DependencyTimeoutException", 503;
}

/// A refusal: its name and a message for the operator of the store, which AWS KMS logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XksError {
    name: ErrorName,
    message: Cow<'static, str>,
}

impl XksError {
    /// Makes a refusal.
    #[must_use]
    pub fn new(name: ErrorName, message: impl Into<Cow<'static, str>>) -> Self {
        Self { name, message: message.into() }
    }

    /// Makes the refusal of a member that is missing or invalid.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorName::Validation, message)
    }

    /// Makes the refusal of a ciphertext. All are alike, whatever is wrong with it.
    #[must_use]
    pub const fn ciphertext() -> Self {
        Self {
            name: ErrorName::InvalidCiphertext,
            message: Cow::Borrowed("The ciphertext is not valid for this key and request."),
        }
    }

    /// Makes the refusal of a request that nobody has signed who may use the store. All are alike,
    /// whether the store, the access key or the signature is wrong.
    #[must_use]
    pub const fn unauthenticated() -> Self {
        Self {
            name: ErrorName::AuthenticationFailed,
            message: Cow::Borrowed("The request is not signed with a credential of this store."),
        }
    }

    /// The row of the table.
    #[must_use]
    pub const fn name(&self) -> ErrorName {
        self.name
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the body of the response.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let message: String = self.message.chars().take(MAX_MESSAGE).map(printable).collect();
        json!({ "errorName": self.name.text(), "errorMessage": message }).to_string().into_bytes()
    }
}

impl fmt::Display for XksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name.text(), self.message)
    }
}

impl std::error::Error for XksError {}

impl From<KmsError> for XksError {
    /// The same refusal, as the proxy API has it. What the API of KMS says to strangers is not repeated.
    fn from(error: KmsError) -> Self {
        let name = match error.exception() {
            Exception::InvalidCiphertext | Exception::IncorrectKey => return Self::ciphertext(),
            Exception::ExpiredToken
            | Exception::IncompleteSignature
            | Exception::InvalidSignature
            | Exception::MissingAuthenticationToken
            | Exception::UnrecognizedClient => return Self::unauthenticated(),
            Exception::AccessDenied => ErrorName::AccessDenied,
            Exception::Disabled | Exception::KmsInvalidState => ErrorName::InvalidState,
            Exception::InvalidKeyUsage => ErrorName::InvalidKeyUsage,
            Exception::NotFound => ErrorName::KeyNotFound,
            Exception::Throttling => ErrorName::Throttling,
            Exception::RequestEntityTooLarge
            | Exception::Validation
            | Exception::UnsupportedOperation => ErrorName::UnsupportedOperation,
            Exception::DependencyTimeout
            | Exception::KeyUnavailable
            | Exception::ServiceUnavailable => ErrorName::DependencyTimeout,
            _ => ErrorName::Internal,
        };
        Self::new(name, error.message().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_short_and_printable() {
        let text = format!("\u{e9}\n\"{}", "x".repeat(1000));
        let body = XksError::invalid(text).to_body();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errorName"], "ValidationException");
        let message = body["errorMessage"].as_str().unwrap();
        assert_eq!(message.len(), MAX_MESSAGE);
        assert!(message.starts_with("??\"xxx"), "{message}");
    }

    #[test]
    fn refusals_of_kms_have_their_names_here() {
        for (exception, name) in [
            (Exception::Disabled, ErrorName::InvalidState),
            (Exception::KmsInvalidState, ErrorName::InvalidState),
            (Exception::KeyUnavailable, ErrorName::DependencyTimeout),
            (Exception::KmsInternal, ErrorName::Internal),
            (Exception::NotFound, ErrorName::KeyNotFound),
            (Exception::AccessDenied, ErrorName::AccessDenied),
            (Exception::Throttling, ErrorName::Throttling),
            (Exception::InvalidKeyUsage, ErrorName::InvalidKeyUsage),
        ] {
            assert_eq!(XksError::from(KmsError::new(exception, "text")).name(), name);
        }
    }

    /// What was wrong with a signature, and whether a key exists, is not repeated.
    #[test]
    fn all_refusals_of_strangers_and_all_of_ciphertexts_are_one() {
        for exception in [
            Exception::InvalidSignature,
            Exception::UnrecognizedClient,
            Exception::IncompleteSignature,
            Exception::MissingAuthenticationToken,
        ] {
            let error = XksError::from(KmsError::new(exception, "secret detail"));
            assert_eq!(error, XksError::unauthenticated());
        }
        let error = XksError::from(KmsError::bare(Exception::InvalidCiphertext));
        assert_eq!(error, XksError::ciphertext());
    }
}
