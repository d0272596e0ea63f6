//! AWS Signature Version 4, verifying side.
//!
//! In two steps, with the caller's search for the access key between them: [`Verifier::read`]
//! checks whatever needs no secret and names the key; [`Verifier::verify`] checks the signature,
//! the session and that the signature is new. It accepts what clients of AWS's query and JSON
//! services send: one `Authorization` header over the whole body. Query-string authentication,
//! unsigned payloads and SigV4a are refused.
//!
//! Errors are those of KMS. Front ends of query services (STS, IAM) answer the same texts as
//! `IncompleteSignature` 400, `MissingAuthenticationToken` 403, `InvalidClientTokenId` 403 for
//! [`Exception::UnrecognizedClient`], `SignatureDoesNotMatch` 403 and `ExpiredToken` 403.
//!
//! For an unknown access key the same is computed as for a known one: what tells it from a wrong
//! signature is the text of the answer, as at AWS, and not its time. Signatures and session tokens
//! are compared in constant time.

mod access_key;
mod authorization;
mod canonical;
pub mod client;
mod date;
mod replay;
mod service;
mod signature;
#[cfg(test)]
pub(crate) mod signer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use self::access_key::{AccessKey, Session, TokenDigest};
use self::authorization::{Authorization, Scope};
use self::canonical::{CanonicalRequest, percent_decode};
use self::date::{RequestDate, basic};
use self::replay::{Refusal, ReplayCache, Used};
pub use self::service::SigningService;
use self::signature::{signature, string_to_sign};
use kms_base::error::{Exception, KmsError};
use kms_base::hex;

/// Largest permitted clock difference between client and daemon.
pub const MAX_WINDOW: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// The header with a session token.
pub const TOKEN: &str = "x-amz-security-token";
const UNKNOWN_CLIENT: &str = "The security token included in the request is invalid.";
const EXPIRED_TOKEN: &str = "The security token included in the request is expired";
const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature \
     you provided. Check your AWS Secret Access Key and signing method. Consult the service \
     documentation for details.";
const USED_SIGNATURE: &str = "The request signature was used already. Sign each request anew.";
/// Headers that mean something, so that there can be but one. Signed are all values of a name.
const SINGLE: [&str; 6] =
    ["host", "content-type", "x-amz-date", "x-amz-target", TOKEN, "x-amz-content-sha256"];
/// Headers that make a signature unique: an id for each call of an operation, and the number of the
/// attempt.
const UNIQUE: [&str; 2] = ["amz-sdk-invocation-id", "amz-sdk-request"];

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// HTTP method, for example `POST`.
    pub method: &'a str,
    /// Path as it was on the request line.
    pub path: &'a str,
    /// Query as it was on the request line, without the question mark.
    pub query: Option<&'a str>,
    /// `:authority` of an HTTP/2 request, which has the role of `Host`.
    pub authority: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Whole body.
    pub body: &'a [u8],
}

/// Whether there is a Region of this name.
pub type Served = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A request that is well formed, in time, and for this service. Who sent it is not known yet.
pub struct Claim<'a> {
    request: SignedRequest<'a>,
    authorization: Authorization<'a>,
    date: RequestDate,
    payload_hash: String,
    now: SystemTime,
}

impl Claim<'_> {
    /// The access key id it says it was signed with.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.authorization.scope.access_key
    }

    /// The session token it came with.
    #[must_use]
    pub fn session_token(&self) -> Option<&[u8]> {
        self.request.headers.get(TOKEN).map(hyper::header::HeaderValue::as_bytes)
    }

    /// The Region it is for. For a service that has none, not necessarily one that is served.
    #[must_use]
    pub fn region(&self) -> &str {
        self.authorization.scope.region
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the request: it may hold a plaintext and a session token.
        f.debug_struct("Claim").field("scope", &self.authorization.scope).finish_non_exhaustive()
    }
}

/// Verifies signatures for the Regions of a daemon.
pub struct Verifier {
    served: Served,
    window: Duration,
    replays: ReplayCache,
    decoy: Zeroizing<String>,
}

