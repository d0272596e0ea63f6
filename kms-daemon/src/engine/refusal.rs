//! What clients are told when a device could not do what they asked for.

use host_driver::CallError;
use hsm_protocol::ErrorCode;

use super::recipient::disbelieved;
use kms_base::error::{Exception, KmsError};

/// What clients are told when no device can do it now. Clients retry on both.
#[derive(Debug, Clone, Copy)]
pub(super) enum Busy {
    /// For operations on an existing key.
    KeyUnavailable,
    /// For data key pairs: of an existing key, but of a spec that devices may not have.
    DataKeyPair,
    /// For an import: faults are those of token and material.
    Import,
    /// For operations without a key, whose spec the devices may not support.
    DependencyTimeout,
}

/// The error for a failed command.
pub(super) fn refusal(error: CallError, busy: Busy) -> KmsError {
    if let CallError::Refused { code, .. } = error {
        if let (Busy::Import, Some(refusal)) = (busy, refused_import(code)) {
            return refusal;
        }
        match code {
            ErrorCode::CIPHERTEXT_INVALID => return KmsError::bare(Exception::InvalidCiphertext),
            ErrorCode::SIGNATURE_INVALID => return KmsError::bare(Exception::KmsInvalidSignature),
            ErrorCode::MAC_INVALID => return KmsError::bare(Exception::KmsInvalidMac),
            ErrorCode::KEY_MATERIAL_INVALID => {
                let text = "The public key is not one that the KMS key can agree with.";
                return KmsError::new(Exception::Validation, text);
            }
            ErrorCode::ATTESTATION_MALFORMED
            | ErrorCode::ATTESTATION_STALE
            | ErrorCode::ATTESTATION_UNTRUSTED => return disbelieved(code),
            ErrorCode::MESSAGE_LENGTH => {
                let text = "The data is too long for the algorithm and key spec.";
                return KmsError::new(Exception::Validation, text);
            }
            _ => {}
        }
    }
    if let (CallError::NoCapableDevice(spec), Busy::DataKeyPair | Busy::DependencyTimeout) =
        (&error, busy)
    {
        let text = format!("KeySpec {spec:?} is not supported by this service.");
        return KmsError::new(Exception::UnsupportedOperation, text);
    }
    if let CallError::NoRoom { size, room, .. } = &error {
        // Which devices there are is nothing to clients; operators read it here.
        tracing::warn!(%error, "a request was too long for every device that could serve it");
        let excess = size.saturating_sub(usize::try_from(*room).unwrap_or(usize::MAX));
        let text = format!(
            "The request is {excess} bytes too long for the HSMs of this service. Shorten its data or \
             its encryption context, or ask the operator to add an HSM with more memory."
        );
        return KmsError::new(Exception::Validation, text);
    }
    if let CallError::NoPairYet(spec) = error {
        let text = format!(
            "No {spec:?} key pair was found in time. The HSM goes on looking for it. Try again."
        );
        let exception = match busy {
            Busy::KeyUnavailable | Busy::DataKeyPair => Exception::KeyUnavailable,
            Busy::DependencyTimeout | Busy::Import => Exception::DependencyTimeout,
        };
        return KmsError::new(exception, text);
    }
    if let CallError::Overloaded = error {
        let text = "The HSMs have more requests than they can serve at the moment. You can retry the \
                    request.";
        return KmsError::new(Exception::Throttling, text);
    }
    let passing = error.retryable()
        || matches!(
            error,
            CallError::NoCapableDevice(_) | CallError::CallerGone | CallError::ShutDown
        );
    if !passing {
        return KmsError::internal(error);
    }
    tracing::warn!(%error, "no device could serve a request");
    match busy {
        Busy::KeyUnavailable | Busy::DataKeyPair => KmsError::new(
            Exception::KeyUnavailable,
            "The key is not available at the moment. Try again.",
        ),
        Busy::DependencyTimeout | Busy::Import => {
            KmsError::new(Exception::DependencyTimeout, "No HSM is available. Try again.")
        }
    }
}

/// The error for a token or material that cannot be imported.
fn refused_import(code: ErrorCode) -> Option<KmsError> {
    let (exception, text) = match code {
        ErrorCode::TOKEN_MALFORMED
        | ErrorCode::TOKEN_INVALID
        | ErrorCode::TOKEN_DOMAIN
        | ErrorCode::KEY_MISMATCH => (
            Exception::InvalidImportToken,
            "The import token is damaged, or of another key. Call GetParametersForImport.",
        ),
        ErrorCode::TOKEN_EXPIRED => (
            Exception::ExpiredImportToken,
            "The import token has expired. Call GetParametersForImport, and wrap the key \
             material with the new public key.",
        ),
        // The unwrapped bytes are not key material of the key's spec.
        ErrorCode::KEY_MATERIAL_INVALID | ErrorCode::MESSAGE_LENGTH => {
            return Some(KmsError::bare(Exception::InvalidCiphertext));
        }
        _ => return None,
    };
    Some(KmsError::new(exception, text))
}

