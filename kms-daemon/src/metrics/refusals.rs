//! Refusals: why, for counting, and lines in the log, of which there are only so many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Lines of one reason in a [`WINDOW`].
const LINES: u64 = 10;
/// How long lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// A request that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// `requestID`.
    pub request: Uuid,
    /// The service: `kms`, `iam`, `sts`, `tagging`, `ec2`, `cloudtrail`, or `other` for one that is not served.
    pub service: &'static str,
    /// The operation as the request names it: anything, from anybody.
    pub operation: &'a str,
    /// The error code.
    pub code: &'static str,
    /// The caller, as far as it is known; for callers that nobody vouches for, what they claim.
    pub who: Option<&'a str>,
    /// From where.
    pub source: IpAddr,
    /// Whether only its record had no room.
    pub no_room: bool,
}

impl Refusal<'_> {
    /// Why, in one word for counting.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        if self.no_room { "disk" } else { reason(self.code) }
    }
}

/// Why a request with this error code was refused.
fn reason(code: &str) -> &'static str {
    let name = code.strip_suffix("Exception").unwrap_or(code);
    match name {
        "AccessDenied" | "NotAuthorized" => "denied",
        "ExpiredToken"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClient" => "unauthenticated",
        "Throttling" => "throttled",
        "LimitExceeded" => "quota",
        "DependencyTimeout" | "InternalFailure" | "KMSInternal" | "KeyUnavailable"
        | "ServiceFailure" | "ServiceUnavailable" => "fault",
        "CustomKeyStoreNotFound" | "NoSuchEntity" | "NotFound" => "missing",
        "Conflict"
        | "ConcurrentModification"
        | "DeleteConflict"
        | "Disabled"
        | "KMSInvalidState" => "state",
        "IncorrectKey" | "InvalidCiphertext" | "KMSInvalidMac" | "KMSInvalidSignature" => {
            "cryptography"
        }
        _ => "request",
    }
}

/// The lines of the log.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<BTreeMap<&'static str, Count>>);

#[derive(Debug)]
struct Count {
    begin: Instant,
    lines: u64,
    left_out: u64,
}

impl Lines {
    /// Writes a line, unless there were too many of its reason just now. The next one tells how many
    /// were left out.
    pub(super) fn write(&self, refusal: &Refusal<'_>) {
        let reason = refusal.reason();
        let Some(left_out) = self.admit(reason, Instant::now()) else { return };
        // Quoted and escaped where a client chose the text, so that none makes lines of its own.
        let Refusal { request, service, operation, code, who, source, .. } = refusal;
        match reason {
            "denied" | "unauthenticated" | "fault" | "disk" => tracing::warn!(
                %request, service, ?operation, code, reason, ?who, %source, left_out,
                "request refused"
            ),
            _ => tracing::info!(
                %request, service, ?operation, code, reason, ?who, %source, left_out,
                "request refused"
            ),
        }
    }

    /// Whether there is to be a line, and how many were left out since the one before.
    fn admit(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(reason).or_insert(Count { begin: now, lines: 0, left_out: 0 });
        if now.saturating_duration_since(count.begin) >= WINDOW {
            (count.begin, count.lines) = (now, 0);
        }
        if count.lines >= LINES {
            count.left_out += 1;
            return None;
        }
        count.lines += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_base::error::Exception;

    #[test]
    fn lines_are_few_and_tell_of_the_rest() {
        let (lines, begin) = (Lines::default(), Instant::now());
        let written = (0..1000).filter(|_| lines.admit("denied", begin).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(lines.admit("missing", begin), Some(0), "another reason");
        assert_eq!(lines.admit("denied", begin + WINDOW), Some(990));
        assert_eq!(lines.admit("denied", begin + WINDOW), Some(0));
    }

    #[test]
    fn every_error_has_a_reason() {
        for (exception, expected) in [
            (Exception::AccessDenied, "denied"),
            (Exception::InvalidSignature, "unauthenticated"),
            (Exception::UnrecognizedClient, "unauthenticated"),
            (Exception::Throttling, "throttled"),
            (Exception::NotFound, "missing"),
            (Exception::Validation, "request"),
            (Exception::InvalidCiphertext, "cryptography"),
        ] {
            assert_eq!(reason(exception.code()), expected);
        }
        for exception in Exception::ALL {
            let fault = exception.status() >= 500;
            assert_eq!(reason(exception.code()) == "fault", fault, "{exception:?}");
        }
        // Those of IAM and STS have no suffix.
        assert_eq!(reason("NoSuchEntity"), "missing");
        assert_eq!(reason("AccessDenied"), "denied");
    }
}