impl Verifier {
    /// A verifier for the Regions that are `served`. `window` is the permitted clock difference,
    /// limited to [`MAX_WINDOW`].
    #[must_use]
    pub fn new(served: Served, window: Duration) -> Self {
        let window = window.min(MAX_WINDOW);
        Self {
            served,
            window,
            replays: ReplayCache::new(window.as_secs()),
            decoy: Zeroizing::new(uuid::Uuid::new_v4().simple().to_string()),
        }
    }

    /// Refuses what was signed before the second of `start`: a daemon that ran before this one may
    /// have served it.
    #[must_use]
    pub fn since(self, start: Instant) -> Self {
        Self { replays: self.replays.since(start), ..self }
    }

    /// Checks all of `request` that can be checked without a secret, as of `now`.
    ///
    /// # Errors
    /// `MissingAuthenticationToken`, `IncompleteSignature` and `InvalidSignature`.
    pub fn read<'a>(
        &self,
        request: &SignedRequest<'a>,
        service: SigningService,
        now: SystemTime,
    ) -> Result<Claim<'a>, KmsError> {
        let (authorization, date) = self.read_head(request, service, now)?;
        let payload_hash = hex::encode(&Sha256::digest(request.body));
        check_declared_hash(request.headers, &payload_hash)?;
        Ok(Claim { request: *request, authorization, date, payload_hash, now })
    }

    /// Checks all of `request` that can be checked without a secret and without its body, as of
    /// `now`: the access key id it says it was signed with.
    ///
    /// # Errors
    /// As for [`Verifier::read`].
    pub fn screen<'a>(
        &self,
        request: &SignedRequest<'a>,
        service: SigningService,
        now: SystemTime,
    ) -> Result<&'a str, KmsError> {
        Ok(self.read_head(request, service, now)?.0.scope.access_key)
    }

    fn read_head<'a>(
        &self,
        request: &SignedRequest<'a>,
        service: SigningService,
        now: SystemTime,
    ) -> Result<(Authorization<'a>, RequestDate), KmsError> {
        refuse_query_authentication(request.query)?;
        let authorization = Authorization::from_headers(request.headers)?;
        refuse_duplicates(request)?;
        let date = RequestDate::from_headers(request.headers)?;
        self.check_scope(&authorization.scope, service, &date)?;
        check_signed_headers(&authorization, request.headers, &date)?;
        date.check_window(now, self.window)?;
        Ok((authorization, date))
    }

    /// Checks that the request was signed with the key that its access key id led to, for the first
    /// time; gives the key back if so. `None` is for an id that led to none.
    ///
    /// # Errors
    /// `UnrecognizedClient` if there is no such key, or the session token is not the key's;
    /// `InvalidSignature` if the signature is wrong or was used before; `ExpiredToken`;
    /// `ServiceUnavailable` if it may have been used before and this is not known, because the
    /// daemon started since then or has had to forget, or if so much is signed that it cannot be
    /// remembered.
    pub fn verify<K: AccessKey>(&self, claim: &Claim<'_>, found: Option<K>) -> Result<K, KmsError> {
        let Claim { request, authorization, date, .. } = claim;
        let secret = found.as_ref().map_or(self.decoy.as_str(), AccessKey::secret);
        let canonical = CanonicalRequest {
            request,
            signed_headers: &authorization.signed_headers,
            payload_hash: &claim.payload_hash,
        };
        let expected = signature(
            secret,
            &authorization.scope,
            &string_to_sign(date, &authorization.scope, &canonical.to_bytes()),
        );
        let is_signed = bool::from(expected.ct_eq(&authorization.signature));
        let session = found.as_ref().and_then(AccessKey::session);
        let has_token = is_token_of(request.headers, session.as_ref());

        let key = found.filter(|_| has_token).ok_or_else(unknown_client)?;
        if !is_signed {
            return Err(invalid(WRONG_SIGNATURE));
        }
        if session.is_some_and(|session| session.has_expired(claim.now)) {
            return Err(KmsError::new(Exception::ExpiredToken, EXPIRED_TOKEN));
        }
        self.refuse_replay(claim)?;
        Ok(key)
    }

    fn refuse_replay(&self, claim: &Claim<'_>) -> Result<(), KmsError> {
        let used = Used {
            signature: &claim.authorization.signature,
            dated: claim.date.seconds(),
            is_unique: UNIQUE.iter().all(|name| {
                claim.authorization.signs(name) && claim.request.headers.contains_key(*name)
            }),
        };
        let now = claim.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.replays.admit(used, now).map_err(|refusal| match refusal {
            Refusal::Used => invalid(USED_SIGNATURE),
            // Clients retry that, and sign anew for it; they do not retry an invalid signature.
            Refusal::Forgotten(floor) => KmsError::new(
                Exception::ServiceUnavailable,
                format!(
                    "It is not known whether this request was used already: it was signed at {}, and \
                     signatures are remembered from {} on. Sign the request anew.",
                    claim.date.iso(),
                    basic((SystemTime::UNIX_EPOCH + Duration::from_secs(floor)).into()),
                ),
            ),
            Refusal::Full => KmsError::new(
                Exception::ServiceUnavailable,
                "More requests are signed than can be remembered. Try again later.",
            ),
        })
    }

    fn check_scope(
        &self,
        scope: &Scope<'_>,
        service: SigningService,
        date: &RequestDate,
    ) -> Result<(), KmsError> {
        let mut faults = Vec::new();
        if !service.allows(scope.region, &*self.served) {
            faults.push("Credential should be scoped to a valid region.".to_owned());
        }
        if scope.service != service.name() {
            let service = service.name();
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

/// Presigned URLs are legal SigV4 but no KMS client makes them; accepting both forms would make it
/// unclear which one counts.
fn refuse_query_authentication(query: Option<&str>) -> Result<(), KmsError> {
    const PARAMETERS: [&str; 7] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        TOKEN,
    ];
    let authenticates = |pair: &str| {
        let name = percent_decode(pair.split('=').next().unwrap_or_default().as_bytes());
        PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    if query.is_some_and(|query| query.split('&').any(authenticates)) {
        return Err(incomplete(
            "Query-string authentication is not supported. Sign the request with an \
             Authorization header.",
        ));
    }
    Ok(())
}

/// Which of several values counts must not be a question; nor which host was meant.
fn refuse_duplicates(request: &SignedRequest<'_>) -> Result<(), KmsError> {
    for name in SINGLE {
        if request.headers.get_all(name).iter().nth(1).is_some() {
            return Err(incomplete(format!("The request must have exactly one '{name}' header.")));
        }
    }
    let host = request.headers.get("host").map(hyper::header::HeaderValue::as_bytes);
    match (request.authority, host) {
        (Some(authority), Some(host)) if authority.as_bytes() != host => {
            Err(incomplete("':authority' and 'Host' must be the same."))
        }
        _ => Ok(()),
    }
}

/// A header that is not signed could be changed on the way: the ones that matter must be signed.
fn check_signed_headers(
    authorization: &Authorization<'_>,
    headers: &HeaderMap,
    date: &RequestDate,
) -> Result<(), KmsError> {
    if !authorization.signs("host") && !authorization.signs(":authority") {
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

/// Whether the request has the session token that its key demands, or none if that demands none.
/// What is computed depends on what came with the request only.
fn is_token_of(headers: &HeaderMap, session: Option<&Session>) -> bool {
    const NO_SESSION: TokenDigest = TokenDigest::from_bytes([0; 32]);
    let token = headers.get(TOKEN);
    let digest = TokenDigest::of(token.map_or(&[], |token| token.as_bytes()));
    let is_equal = bool::from(digest.ct_eq(session.map_or(&NO_SESSION, Session::token)));
    match session {
        Some(_) => token.is_some() && is_equal,
        None => token.is_none(),
    }
}

/// The refusal of an access key that does not exist, or whose session token is another.
pub fn unknown_client() -> KmsError {
    KmsError::new(Exception::UnrecognizedClient, UNKNOWN_CLIENT)
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
