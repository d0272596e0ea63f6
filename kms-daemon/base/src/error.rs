//! The one error type of the API, and the one table of exceptions with their HTTP statuses.
//!
//! Every refusal a client can see is a [`KmsError`]: an [`Exception`] of the table below and a
//! text. Texts follow the wording of AWS KMS, because clients match on it.

use std::borrow::Cow;
use std::fmt;

use serde_json::json;

/// Which body member carries the text. Exceptions of the service model use lower case, those of
/// the authentication and authorization front end upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageMember {
    Message,
    CapitalMessage,
}

macro_rules! exceptions {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $status:literal, $member:ident;)+) => {
        /// An exception a client can receive. The variants are the rows of the exception table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Exception {
            $($(#[$doc])* $name,)+
        }

        impl Exception {
            /// Every row of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The `__type` of the error body.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status code of the answer.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            const fn member(self) -> MessageMember {
                match self { $(Self::$name => MessageMember::$member,)+ }
            }
        }
    };
}

exceptions! {
    // The service model.
    /// A resource of that name exists.
    AlreadyExists, "AlreadyExistsException", 400, Message;
    /// Another custom key store is on the cluster.
    CloudHsmClusterInUse, "CloudHsmClusterInUseException", 400, Message;
    /// The cluster does not have what the operation needs.
    CloudHsmClusterInvalidConfiguration, "CloudHsmClusterInvalidConfigurationException", 400, Message;
    /// Nothing of the cluster answers.
    CloudHsmClusterNotActive, "CloudHsmClusterNotActiveException", 400, Message;
    /// There is no such AWS CloudHSM cluster.
    CloudHsmClusterNotFound, "CloudHsmClusterNotFoundException", 400, Message;
    /// The cluster does not have the keys of the custom key store.
    CloudHsmClusterNotRelated, "CloudHsmClusterNotRelatedException", 400, Message;
    /// The custom key store has KMS keys.
    CustomKeyStoreHasCmks, "CustomKeyStoreHasCMKsException", 400, Message;
    /// The connection state of the custom key store does not allow the operation.
    CustomKeyStoreInvalidState, "CustomKeyStoreInvalidStateException", 400, Message;
    /// Another custom key store has the name.
    CustomKeyStoreNameInUse, "CustomKeyStoreNameInUseException", 400, Message;
    /// There is no such custom key store.
    CustomKeyStoreNotFound, "CustomKeyStoreNotFoundException", 400, Message;
    /// The device or its driver did not answer in time. Clients retry.
    DependencyTimeout, "DependencyTimeoutException", 500, Message;
    /// Another change of the same kind is under way.
    Conflict, "ConflictException", 400, Message;
    /// The key is disabled.
    Disabled, "DisabledException", 400, Message;
    /// A dry run would have succeeded.
    DryRunOperation, "DryRunOperationException", 400, Message;
    /// The import token is too old.
    ExpiredImportToken, "ExpiredImportTokenException", 400, Message;
    /// The certificate is not that of the cluster.
    IncorrectTrustAnchor, "IncorrectTrustAnchorException", 400, Message;
    /// The key material is not the one that the key or the request requires.
    IncorrectKeyMaterial, "IncorrectKeyMaterialException", 400, Message;
    /// The ciphertext belongs to another key than the one named.
    IncorrectKey, "IncorrectKeyException", 400, Message;
    /// The alias name is not allowed.
    InvalidAliasName, "InvalidAliasNameException", 400, Message;
    /// An ARN does not parse.
    InvalidArn, "InvalidArnException", 400, Message;
    /// A ciphertext is damaged, or its encryption context differs.
    InvalidCiphertext, "InvalidCiphertextException", 400, Message;
    /// A grant id is malformed.
    InvalidGrantId, "InvalidGrantIdException", 400, Message;
    /// A grant token is not known.
    InvalidGrantToken, "InvalidGrantTokenException", 400, Message;
    /// The import token is damaged, or another key's.
    InvalidImportToken, "InvalidImportTokenException", 400, Message;
    /// The key's usage or algorithms do not fit the operation.
    InvalidKeyUsage, "InvalidKeyUsageException", 400, Message;
    /// A pagination marker was not issued by this service for this call.
    InvalidMarker, "InvalidMarkerException", 400, Message;
    /// The key is not available at the moment. Clients retry.
    KeyUnavailable, "KeyUnavailableException", 500, Message;
    /// The service failed. Clients retry.
    KmsInternal, "KMSInternalException", 500, Message;
    /// A MAC did not verify.
    KmsInvalidMac, "KMSInvalidMacException", 400, Message;
    /// A signature did not verify.
    KmsInvalidSignature, "KMSInvalidSignatureException", 400, Message;
    /// The state of the key does not allow the operation.
    KmsInvalidState, "KMSInvalidStateException", 400, Message;
    /// A resource quota would be exceeded.
    LimitExceeded, "LimitExceededException", 400, Message;
    /// A policy document is not acceptable.
    MalformedPolicyDocument, "MalformedPolicyDocumentException", 400, Message;
    /// A key, alias or policy does not exist.
    NotFound, "NotFoundException", 400, Message;
    /// A tag is not acceptable.
    Tag, "TagException", 400, Message;
    /// The parameter or resource type is not valid for the operation, or is not offered here.
    UnsupportedOperation, "UnsupportedOperationException", 400, Message;
    /// Another KMS key of the custom key store has the external key.
    XksKeyAlreadyInUse, "XksKeyAlreadyInUseException", 400, Message;
    /// The external key is of another kind, or is disabled.
    XksKeyInvalidConfiguration, "XksKeyInvalidConfigurationException", 400, Message;
    /// The external key store proxy does not have the external key.
    XksKeyNotFound, "XksKeyNotFoundException", 400, Message;
    /// The external key store proxy does not take the credential.
    XksProxyIncorrectAuthenticationCredential,
    "XksProxyIncorrectAuthenticationCredentialException", 400, Message;
    /// The external key store proxy does not serve under its URI.
    XksProxyInvalidConfiguration, "XksProxyInvalidConfigurationException", 400, Message;
    /// The external key store proxy responds with something that is not of its API.
    XksProxyInvalidResponse, "XksProxyInvalidResponseException", 400, Message;
    /// Another custom key store, with another kind of connectivity or another service, has the URI endpoint.
    XksProxyUriEndpointInUse, "XksProxyUriEndpointInUseException", 400, Message;
    /// Another custom key store has the URI.
    XksProxyUriInUse, "XksProxyUriInUseException", 400, Message;
    /// The external key store proxy cannot be reached.
    XksProxyUriUnreachable, "XksProxyUriUnreachableException", 400, Message;
    /// Another custom key store has the VPC endpoint service.
    XksProxyVpcEndpointServiceInUse, "XksProxyVpcEndpointServiceInUseException", 400, Message;
    /// The VPC endpoint service does not fit the custom key store.
    XksProxyVpcEndpointServiceInvalidConfiguration,
    "XksProxyVpcEndpointServiceInvalidConfigurationException", 400, Message;
    /// There is no such VPC endpoint service.
    XksProxyVpcEndpointServiceNotFound, "XksProxyVpcEndpointServiceNotFoundException", 400, Message;

    // The front end: absent from the service model, seen by every client.
    /// Authorization failed.
    AccessDenied, "AccessDeniedException", 400, CapitalMessage;
    /// Temporary credentials have expired.
    ExpiredToken, "ExpiredTokenException", 400, CapitalMessage;
    /// The `Authorization` header is incomplete.
    IncompleteSignature, "IncompleteSignatureException", 400, CapitalMessage;
    /// The signature is wrong, or out of its time window.
    InvalidSignature, "InvalidSignatureException", 400, CapitalMessage;
    /// The request is not signed.
    MissingAuthenticationToken, "MissingAuthenticationTokenException", 400, CapitalMessage;
    /// The caller may not touch a reserved resource.
    NotAuthorized, "NotAuthorizedException", 400, CapitalMessage;
    /// The body is larger than any request of the API.
    RequestEntityTooLarge, "RequestEntityTooLargeException", 413, CapitalMessage;
    /// The body is not JSON, or a member has the wrong JSON type.
    Serialization, "SerializationException", 400, CapitalMessage;
    /// The daemon is shutting down or overloaded.
    ServiceUnavailable, "ServiceUnavailableException", 503, CapitalMessage;
    /// The request rate is too high.
    Throttling, "ThrottlingException", 400, Message;
    /// The target names no operation.
    UnknownOperation, "UnknownOperationException", 400, Message;
    /// The access key id is not known.
    UnrecognizedClient, "UnrecognizedClientException", 400, CapitalMessage;
    /// A parameter breaks a constraint.
    Validation, "ValidationException", 400, Message;
}