#[cfg(test)]
mod tests {
    use hsm_protocol::Opcode;
    use hsm_protocol::key_spec::KeySpec;

    use super::*;

    fn refused(code: ErrorCode) -> CallError {
        CallError::Refused { opcode: Opcode::Decrypt, code, receipt: None }
    }

    #[test]
    fn failures_become_the_exceptions_clients_know() {
        let unavailable = CallError::Unavailable { reason: "all quarantined".into() };
        for (error, with_key, without_key) in [
            (
                refused(ErrorCode::CIPHERTEXT_INVALID),
                Exception::InvalidCiphertext,
                Exception::InvalidCiphertext,
            ),
            (
                refused(ErrorCode::SIGNATURE_INVALID),
                Exception::KmsInvalidSignature,
                Exception::KmsInvalidSignature,
            ),
            (refused(ErrorCode::MAC_INVALID), Exception::KmsInvalidMac, Exception::KmsInvalidMac),
            (
                refused(ErrorCode::SELF_TEST_FAILED),
                Exception::KeyUnavailable,
                Exception::DependencyTimeout,
            ),
            (
                refused(ErrorCode::KEY_MATERIAL_INVALID),
                Exception::Validation,
                Exception::Validation,
            ),
            (refused(ErrorCode::MESSAGE_LENGTH), Exception::Validation, Exception::Validation),
            (refused(ErrorCode::TOKEN_INVALID), Exception::KmsInternal, Exception::KmsInternal),
            (refused(ErrorCode::KEY_MISMATCH), Exception::KmsInternal, Exception::KmsInternal),
            (CallError::TooLarge, Exception::KmsInternal, Exception::KmsInternal),
            (
                CallError::DeadlineExceeded { sent: true },
                Exception::KeyUnavailable,
                Exception::DependencyTimeout,
            ),
            (
                CallError::NoPairYet(KeySpec::RSA_4096),
                Exception::KeyUnavailable,
                Exception::DependencyTimeout,
            ),
            (unavailable, Exception::KeyUnavailable, Exception::DependencyTimeout),
            (CallError::Overloaded, Exception::Throttling, Exception::Throttling),
            (CallError::CallerGone, Exception::KeyUnavailable, Exception::DependencyTimeout),
            (
                CallError::NoCapableDevice(KeySpec::HMAC_256),
                Exception::KeyUnavailable,
                Exception::UnsupportedOperation,
            ),
        ] {
            let seen = |busy| refusal(error.clone(), busy).exception();
            assert_eq!(seen(Busy::KeyUnavailable), with_key, "{error}");
            assert_eq!(seen(Busy::DependencyTimeout), without_key, "{error}");
        }
    }

    /// Every operation may end so, and SDKs do not try again.
    #[test]
    fn a_request_that_no_device_has_room_for_is_the_callers() {
        let error =
            CallError::NoRoom { size: 17_000, room: 16_384, device: "serial:/dev/ttyACM0".into() };
        for busy in [Busy::KeyUnavailable, Busy::DependencyTimeout, Busy::Import] {
            let refusal = refusal(error.clone(), busy);
            assert_eq!((refusal.exception(), refusal.status()), (Exception::Validation, 400));
            let text = refusal.message().unwrap();
            assert!(text.contains("616 bytes too long") && text.contains("encryption context"));
            assert!(!text.contains("ttyACM0"), "{text}");
        }
    }

    /// This is not a fault of a device, and nobody should look for one.
    #[test]
    fn a_search_that_takes_long_is_told_as_such() {
        let refusal = refusal(CallError::NoPairYet(KeySpec::RSA_4096), Busy::DependencyTimeout);
        let text = refusal.message().unwrap();
        assert!(text.contains("RSA_4096") && text.contains("Try again"), "{text}");
        assert_eq!(refusal.status(), 500, "SDKs try again");
    }

    #[test]
    fn failures_of_ciphertexts_are_alike() {
        let text = refusal(refused(ErrorCode::CIPHERTEXT_INVALID), Busy::KeyUnavailable);
        assert_eq!(text.message(), None);
    }
}
