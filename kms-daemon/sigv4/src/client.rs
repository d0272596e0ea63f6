//! The signing side: for `kmsctl`, and for requests to external key store proxies.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::authorization::Scope;
use super::canonical::CanonicalRequest;
use super::date::{RequestDate, basic};
use super::{ALGORITHM, SignedRequest, TERMINATOR, signature, string_to_sign};
use kms_base::error::KmsError;
use kms_base::hex;

const INVOCATION: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
const ATTEMPT: HeaderName = HeaderName::from_static("amz-sdk-request");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Signer<'s> {
    /// Access key id.
    pub access_key: &'s str,
    /// Secret access key.
    pub secret: &'s str,
    /// Region of the scope.
    pub region: &'s str,
    /// Service of the scope.
    pub service: &'s str,
}

impl Signer<'_> {
    /// Signs a `POST` to `/` with all its headers, which must include `host`, and adds date and
    /// authorization.
    ///
    /// # Errors
    /// If the access key or the scope cannot stand in a header.
    pub fn sign(
        &self,
        headers: &mut HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), SignError> {
        self.sign_path("/", headers, body, now)
    }

    /// Signs a `POST` to `path`, as [`Signer::sign`] does.
    ///
    /// # Errors
    /// If the access key or the scope cannot stand in a header.
    pub fn sign_path(
        &self,
        path: &str,
        headers: &mut HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), SignError> {
        // Equal requests of one second would have equal signatures, which count once.
        headers.insert(INVOCATION, HeaderValue::from_str(&Uuid::new_v4().to_string())?);
        headers.insert(ATTEMPT, HeaderValue::from_static("attempt=1"));
        headers.insert(DATE, HeaderValue::from_str(&basic(OffsetDateTime::from(now)))?);
        let date = RequestDate::from_headers(headers)?;
        let mut signed_headers: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        signed_headers.sort_unstable();
        let scope = Scope {
            access_key: self.access_key,
            date: date.day(),
            region: self.region,
            service: self.service,
            terminator: TERMINATOR,
        };
        let request =
            SignedRequest { method: "POST", path, query: None, authority: None, headers, body };
        let canonical = CanonicalRequest {
            request: &request,
            signed_headers: &signed_headers,
            payload_hash: &hex::encode(&Sha256::digest(body)),
        };
        let to_sign = string_to_sign(&date, &scope, &canonical.to_bytes());
        let signature = hex::encode(&signature(self.secret, &scope, &to_sign));
        let authorization = format!(
            "{ALGORITHM} Credential={}/{}/{}/{}/{TERMINATOR}, SignedHeaders={}, \
             Signature={signature}",
            self.access_key,
            date.day(),
            self.region,
            self.service,
            signed_headers.join(";"),
        );
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
        Ok(())
    }
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A value that no header can have.
    #[error(transparent)]
    Header(#[from] InvalidHeaderValue),
    /// The time has no such form.
    #[error(transparent)]
    Date(#[from] KmsError),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{AccessKey, Session, SigningService, Verifier};

    #[derive(Debug)]
    struct Key;

    impl AccessKey for Key {
        fn secret(&self) -> &str {
            SECRET
        }

        fn session(&self) -> Option<Session> {
            None
        }
    }

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn what_it_signs_verifies() {
        let (access_key, secret) = ("AKIAAAAAAAAAAAAAAAAA", SECRET);
        let verifier = Verifier::new(Arc::new(|_| false), Duration::from_secs(300));
        let now = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost:8700"));
        let signer = Signer { access_key, secret, region: "us-east-1", service: "iam" };
        let path = "/partner/kms/xks/v1/health";
        signer.sign_path(path, &mut headers, b"Action=ListUsers", now).unwrap();
        let verify = |body| {
            let request = SignedRequest {
                method: "POST",
                path: "/partner/kms/xks/v1/health",
                query: None,
                authority: None,
                headers: &headers,
                body,
            };
            let claim = verifier.read(&request, SigningService::IAM, now).unwrap();
            let found = (claim.access_key_id() == access_key).then_some(Key);
            verifier.verify(&claim, found).map(|_| claim.region().to_owned())
        };
        assert_eq!(verify(b"Action=ListUsers"), Ok("us-east-1".to_owned()));
        assert!(verify(b"Action=ListRoles").is_err());
    }
}
