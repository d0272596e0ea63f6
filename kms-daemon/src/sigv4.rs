//! AWS Signature Version 4, verifying side.
//!
//! [`Verifier::claim`] checks everything about a signature that needs no secret; the access key it
//! names is then looked up, and [`Claim::verify`] turns both into a [`Principal`] or into the
//! exception AWS KMS answers. It accepts what KMS clients send: one `Authorization` header over the
//! whole body. Query-string authentication, unsigned payloads and SigV4a are refused.
//!
//! A signature is computed for unknown access keys too, so that the time of the answer does not tell
//! which keys exist; signatures are compared in constant time.

mod authorization;
mod canonical;
pub(crate) mod client;
mod date;
#[cfg(test)]
pub(crate) mod signer;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::authorization::{Authorization, Scope};
use self::canonical::CanonicalRequest;
use self::date::RequestDate;
use crate::clock::Timestamp;
use crate::credentials::Credential;
use crate::error::{Exception, KmsError};
use crate::hex;
use crate::principal::Principal;

/// Largest permitted clock difference between client and daemon.
pub const MAX_WINDOW: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// The Region that clients sign for when a service has none.
const GLOBAL_REGION: &str = "us-east-1";
/// The services that have none, or need none.
const GLOBAL_SERVICES: [&str; 3] = ["iam", "sts", "strongroom"];
/// The header with a session token.
const TOKEN: &str = "x-amz-security-token";
const EXPIRED_TOKEN: &str = "The security token included in the request is expired";
const UNKNOWN_CLIENT: &str = "The security token included in the request is invalid.";
const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature \
     you provided. Check your AWS Secret Access Key and signing method. Consult the service \
     documentation for details.";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// HTTP method, for example `POST`.
    pub method: &'a str,
    /// Path as it was on the request line.
    pub path: &'a str,
    /// Query as it was on the request line, without the question mark.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Whole body.
    pub body: &'a [u8],
}

/// Whether there is a Region of this name.
pub type Served = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Checks signatures for the Regions of a daemon.
pub struct Verifier {
    served: Served,
    window: Duration,
    decoy: Zeroizing<String>,
}

/// A request with a signature that is well-formed, in time and for a service and Region that are
/// there. Whether it is right is not known yet.
pub struct Claim<'a> {
    request: &'a SignedRequest<'a>,
    authorization: Authorization<'a>,
    date: RequestDate,
    decoy: &'a str,
}

impl Verifier {
    /// A verifier for the Regions that are `served`. `window` is the permitted clock difference,
    /// limited to [`MAX_WINDOW`].
    #[must_use]
    pub fn new(served: Served, window: Duration) -> Self {
        Self {
            served,
            window: window.min(MAX_WINDOW),
            decoy: Zeroizing::new(uuid::Uuid::new_v4().simple().to_string()),
        }
    }

    /// Reads what `request`, made to `service`, claims as of `now`.
    ///
    /// # Errors
    /// The exceptions of the authentication front end: `MissingAuthenticationToken`,
    /// `IncompleteSignature` and `InvalidSignature`.
    pub fn claim<'a>(
        &'a self,
        request: &'a SignedRequest<'a>,
        service: &str,
        now: SystemTime,
    ) -> Result<Claim<'a>, KmsError> {
        refuse_query_authentication(request.query)?;
        let authorization = Authorization::from_headers(request.headers)?;
        let date = RequestDate::from_headers(request.headers)?;
        self.check_scope(&authorization.scope, service, &date)?;
        check_signed_headers(&authorization, request.headers, &date)?;
        date.check_window(now, self.window)?;
        Ok(Claim { request, authorization, date, decoy: &self.decoy })
    }

    fn check_scope(
        &self,
        scope: &Scope<'_>,
        service: &str,
        date: &RequestDate,
    ) -> Result<(), KmsError> {
        let mut faults = Vec::new();
        let global = GLOBAL_SERVICES.contains(&service) && scope.region == GLOBAL_REGION;
        if !global && !(self.served)(scope.region) {
            faults.push("Credential should be scoped to a valid region.".to_owned());
        }
        if scope.service != service {
            faults.push(format!("Credential should be scoped to correct service: '{service}'."));
        }
        if scope.date != date.day() {
            faults.push(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{}', from '{}'.",
                bounded(scope.date),
                date.day(),
                date.iso()
            ));
        }
        if scope.terminator != TERMINATOR {
            faults.push(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
            ));
        }
        if faults.is_empty() { Ok(()) } else { Err(invalid(faults.join(" "))) }
    }
}

