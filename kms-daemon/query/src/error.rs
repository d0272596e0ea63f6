//! Refusals of the IAM and STS APIs: the one table of their codes with the HTTP statuses.
//!
//! Codes and statuses are those of the IAM and STS service models and of the errors common to
//! AWS's Query APIs.

use std::borrow::Cow;
use std::fmt;

use kms_base::error::{Exception, KmsError};
use kms_keys::CatalogError;
use kms_policy::PolicyError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $status:literal;)+) => {
        /// A code that a client can receive. The variants are the rows of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every row of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The `Code` of the error.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The HTTP status code of the answer.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

codes! {
    // The service models.
    /// Others keep changing the same thing.
    ConcurrentModification, 409;
    /// Something belongs to what is to be deleted.
    DeleteConflict, 409;
    /// The request would have succeeded, if it had not been one to try that.
    DryRunOperation, 412;
    /// Something of that name is there.
    EntityAlreadyExists, 409;
    /// A parameter makes no sense.
    InvalidInput, 400;
    /// A quota would be exceeded.
    LimitExceeded, 409;
    /// A policy document is not acceptable.
    MalformedPolicyDocument, 400;
    /// There is no credential report.
    ReportNotPresent, 410;
    /// It is too old.
    ReportExpired, 410;
    /// There is nothing of that name.
    NoSuchEntity, 404;
    /// A session token would be too long.
    PackedPolicyTooLarge, 400;

    // The service model of CloudTrail, whose names end so.
    /// An ARN is none of a trail of the account.
    CloudTrailARNInvalidException, 400;
    /// Others change the trail at the same time.
    ConflictException, 400;
    /// There are no events of that category.
    InvalidEventCategoryException, 400;
    /// The trail is another Region's.
    InvalidHomeRegionException, 400;
    /// An attribute cannot be looked up.
    InvalidLookupAttributesException, 400;
    /// A page cannot be of that size.
    InvalidMaxResultsException, 400;
    /// The token is not of the same query.
    InvalidNextTokenException, 400;
    /// Two parameters exclude each other.
    InvalidParameterCombinationException, 400;
    /// A bucket cannot have that name.
    InvalidS3BucketNameException, 400;
    /// Names of files cannot begin like that.
    InvalidS3PrefixException, 400;
    /// A range of times ends before it begins.
    InvalidTimeRangeException, 400;
    /// The token is none of this listing.
    InvalidTokenException, 400;
    /// A trail cannot have that name.
    InvalidTrailNameException, 400;
    /// The account has as many trails in the Region as it may.
    MaximumNumberOfTrailsExceededException, 400;
    /// The installation does not deliver trails.
    OperationNotPermittedException, 400;
    /// There is no such bucket.
    S3BucketDoesNotExistException, 400;
    /// There is a trail of that name.
    TrailAlreadyExistsException, 400;
    /// There is no trail of that name.
    TrailNotFoundException, 400;
    /// A parameter asks for what is not done here.
    UnsupportedOperationException, 400;

    // Common to Query APIs.
    /// Not permitted.
    AccessDenied, 403;
    /// Temporary credentials have expired.
    ExpiredToken, 403;
    /// The `Authorization` header is incomplete.
    IncompleteSignature, 400;
    /// There is no operation of that name.
    InvalidAction, 400;
    /// The access key or session token is not known.
    InvalidClientTokenId, 403;
    /// The body is not a form.
    MalformedQueryString, 404;
    /// The request is not signed.
    MissingAuthenticationToken, 403;
    /// The body is larger than any request of the API.
    RequestEntityTooLarge, 413;
    /// The service failed. Clients retry.
    ServiceFailure, 500;
    /// No device answers now. Clients retry.
    ServiceUnavailable, 503;
    /// The signature is wrong, or out of its time window.
    SignatureDoesNotMatch, 403;
    /// Too many requests. Clients slow down and retry.
    Throttling, 400;
    /// A parameter breaks a constraint, or is not supported.
    ValidationError, 400;
}

impl Code {
    /// The name and the HTTP status in the API of EC2.
    #[must_use]
    pub const fn of_ec2(self) -> (&'static str, u16) {
        match self {
            Self::AccessDenied => ("UnauthorizedOperation", 403),
            Self::InvalidClientTokenId | Self::SignatureDoesNotMatch => ("AuthFailure", 401),
            Self::ExpiredToken => ("RequestExpired", 400),
            Self::InvalidInput | Self::ValidationError => ("InvalidParameterValue", 400),
            Self::MalformedQueryString => ("MalformedQueryString", 400),
            Self::ServiceFailure => ("InternalError", 500),
            Self::ServiceUnavailable => ("Unavailable", 503),
            Self::Throttling => ("RequestLimitExceeded", 503),
            other => (other.name(), other.status()),
        }
    }

    /// The name and the HTTP status in an API in JSON.
    #[must_use]
    pub fn of_json(self) -> (&'static str, u16) {
        match self {
            Self::AccessDenied => ("AccessDeniedException", 400),
            Self::ExpiredToken => ("ExpiredTokenException", 400),
            Self::IncompleteSignature => ("IncompleteSignatureException", 400),
            Self::InvalidAction => ("UnknownOperationException", 400),
            Self::InvalidClientTokenId => ("UnrecognizedClientException", 400),
            Self::MalformedQueryString => ("SerializationException", 400),
            Self::MissingAuthenticationToken => ("MissingAuthenticationTokenException", 400),
            Self::ServiceFailure => ("InternalServiceException", 500),
            Self::ServiceUnavailable => ("ServiceUnavailableException", 503),
            Self::SignatureDoesNotMatch => ("InvalidSignatureException", 400),
            Self::Throttling => ("ThrottledException", 400),
            Self::RequestEntityTooLarge => ("RequestEntityTooLargeException", 413),
            own if own.name().ends_with("Exception") => (own.name(), own.status()),
            _ => ("InvalidParameterException", 400),
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IamError {
    code: Code,
    message: Cow<'static, str>,
}

impl IamError {
    /// A code with its text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// A parameter that breaks a constraint.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::ValidationError, message)
    }

    /// The row of the table.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for IamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for IamError {}

impl From<KmsError> for IamError {
    /// The same refusal, as Query APIs answer it.
    fn from(error: KmsError) -> Self {
        let code = match error.exception() {
            Exception::AccessDenied => Code::AccessDenied,
            Exception::ExpiredToken => Code::ExpiredToken,
            Exception::IncompleteSignature => Code::IncompleteSignature,
            Exception::InvalidSignature => Code::SignatureDoesNotMatch,
            Exception::InvalidArn | Exception::Validation => Code::ValidationError,
            Exception::NotFound => Code::NoSuchEntity,
            Exception::MissingAuthenticationToken => Code::MissingAuthenticationToken,
            Exception::RequestEntityTooLarge => Code::RequestEntityTooLarge,
            Exception::Throttling => Code::Throttling,
            Exception::Serialization => Code::MalformedQueryString,
            Exception::UnrecognizedClient => Code::InvalidClientTokenId,
            Exception::DependencyTimeout
            | Exception::KeyUnavailable
            | Exception::ServiceUnavailable => Code::ServiceUnavailable,
            _ => Code::ServiceFailure,
        };
        Self::new(code, error.message().unwrap_or_default().to_owned())
    }
}

impl From<PolicyError> for IamError {
    fn from(error: PolicyError) -> Self {
        Self::new(Code::MalformedPolicyDocument, error.to_string())
    }
}

impl From<CatalogError> for IamError {
    fn from(error: CatalogError) -> Self {
        KmsError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_service_are_server_errors() {
        let server: Vec<_> =
            Code::ALL.iter().filter(|row| row.status() >= 500).map(|row| row.name()).collect();
        assert_eq!(server, ["ServiceFailure", "ServiceUnavailable"]);
    }

    #[test]
    fn refusals_of_the_front_end_have_the_names_of_query_apis() {
        for (exception, code, status) in [
            (Exception::UnrecognizedClient, "InvalidClientTokenId", 403),
            (Exception::InvalidSignature, "SignatureDoesNotMatch", 403),
            (Exception::AccessDenied, "AccessDenied", 403),
            (Exception::InvalidCiphertext, "ServiceFailure", 500),
        ] {
            let error = IamError::from(KmsError::new(exception, "text"));
            assert_eq!((error.code().name(), error.code().status()), (code, status));
            assert_eq!(error.message(), "text");
        }
    }
}
