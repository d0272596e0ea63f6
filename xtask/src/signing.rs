//! Signed firmware: a manifest of `hsm-boot`, and the image that it is about.
//!
//! Images that are built here are signed with the development signers' keys, which everyone has: it takes a second
//! stage that was built for other signers (`STRONGROOM_FIRMWARE_SIGNERS`) to trust fewer people.

use std::{fs, path::Path};

use hsm_boot::manifest::{self, Body, MAX_SIZE, Name};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::{
    command,
    failure::{Doing, Failure, Result},
    firmware::Board,
};

const MANIFEST: &str = "hsm-firmware/Cargo.toml";
const KEYS: &str = "hsm-firmware/signers/development.keys";
/// How many signers sign: the threshold of the development signers.
const THRESHOLD: usize = 2;

/// Writes the signed form of an image beside its ELF file, with the ending `signed`.
pub(crate) fn sign(board: &Board, address: u32, image: &[u8], elf: &Path) -> Result<()> {
    let name = |text: &str| {
        Name::new(text).ok_or_else(|| Failure::new(format!("`{text}` does not fit a manifest")))
    };
    let length = u32::try_from(image.len()).map_err(|_| Failure::new("the image is too long"))?;
    let body = Body {
        board: name(&board.name)?,
        version: name(env!("CARGO_PKG_VERSION"))?,
        security_version: security_version()?,
        length,
        address,
        measurement: Sha256::digest(image).into(),
    };
    let mut signatures = Vec::new();
    for (index, key) in (0..).zip(keys()?.iter().take(THRESHOLD)) {
        let signature: Signature = key
            .sign_prehash(&body.digest())
            .map_err(|error| Failure::new(format!("cannot sign the image: {error}")))?;
        signatures.push((index, signature.to_bytes().into()));
    }
    let mut out = [0; MAX_SIZE];
    let manifest = manifest::encode(&body, &signatures, &mut out)
        .ok_or_else(|| Failure::new("a manifest has one to eight signatures"))?;
    let path = elf.with_extension("signed");
    let signed = [manifest, image].concat();
    if fs::read(&path).is_ok_and(|present| present == signed) {
        return Ok(());
    }
    fs::write(&path, signed).doing(format_args!("write {}", path.display()))
}

/// The security version of the firmware, which its package says.
fn security_version() -> Result<u32> {
    let text = fs::read_to_string(command::root().join(MANIFEST));
    let table: Table = text.doing(format_args!("read {MANIFEST}"))?.parse().map_err(|error| {
        Failure::new(format!("{MANIFEST} is not understood")).help(format!("{error}"))
    })?;
    let keys = ["package", "metadata", "strongroom", "security_version"];
    let found = keys.iter().try_fold(&Value::Table(table), |value, key| value.get(key)).cloned();
    let number = found.and_then(|value| value.as_integer()).and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| Failure::new(format!("{MANIFEST} has no {}", keys.join("."))))
}

/// The development signers' keys.
fn keys() -> Result<Vec<SigningKey>> {
    let text = fs::read_to_string(command::root().join(KEYS));
    let text = text.doing(format_args!("read {KEYS}"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let bytes = (0..line.len()).step_by(2);
            let bytes: Option<Vec<u8>> =
                bytes.map(|at| u8::from_str_radix(line.get(at..at + 2)?, 16).ok()).collect();
            bytes
                .and_then(|bytes| SigningKey::from_slice(&bytes).ok())
                .ok_or_else(|| Failure::new(format!("{KEYS} has a line that is not a key")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second stage that is built without other signers trusts these.
    #[test]
    fn the_development_signers_are_those_whose_keys_are_there() {
        let signers =
            fs::read_to_string(command::root().join("hsm-firmware/signers/development.signers"));
        let signers = signers.unwrap();
        let expected: Vec<_> =
            signers.lines().filter_map(|line| line.strip_prefix("signer ")).collect();
        let found: Vec<String> = keys()
            .unwrap()
            .iter()
            .map(|key| {
                key.verifying_key()
                    .to_sec1_point(false)
                    .as_bytes()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect()
            })
            .collect();
        assert_eq!(found, expected);
        assert!(signers.contains(&format!("\nthreshold {THRESHOLD}\n")));
        assert!(security_version().unwrap() >= 1);
    }
}
