//! Requests to external key stores: paths and bodies. Responses of those of others.

use kms_xks::{
    Call, CiphertextMetadata, DecryptRequest, EncryptRequest, MAX_AAD, Outer, Parts, Path,
    XksError, is_prefix, read_decrypted, read_encrypted, read_fleet, read_health, read_key,
    read_metadata, read_refusal,
};

/// The first line is a path, the rest a body. What is read is within the limits of the API, and what is
/// refused is refused in words that fit it.
pub(crate) fn requests(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (path, body) = input.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let path = std::str::from_utf8(path).unwrap_or_default();
    if let Some(Path { prefix, call }) = Path::parse(path) {
        assert!(is_prefix(prefix) && path.starts_with(&format!("/{prefix}/kms/xks/v1/")));
        assert!(call.key().is_none_or(|key| path.contains(&format!("/keys/{key}/"))));
        assert_eq!(call == Call::Health, call.action().is_none());
    }
    refused_in_words(read_health(body).err());
    refused_in_words(read_metadata(body).err());
    match EncryptRequest::read(body) {
        Ok(request) => {
            assert!(!request.plaintext.is_empty() && request.aad.len() <= MAX_AAD);
            assert!(!request.metadata.recorded().is_empty());
        }
        Err(error) => refused_in_words(Some(error)),
    }
    match DecryptRequest::read(body) {
        Ok(request) => {
            let parts = request.parts();
            assert!(request.aad.len() <= MAX_AAD && !parts.ciphertext.is_empty());
            let sent = parts.metadata.to_bytes();
            assert_eq!(CiphertextMetadata::parse(&sent), Some(parts.metadata));
        }
        Err(error) => refused_in_words(Some(error)),
    }
    if let Some(parts) = Parts::of_blob(body) {
        assert!(parts.ciphertext.len() < body.len());
    }
}

/// The first byte is how long the plaintext was, the rest the response of a proxy. What is read has the lengths
/// of the API, whatever it says, and makes a blob that is read again.
pub(crate) fn responses(input: &[u8]) {
    let Some((length, body)) = input.split_first() else { return };
    let length = usize::from(*length);
    if let Ok(made) = read_encrypted(body, length, b"aad") {
        assert_eq!(made.ciphertext.len(), length);
        assert!([12, 16].contains(&made.iv.len()) && made.metadata.len() <= 20);
    }
    if let Ok(plaintext) = read_decrypted(body, length) {
        assert_eq!(plaintext.len(), length);
    }
    if let Ok(health) = read_fleet(body) {
        assert!((1..=10).contains(&(health.active + health.degraded + health.unavailable)));
    }
    let _ = read_key(body);
    if let Ok((_, message)) = read_refusal(body) {
        assert!(message.len() < 512 && message.bytes().all(|c| (b' '..=b'~').contains(&c)));
    }
    if let Some(outer) = Outer::parse(body) {
        assert!(outer.ciphertext.len() + outer.iv.len() + outer.metadata.len() < body.len());
    }
}

fn refused_in_words(error: Option<XksError>) {
    let Some(error) = error else { return };
    assert!(!error.message().is_empty() && error.to_body().len() < 1024);
}