/// A refusal: what a client gets instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsError {
    exception: Exception,
    message: Option<Cow<'static, str>>,
    /// So many bytes of the message are recorded; `None`: all of it.
    recorded: Option<usize>,
}

impl KmsError {
    /// An exception with its text.
    #[must_use]
    pub fn new(exception: Exception, message: impl Into<Cow<'static, str>>) -> Self {
        Self { exception, message: Some(message.into()), recorded: None }
    }

    /// An exception without a text, as AWS KMS answers for failed ciphertexts.
    #[must_use]
    pub const fn bare(exception: Exception) -> Self {
        Self { exception, message: None, recorded: None }
    }

    /// Adds what the caller is told and the audit log is not.
    #[must_use]
    pub fn and_unrecorded(self, text: &str) -> Self {
        let recorded = self.message.clone().unwrap_or_default();
        let length = recorded.len();
        Self {
            message: Some((recorded.into_owned() + text).into()),
            recorded: Some(length),
            ..self
        }
    }

    /// The uniform answer to a fault of the service. `cause` goes to the log only.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "internal failure");
        Self::new(Exception::KmsInternal, "The request failed because of an internal error.")
    }

    /// Row of the exception table.
    #[must_use]
    pub const fn exception(&self) -> Exception {
        self.exception
    }

    /// Exception name, for example `NotFoundException`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.exception.code()
    }

    /// HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.exception.status()
    }

    /// Text for the client, if the exception has one.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The text that the audit log has.
    #[must_use]
    pub fn recorded_message(&self) -> Option<&str> {
        let message = self.message()?;
        Some(self.recorded.and_then(|length| message.get(..length)).unwrap_or(message))
    }

    /// The response body of awsJson1.1.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let body = match (&self.message, self.exception.member()) {
            (None, _) => json!({ "__type": self.code() }),
            (Some(text), MessageMember::Message) => {
                json!({ "__type": self.code(), "message": text })
            }
            (Some(text), MessageMember::CapitalMessage) => {
                json!({ "__type": self.code(), "Message": text })
            }
        };
        body.to_string().into_bytes()
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(text) => write!(f, "{}: {text}", self.code()),
            None => f.write_str(self.code()),
        }
    }
}

impl std::error::Error for KmsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transient_faults_are_server_errors() {
        let server: Vec<_> =
            Exception::ALL.iter().filter(|row| row.status() >= 500).map(|row| row.code()).collect();
        assert_eq!(
            server,
            [
                "DependencyTimeoutException",
                "KeyUnavailableException",
                "KMSInternalException",
                "ServiceUnavailableException"
            ]
        );
    }

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut codes: Vec<_> = Exception::ALL.iter().map(|row| row.code()).collect();
        assert!(codes.iter().all(|code| code.ends_with("Exception")));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Exception::ALL.len());
    }

    #[test]
    fn body_uses_the_member_of_its_family() {
        let modelled = KmsError::new(Exception::NotFound, "Alias x is not found.");
        assert_eq!(
            modelled.to_body(),
            br#"{"__type":"NotFoundException","message":"Alias x is not found."}"#
        );
        let front = KmsError::new(Exception::AccessDenied, "no");
        assert_eq!(front.to_body(), br#"{"Message":"no","__type":"AccessDeniedException"}"#);
        let bare = KmsError::bare(Exception::InvalidCiphertext);
        assert_eq!(bare.to_body(), br#"{"__type":"InvalidCiphertextException"}"#);
    }
}
