//! What every part of `kmsd` and `kmsctl` stands on: time, names, errors, files written durably, secrets in memory.

pub mod clock;
pub mod context;
pub mod durable;
pub mod error;
pub mod files;
pub mod hex;
pub mod identifier;
pub mod log;
pub mod memory;
pub mod passphrase;
pub mod principal;
pub mod record;
pub mod space;
pub mod text;

/// Bytes that nobody has seen before.
///
/// # Errors
/// If the operating system has none.
pub fn random_nonce() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
