//! An attested environment like those of AWS Nitro: a chain of certificates, a module that signs
//! documents, and an RSA key to which results are sealed.

use std::io::Write;
use std::process::{Command, Stdio};

use minicbor::Encoder;
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use p384::pkcs8::DecodePrivateKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Protected header: ES384.
const ES384: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

/// An environment and everybody who vouches for it.
pub struct Enclave {
    /// DER, the root first.
    bundle: Vec<Vec<u8>>,
    root_pem: String,
    leaf: Vec<u8>,
    module: SigningKey,
    /// DER `SubjectPublicKeyInfo`.
    public_key: Vec<u8>,
    /// Of the RSA private key.
    directory: TempDir,
}

/// The fields of a document, to be changed before it is signed.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in the document")]
pub struct Document {
    pub module_id: String,
    pub digest: String,
    pub timestamp: u64,
    /// `pcrs` or `nitrotpm_pcrs`.
    pub pcrs_name: &'static str,
    pub pcrs: Vec<(u8, Vec<u8>)>,
    pub certificate: Vec<u8>,
    pub cabundle: Vec<Vec<u8>>,
    pub public_key: Option<Vec<u8>>,
    pub user_data: Option<Vec<u8>>,
    /// Whether the map is of unknown length, as older modules write it.
    pub indefinite: bool,
    pub protected: Vec<u8>,
}

impl Enclave {
    /// An environment with an RSA key of `bits`, under a root of its own.
    ///
    /// # Panics
    /// If OpenSSL's program is missing.
    #[must_use]
    pub fn new(bits: u16) -> Self {
        Self::with_leaf(bits, |_| {})
    }

    /// As [`Enclave::new`], with a certificate of the module changed by `change`.
    ///
    /// # Panics
    /// If OpenSSL's program is missing.
    #[must_use]
    pub fn with_leaf(bits: u16, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = CertifiedIssuer::self_signed(authority("aws.nitro-enclaves"), p384_key());
        let root = root.expect("self-signed");
        let region = authority("eu-central-1.aws.nitro-enclaves");
        let region = CertifiedIssuer::signed_by(region, p384_key(), &root).expect("signed");
        let instance = authority("i-0123456789abcdef0.eu-central-1.aws.nitro-enclaves");
        let instance = CertifiedIssuer::signed_by(instance, p384_key(), &region).expect("signed");
        let mut params = named("i-0123456789abcdef0-enc0123456789abcdef.eu-central-1.aws");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let key = p384_key();
        let leaf = params.signed_by(&key, &instance).expect("signed");

        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("key.pem");
        let file = file.to_str().expect("UTF-8");
        let size = format!("rsa_keygen_bits:{bits}");
        let generate = ["genpkey", "-algorithm", "RSA", "-pkeyopt", &size, "-out", file];
        openssl(&generate, &[]).expect("an RSA key");
        let public_key = openssl(&["pkey", "-in", file, "-pubout", "-outform", "DER"], &[])
            .expect("its public half");
        Self {
            bundle: [&root, &region, &instance].map(|ca| ca.as_ref().der().to_vec()).to_vec(),
            root_pem: root.as_ref().pem(),
            leaf: leaf.der().to_vec(),
            module: SigningKey::from_pkcs8_der(&key.serialize_der()).expect("a P-384 key"),
            public_key,
            directory,
        }
    }

    /// SHA-256 of the root certificate.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        Sha256::digest(&self.bundle[0]).into()
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The RSA key, DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// An honest document.
    #[must_use]
    pub fn document(&self, now_ms: u64) -> Document {
        Document {
            module_id: "i-0123456789abcdef0-enc0123456789abcdef".to_owned(),
            digest: "SHA384".to_owned(),
            timestamp: now_ms,
            pcrs_name: "pcrs",
            pcrs: vec![(0, vec![0xA0; 48]), (1, vec![0xA1; 48]), (8, vec![0xA8; 48])],
            certificate: self.leaf.clone(),
            cabundle: self.bundle.clone(),
            public_key: Some(self.public_key.clone()),
            user_data: None,
            indefinite: false,
            protected: ES384.to_vec(),
        }
    }

    /// Signs a document: COSE_Sign1.
    ///
    /// # Panics
    /// Never: memory takes everything.
    #[must_use]
    pub fn sign(&self, document: &Document) -> Vec<u8> {
        let payload = document.payload();
        let mut signed = Encoder::new(Vec::new());
        signed.array(4).expect("memory").str("Signature1").expect("memory");
        for part in [&document.protected[..], &[], &payload] {
            signed.bytes(part).expect("memory");
        }
        let signature: Signature = self.module.sign(&signed.into_writer());
        let mut cose = Encoder::new(Vec::new());
        cose.array(4).expect("memory").bytes(&document.protected).expect("memory");
        cose.map(0).expect("memory").bytes(&payload).expect("memory");
        cose.bytes(&signature.to_bytes()).expect("memory");
        cose.into_writer()
    }

    /// An honest document, signed.
    #[must_use]
    pub fn attest(&self, now_ms: u64) -> Vec<u8> {
        self.sign(&self.document(now_ms))
    }

    /// Opens what was sealed to the RSA key, with OpenSSL.
    ///
    /// # Errors
    /// What OpenSSL says if it cannot.
    pub fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, String> {
        let file = self.directory.path().join("key.pem");
        let key = file.to_str().expect("UTF-8");
        openssl(&["cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", key], envelope)
    }
}

impl Document {
    /// The payload's CBOR.
    fn payload(&self) -> Vec<u8> {
        let mut cbor = Encoder::new(Vec::new());
        match self.indefinite {
            true => cbor.begin_map(),
            false => cbor.map(9),
        }
        .expect("memory");
        cbor.str("module_id").expect("memory").str(&self.module_id).expect("memory");
        cbor.str("digest").expect("memory").str(&self.digest).expect("memory");
        cbor.str("timestamp").expect("memory").u64(self.timestamp).expect("memory");
        cbor.str(self.pcrs_name).expect("memory");
        cbor.map(u64::try_from(self.pcrs.len()).expect("few")).expect("memory");
        for (index, value) in &self.pcrs {
            cbor.u8(*index).expect("memory").bytes(value).expect("memory");
        }
        cbor.str("certificate").expect("memory").bytes(&self.certificate).expect("memory");
        cbor.str("cabundle").expect("memory");
        cbor.array(u64::try_from(self.cabundle.len()).expect("few")).expect("memory");
        for certificate in &self.cabundle {
            cbor.bytes(certificate).expect("memory");
        }
        for (name, value) in [
            ("public_key", self.public_key.as_ref()),
            ("user_data", self.user_data.as_ref()),
            ("nonce", None),
        ] {
            cbor.str(name).expect("memory");
            match value {
                Some(value) => cbor.bytes(value),
                None => cbor.null(),
            }
            .expect("memory");
        }
        if self.indefinite {
            cbor.end().expect("memory");
        }
        cbor.into_writer()
    }
}

/// A new RSA private key of `bits`, DER PKCS#8.
///
/// # Panics
/// If OpenSSL's program is missing.
#[must_use]
pub fn rsa_private_key(bits: usize) -> Vec<u8> {
    let size = format!("rsa_keygen_bits:{bits}");
    let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", &size], &[]);
    let form = ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"];
    openssl(&form, &pem.expect("an RSA key")).expect("encoded")
}

fn p384_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a P-384 key")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Runs OpenSSL's program; what it writes.
fn openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // It may end without having read everything; then it says why.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
