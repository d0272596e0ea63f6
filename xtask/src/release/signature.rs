//! Signatures over a file of a release: ECDSA over P-256 with SHA-256, by `openssl`, which asks for the passphrase of
//! a key that has one. `openssl dgst -sha256 -verify` accepts them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::sums::sha256;
use crate::{
    command,
    failure::{Doing, Failure, Result},
    term,
};

/// What a public key of P-256 in DER begins with: SubjectPublicKeyInfo (RFC 5480) up to the point, which is not
/// compressed.
const P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// How PKCS#8 in PEM begins (RFC 7468), the second under a passphrase.
const PKCS8: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----"];

/// A private key.
#[derive(Debug)]
pub(super) struct SigningKey {
    path: PathBuf,
    /// Name of its file, without the ending: signatures have it.
    pub(super) name: String,
}

impl SigningKey {
    /// Checks that a file holds a key that can sign.
    ///
    /// # Errors
    /// If it is not a P-256 key in PKCS#8 and PEM, and if there is no `openssl`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).doing(format_args!("read {}", path.display()))?;
        if !PKCS8.iter().any(|head| text.starts_with(head)) {
            return Err(Failure::new(format!("{} is not a PKCS#8 key in PEM", path.display()))
                .help("convert one: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW"));
        }
        if !command::on_path("openssl") {
            return Err(
                Failure::new("there is no `openssl` on PATH").help("apt-get install openssl")
            );
        }
        let public = public_key(path)?;
        if !public.starts_with(&P256) {
            return Err(Failure::new(format!("{} is not a key of P-256", path.display())).help(
                "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
            ));
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        term::note(format!("{} signs; the SHA-256 of its public key is {}", name, sha256(&public)));
        let path = std::path::absolute(path).doing(format_args!("find {}", path.display()))?;
        Ok(Self { path, name })
    }

    /// Signs a file of the directory; the signature is beside it.
    pub(super) fn sign(&self, dir: &Path, file: &str) -> Result<()> {
        let signature = dir.join(format!("{file}.{}.sig", self.name));
        let mut openssl = command::program("openssl", ["dgst", "-sha256", "-sign"]);
        openssl.arg(&self.path).arg("-out").arg(&signature).arg(dir.join(file));
        command::output(&mut openssl).map(drop)
    }
}

/// The public key of a private one, in DER.
fn public_key(path: &Path) -> Result<Vec<u8>> {
    let mut openssl = command::program("openssl", ["pkey", "-pubout", "-outform", "DER", "-in"]);
    let output =
        openssl.arg(path).stdin(std::process::Stdio::null()).output().doing("run openssl")?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("{} cannot be read as a key", path.display())).help(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("xtask-keys-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn openssl(&self, line: &str) -> Result<String> {
            let mut openssl = command::program("openssl", line.split(' '));
            command::output(openssl.current_dir(&self.0))
        }

        fn key(&self, name: &str, curve: &str) -> PathBuf {
            let option = format!("ec_paramgen_curve:{curve}");
            self.openssl(&format!("genpkey -algorithm EC -pkeyopt {option} -out {name}")).unwrap();
            self.0.join(name)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn openssl_accepts_the_signature_of_this_file_by_this_key_only() {
        let dir = Dir::new("sign");
        let key = SigningKey::open(&dir.key("alice.pem", "P-256")).unwrap();
        dir.key("bob.pem", "P-256");
        for name in ["alice", "bob"] {
            dir.openssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub")).unwrap();
        }
        fs::write(dir.0.join("SHA256SUMS"), "00  a.bin\n").unwrap();
        key.sign(&dir.0, "SHA256SUMS").unwrap();
        let verify = |name: &str| {
            let what = "-signature SHA256SUMS.alice.sig SHA256SUMS";
            dir.openssl(&format!("dgst -sha256 -verify {name}.pub {what}"))
        };
        assert_eq!(verify("alice").unwrap(), "Verified OK\n");
        assert!(verify("bob").is_err());
        fs::write(dir.0.join("SHA256SUMS"), "01  a.bin\n").unwrap();
        assert!(verify("alice").is_err());
    }

    #[test]
    fn only_p256_in_pkcs8_signs() {
        let dir = Dir::new("forms");
        let why = |path: &Path| SigningKey::open(path).unwrap_err().to_string();
        let other = dir.key("p384.pem", "P-384");
        assert!(why(&other).contains("is not a key of P-256"));
        let key = dir.key("key.pem", "P-256");
        dir.openssl("pkey -in key.pem -traditional -out old.pem").unwrap();
        assert!(why(&dir.0.join("old.pem")).contains("openssl pkcs8 -topk8"));
        let text = fs::read_to_string(&key).unwrap();
        fs::write(&key, text.replacen("\nM", "\nA", 1)).unwrap();
        assert!(why(&key).contains("cannot be read as a key"));
    }
}
