//! The pipe between the daemon and the process that runs a PKCS#11 module.

/// Requests, as the process reads them.
pub(crate) fn requests(input: &[u8]) {
    let _ = kms_pkcs11::fuzz::requests(input);
}

/// What a process sends that lies, as the daemon reads it.
pub(crate) fn answers(input: &[u8]) {
    let _ = kms_pkcs11::fuzz::answers(input);
}