impl<'a> Claim<'a> {
    /// The access key that the request names.
    #[must_use]
    pub const fn access_key(&self) -> &'a str {
        self.authorization.scope.access_key
    }

    /// The session token of the request, which temporary credentials come with.
    #[must_use]
    pub fn token(&self) -> Option<&'a [u8]> {
        self.request.headers.get(TOKEN).map(HeaderValue::as_bytes)
    }

    /// Checks the signature against what is `known` of the access key; the caller, and the Region
    /// that the request is for.
    ///
    /// # Errors
    /// `UnrecognizedClient`, `InvalidSignature` and `ExpiredToken`.
    pub fn verify(
        &self,
        known: Option<&Credential>,
        now: Timestamp,
    ) -> Result<(Principal, String), KmsError> {
        let Self { request, authorization, date, decoy } = self;
        let secret = known.map_or(*decoy, Credential::secret);
        let payload_hash = hex::encode(&Sha256::digest(request.body));
        check_declared_hash(request.headers, &payload_hash)?;
        let canonical = CanonicalRequest {
            request,
            signed_headers: &authorization.signed_headers,
            payload_hash: &payload_hash,
        };
        let expected = signature(
            secret,
            &authorization.scope,
            &string_to_sign(date, &authorization.scope, &canonical.to_bytes()),
        );
        let equal = bool::from(expected.ct_eq(&authorization.signature));

        // A long-term key has no token, and a temporary one is nothing without it.
        let principal = known
            .map(Credential::principal)
            .filter(|principal| principal.session.is_some() == self.token().is_some())
            .ok_or_else(|| KmsError::new(Exception::UnrecognizedClient, UNKNOWN_CLIENT))?;
        if !equal {
            return Err(invalid(WRONG_SIGNATURE));
        }
        if principal.session.as_ref().is_some_and(|session| session.expires <= now) {
            return Err(KmsError::new(Exception::ExpiredToken, EXPIRED_TOKEN));
        }
        Ok((principal.clone(), authorization.scope.region.to_owned()))
    }
}

/// Presigned URLs are legal SigV4 but no KMS client makes them; accepting both forms would make it
/// unclear which one counts.
fn refuse_query_authentication(query: Option<&str>) -> Result<(), KmsError> {
    let authenticates = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        ["x-amz-algorithm", "x-amz-credential", "x-amz-signature"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    if query.is_some_and(|query| query.split('&').any(authenticates)) {
        return Err(incomplete(
            "Query-string authentication is not supported. Sign the request with an \
             Authorization header.",
        ));
    }
    Ok(())
}

/// A header that is not signed could be changed on the way: the ones that matter must be signed.
fn check_signed_headers(
    authorization: &Authorization<'_>,
    headers: &HeaderMap,
    date: &RequestDate,
) -> Result<(), KmsError> {
    if !authorization.signs("host") {
        return Err(invalid(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    let unsigned = headers.keys().map(|name| name.as_str()).find(|name| {
        let required = name.starts_with("x-amz-") || *name == date.header();
        required && !authorization.signs(name)
    });
    match unsigned {
        None => Ok(()),
        Some(name) => Err(invalid(format!(
            "'{}' must be a 'SignedHeader' in the AWS Authorization.",
            bounded(name)
        ))),
    }
}

fn check_declared_hash(headers: &HeaderMap, payload_hash: &str) -> Result<(), KmsError> {
    let wrong = headers
        .get_all("x-amz-content-sha256")
        .iter()
        .any(|declared| !declared.as_bytes().eq_ignore_ascii_case(payload_hash.as_bytes()));
    if wrong {
        return Err(invalid(
            "The value of the 'x-amz-content-sha256' header is not the SHA-256 of the body. \
             Unsigned payloads are not accepted.",
        ));
    }
    Ok(())
}

fn string_to_sign(date: &RequestDate, scope: &Scope<'_>, canonical_request: &[u8]) -> String {
    format!(
        "{ALGORITHM}\n{}\n{}/{}/{}/{}\n{}",
        date.iso(),
        scope.date,
        scope.region,
        scope.service,
        scope.terminator,
        hex::encode(&Sha256::digest(canonical_request)),
    )
}

fn signature(secret: &str, scope: &Scope<'_>, string_to_sign: &str) -> [u8; 32] {
    let initial = Zeroizing::new(format!("AWS4{secret}"));
    let steps = [scope.date, scope.region, scope.service, scope.terminator];
    let mut key = Zeroizing::new([0; 32]);
    for (index, step) in steps.into_iter().enumerate() {
        let parent: &[u8] = if index == 0 { initial.as_bytes() } else { key.as_slice() };
        key = Zeroizing::new(hmac_sha256(parent, step.as_bytes()));
    }
    hmac_sha256(key.as_slice(), string_to_sign.as_bytes())
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::new(Exception::InvalidSignature, text)
}

fn incomplete(text: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::new(Exception::IncompleteSignature, text)
}

/// Client input echoed in a text: at most 64 characters of it.
fn bounded(input: &str) -> &str {
    input.char_indices().nth(64).map_or(input, |(end, _)| &input[..end])
}
