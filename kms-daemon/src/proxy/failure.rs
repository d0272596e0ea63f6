//! Why a proxy did not do what it was asked for, and what callers of the API are told.
//!
//! Exceptions of the API tell the cause by their texts, which are AWS's. What the proxy itself says is for the
//! log only: it is somebody else's text.

use std::fmt;

use kms_base::error::{Exception, KmsError};
use kms_keys::custom_store::ConnectionError;
use kms_xks::{ErrorName, Unreadable};

/// Why a call to a proxy failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The operator has not named the host.
    NotAllowed,
    /// The operator has not named the VPC endpoint service, or it is of another account or Region.
    NoService,
    /// The VPC endpoint service has another host.
    ServiceHost,
    /// The credential cannot sign anything.
    Credential,
    /// As many calls of the store are under way as may be.
    Busy,
    /// The proxy did not answer lately, and is left alone for a while.
    Resting,
    /// It took too long.
    TimedOut,
    /// Nobody is there, or the connection broke.
    Unreachable(String),
    /// The other end has no certificate for its name, or does not take that of this end.
    Tls(String),
    /// The response is not one of the API.
    Response(Unreadable),
    /// All key managers behind the proxy are unavailable.
    NoKeyManager,
    /// What was decrypted is not of this installation.
    Content,
    /// The proxy has refused.
    Refused {
        /// By this name.
        name: ErrorName,
        /// With this text, printable.
        message: String,
    },
}

const UNREACHABLE: &str = "KMS could not communicate with the external key store proxy. Verify that \
     the proxy is running and that its network, DNS and certificate are in order, and try again.";
const TIMED_OUT: &str = "The external key store proxy did not respond to the request in the time \
     allotted. Retry the request. If you see this error repeatedly, report it to your external key \
     store proxy administrator.";
const UNREADABLE: &str = "The external key store proxy responded to the request in a way that KMS \
     does not understand. If you see this error repeatedly, report it to your external key store \
     proxy administrator.";
const UNAUTHENTICATED: &str = "The external key store proxy rejected the request because it could \
     not authenticate KMS. Verify and update the credential of your external key store.";
const DENIED: &str = "The external key store proxy denied access to the operation. Verify that the \
     user and the external key are both authorized for this operation, and try the request again.";
const NO_KEY: &str = "The external key store proxy rejected the request because it could not find \
     the external key. Verify the ID of the external key in your external key manager.";
const PATH: &str = "The external key store proxy rejected the request because it does not serve \
     under the URI path. Verify the URI path for your external key store and try again.";
const STATE: &str = "The external key store proxy rejected the request because the external key or \
     its key store is not enabled. Verify the state of the external key in your external key manager.";
const USAGE: &str = "The external key store proxy rejected the request because the external key \
     does not support the operation. Verify the configuration of the external key.";
const CIPHERTEXT: &str = "The external key store proxy rejected the request because the specified \
     ciphertext or additional authenticated data is corrupted, missing, or otherwise invalid.";
const UNSUPPORTED: &str = "The external key store proxy rejected the request because it does not \
     support the requested cryptographic operation.";
const THROTTLED: &str = "The external key store proxy rejected the request due to a very high \
     request rate. Reduce the frequency of your calls using KMS keys in this external key store.";
const FLEET: &str = "All external key managers of the external key store proxy are unavailable. \
     Verify the state of your external key managers and try again.";
const NOT_ALLOWED: &str = "This service is not configured to connect to the host in the URI \
     endpoint of the external key store proxy; its operator names the hosts with --xks-proxy-allow.";

const NO_SERVICE: &str = "KMS could not find the VPC endpoint service of the external key store. Verify \
     its name, its Region and its owner; the operator of this service names such services with \
     --xks-proxy-vpc.";
const SERVICE_HOST: &str = "The host in the URI endpoint of the external key store proxy is not the private \
     DNS name of the VPC endpoint service.";

