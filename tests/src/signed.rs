//! Firmware that is signed again: the image that was built, changed, for other versions and by other signers.

use std::fs;
use std::path::{Path, PathBuf};

use hsm_boot::manifest::{self, Body, MAX_SIZE, Manifest, Name};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

use crate::emulator::Attachment;
use crate::environment;

/// An image, and what its manifest is to say.
#[derive(Clone, Debug)]
pub struct Release {
    /// What the signers sign; [`Release::sign`] fills in length and measurement.
    pub body: Body,
    /// The image.
    pub image: Vec<u8>,
}

impl Release {
    /// The one that lies beside the board's firmware.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(board: Attachment) -> Self {
        let path = board.firmware().with_extension("signed");
        let signed = fs::read(&path).expect("a signed image");
        let (manifest, image) = Manifest::split(&signed).expect("a signed image");
        Self { body: manifest.body, image: image.to_vec() }
    }

    /// Another image that runs as this one does: with these bytes behind its end.
    #[must_use]
    pub fn marked(&self, mark: &[u8]) -> Self {
        Self { image: [&self.image, mark].concat(), ..self.clone() }
    }

    /// The same under another version.
    ///
    /// # Panics
    /// If a manifest cannot state it.
    #[must_use]
    pub fn version(mut self, version: &str, security_version: u32) -> Self {
        self.body.version = Name::new(version).expect("a version");
        self.body.security_version = security_version;
        self
    }

    /// Puts the signed image where an emulator finds it: in a directory, beside a copy of the second stage. Returns
    /// what stands for the firmware there.
    ///
    /// # Panics
    /// If the board has no second stage, or the directory cannot be written.
    #[must_use]
    pub fn place(&self, board: Attachment, directory: &Path) -> PathBuf {
        let bin = board.machine()["boot"]["bin"].as_str().expect("a second stage");
        fs::copy(board.firmware().with_file_name(bin), directory.join(bin)).expect("copied");
        let firmware = directory.join(board.board());
        fs::write(firmware.with_extension("signed"), self.sign(&[0, 1])).expect("written");
        firmware
    }

    /// The signed image, by these of the development signers.
    ///
    /// # Panics
    /// If there is no such signer.
    #[must_use]
    pub fn sign(&self, signers: &[u8]) -> Vec<u8> {
        let length = u32::try_from(self.image.len()).expect("a length");
        let measurement = Sha256::digest(&self.image).into();
        let body = Body { length, measurement, ..self.body };
        let keys = keys();
        let signatures: Vec<_> = signers
            .iter()
            .map(|index| {
                let signature: Signature =
                    keys[usize::from(*index)].sign_prehash(&body.digest()).expect("signed");
                (*index, signature.to_bytes().into())
            })
            .collect();
        let mut out = [0; MAX_SIZE];
        let manifest = manifest::encode(&body, &signatures, &mut out).expect("a manifest");
        [manifest, &self.image].concat()
    }
}

/// The development signers, whose keys everyone has.
fn keys() -> Vec<SigningKey> {
    let path = environment::root().join("hsm-firmware/signers/development.keys");
    let text = fs::read_to_string(path).expect("the development signers' keys");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let byte = |at: usize, line: &str| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
    lines
        .map(|line| (0..line.len()).step_by(2).map(|at| byte(at, line)).collect::<Vec<_>>())
        .map(|scalar| SigningKey::from_slice(&scalar).expect("a key"))
        .collect()
}