impl Failure {
    /// Whether nobody answered.
    pub(super) const fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable(_) | Self::Tls(_))
    }

    /// Whether the proxy was asked, or at least called.
    pub(super) const fn was_asked(&self) -> bool {
        !matches!(
            self,
            Self::NotAllowed
                | Self::NoService
                | Self::ServiceHost
                | Self::Credential
                | Self::Busy
                | Self::Resting
        )
    }

    /// The name by which it is counted: `errorName` of the proxy, or what AWS KMS calls it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::NotAllowed => "HostNotAllowed",
            Self::NoService => "VpcEndpointServiceNotFound",
            Self::ServiceHost => "InvalidVpcEndpointServiceConfiguration",
            Self::Credential => "InvalidCredential",
            Self::Busy => "TooManyRequests",
            Self::Resting => "ProxyResting",
            Self::TimedOut => "RequestTimedOut",
            Self::Unreachable(_) => "ProxyUnreachable",
            Self::Tls(_) => "InvalidTlsConfiguration",
            Self::Response(_) | Self::Content => "InvalidResponse",
            Self::NoKeyManager => "KeyManagersUnavailable",
            Self::Refused { name, .. } => name.text(),
        }
    }

    /// Whether it may be different the next time.
    pub(super) const fn is_retryable(&self) -> bool {
        match self {
            Self::Busy
            | Self::Resting
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::NoKeyManager => true,
            Self::Refused { name, .. } => matches!(
                name,
                ErrorName::DependencyTimeout | ErrorName::Internal | ErrorName::Throttling
            ),
            _ => false,
        }
    }

    /// What the owner of a KMS key is told.
    const fn text(&self) -> &'static str {
        match self {
            Self::NotAllowed => NOT_ALLOWED,
            Self::NoService => NO_SERVICE,
            Self::ServiceHost => SERVICE_HOST,
            Self::Credential => UNAUTHENTICATED,
            Self::Busy => THROTTLED,
            Self::TimedOut => TIMED_OUT,
            Self::Resting | Self::Unreachable(_) | Self::Tls(_) => UNREACHABLE,
            Self::Response(_) => UNREADABLE,
            Self::Content => CIPHERTEXT,
            Self::NoKeyManager => FLEET,
            Self::Refused { name, .. } => match name {
                ErrorName::Validation | ErrorName::MethodNotAllowed | ErrorName::Internal => {
                    UNREADABLE
                }
                ErrorName::InvalidState => STATE,
                ErrorName::InvalidCiphertext => CIPHERTEXT,
                ErrorName::InvalidKeyUsage => USAGE,
                ErrorName::AuthenticationFailed => UNAUTHENTICATED,
                ErrorName::AccessDenied => DENIED,
                ErrorName::KeyNotFound => NO_KEY,
                ErrorName::InvalidUriPath => PATH,
                ErrorName::Throttling => THROTTLED,
                ErrorName::UnsupportedOperation => UNSUPPORTED,
                ErrorName::DependencyTimeout => TIMED_OUT,
            },
        }
    }

    /// The exception of a cryptographic operation. There is one for all, as clients know no other.
    pub(crate) fn of_use(&self) -> KmsError {
        KmsError::new(Exception::KmsInvalidState, self.text())
    }

    /// The exception of `CreateKey`.
    pub(crate) fn of_new_key(&self) -> KmsError {
        let exception = match self {
            Self::Refused { name, .. } => match name {
                ErrorName::InvalidState
                | ErrorName::InvalidKeyUsage
                | ErrorName::UnsupportedOperation => Exception::XksKeyInvalidConfiguration,
                ErrorName::KeyNotFound => Exception::XksKeyNotFound,
                _ => Exception::CustomKeyStoreInvalidState,
            },
            _ => Exception::CustomKeyStoreInvalidState,
        };
        KmsError::new(exception, self.text())
    }

    /// The exception of `CreateCustomKeyStore` and `UpdateCustomKeyStore`.
    pub(crate) fn of_store(&self) -> KmsError {
        let exception = match self {
            Self::NotAllowed => Exception::XksProxyInvalidConfiguration,
            Self::NoService => Exception::XksProxyVpcEndpointServiceNotFound,
            Self::ServiceHost => Exception::XksProxyVpcEndpointServiceInvalidConfiguration,
            Self::Credential => Exception::XksProxyIncorrectAuthenticationCredential,
            Self::Response(_) | Self::Content => Exception::XksProxyInvalidResponse,
            Self::Refused { name, .. } => match name {
                ErrorName::AuthenticationFailed | ErrorName::AccessDenied => {
                    Exception::XksProxyIncorrectAuthenticationCredential
                }
                ErrorName::InvalidUriPath | ErrorName::InvalidState => {
                    Exception::XksProxyInvalidConfiguration
                }
                ErrorName::Throttling | ErrorName::DependencyTimeout => {
                    Exception::XksProxyUriUnreachable
                }
                _ => Exception::XksProxyInvalidResponse,
            },
            _ => Exception::XksProxyUriUnreachable,
        };
        KmsError::new(exception, self.text())
    }

    /// Why a store is not connected.
    pub(crate) const fn of_connection(&self) -> ConnectionError {
        match self {
            Self::NotAllowed => ConnectionError::XksProxyInvalidConfiguration,
            Self::NoService => ConnectionError::XksVpcEndpointServiceNotFound,
            Self::ServiceHost => ConnectionError::XksVpcEndpointServiceInvalidConfiguration,
            Self::Credential => ConnectionError::XksProxyAccessDenied,
            Self::TimedOut => ConnectionError::XksProxyTimedOut,
            Self::Tls(_) => ConnectionError::XksProxyInvalidTlsConfiguration,
            Self::Response(_) | Self::Content => ConnectionError::XksProxyInvalidResponse,
            Self::Busy | Self::Resting | Self::Unreachable(_) | Self::NoKeyManager => {
                ConnectionError::XksProxyNotReachable
            }
            Self::Refused { name, .. } => match name {
                ErrorName::AuthenticationFailed | ErrorName::AccessDenied => {
                    ConnectionError::XksProxyAccessDenied
                }
                ErrorName::InvalidUriPath | ErrorName::InvalidState => {
                    ConnectionError::XksProxyInvalidConfiguration
                }
                ErrorName::Throttling => ConnectionError::XksProxyNotReachable,
                ErrorName::DependencyTimeout => ConnectionError::XksProxyTimedOut,
                _ => ConnectionError::XksProxyInvalidResponse,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            Self::Unreachable(reason) | Self::Tls(reason) => reason.as_str(),
            Self::Response(Unreadable(reason)) => reason,
            Self::Refused { message, .. } => message,
            Self::Content => "what was decrypted is not a ciphertext of the KMS key",
            _ => return f.write_str(self.name()),
        };
        write!(f, "{}: {detail}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Failure> {
        let refused = |name: &ErrorName| Failure::Refused { name: *name, message: "m".to_owned() };
        let own = [
            Failure::NotAllowed,
            Failure::NoService,
            Failure::ServiceHost,
            Failure::Credential,
            Failure::Busy,
            Failure::Resting,
            Failure::TimedOut,
            Failure::Unreachable("u".to_owned()),
            Failure::Tls("t".to_owned()),
            Failure::Response(Unreadable("r")),
            Failure::NoKeyManager,
            Failure::Content,
        ];
        own.into_iter().chain(ErrorName::ALL.iter().map(refused)).collect()
    }

    #[test]
    fn clients_of_cryptographic_operations_see_one_exception() {
        for failure in all() {
            assert!(failure.was_asked() || !failure.is_silence(), "{failure}");
            assert_eq!(failure.of_use().exception(), Exception::KmsInvalidState, "{failure}");
            assert!(failure.of_use().message().is_some_and(|text| text.ends_with('.')));
        }
    }

    #[test]
    fn no_text_of_a_proxy_reaches_clients() {
        let message = "<script>".to_owned();
        for name in ErrorName::ALL {
            let failure = Failure::Refused { name: *name, message: message.clone() };
            for error in [failure.of_use(), failure.of_new_key(), failure.of_store()] {
                assert!(!error.to_string().contains("script"));
            }
            assert!(failure.to_string().contains("script"), "the log has it");
        }
    }

    /// The table of the specification, as far as it has a name.
    #[test]
    fn refusals_are_translated_as_specified() {
        let of = |name| Failure::Refused { name, message: String::new() };
        for (name, store, key) in [
            (ErrorName::Validation, "XksProxyInvalidResponse", "CustomKeyStoreInvalidState"),
            (ErrorName::Internal, "XksProxyInvalidResponse", "CustomKeyStoreInvalidState"),
            (ErrorName::InvalidState, "", "XksKeyInvalidConfiguration"),
            (ErrorName::InvalidKeyUsage, "", "XksKeyInvalidConfiguration"),
            (
                ErrorName::AuthenticationFailed,
                "XksProxyIncorrectAuthenticationCredential",
                "CustomKeyStoreInvalidState",
            ),
            (ErrorName::AccessDenied, "", "CustomKeyStoreInvalidState"),
            (ErrorName::KeyNotFound, "", "XksKeyNotFound"),
            (
                ErrorName::InvalidUriPath,
                "XksProxyInvalidConfiguration",
                "CustomKeyStoreInvalidState",
            ),
            (ErrorName::UnsupportedOperation, "", "XksKeyInvalidConfiguration"),
            (ErrorName::DependencyTimeout, "XksProxyUriUnreachable", "CustomKeyStoreInvalidState"),
            (ErrorName::Throttling, "XksProxyUriUnreachable", "CustomKeyStoreInvalidState"),
        ] {
            let failure = of(name);
            if !store.is_empty() {
                assert_eq!(failure.of_store().code(), format!("{store}Exception"));
            }
            assert_eq!(failure.of_new_key().code(), format!("{key}Exception"));
        }
        assert_eq!(Failure::TimedOut.of_store().code(), "XksProxyUriUnreachableException");
        assert_eq!(
            Failure::Tls(String::new()).of_store().code(),
            "XksProxyUriUnreachableException"
        );
        let retried: Vec<_> =
            all().iter().filter(|it| it.is_retryable()).map(Failure::name).collect();
        assert_eq!(
            retried,
            [
                "TooManyRequests",
                "ProxyResting",
                "RequestTimedOut",
                "ProxyUnreachable",
                "KeyManagersUnavailable",
                "ThrottlingException",
                "InternalException",
                "DependencyTimeoutException"
            ]
        );
    }
}
