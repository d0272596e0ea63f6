//! Vectors that can be asked of a whole device: those with a private key, which is imported.

use hsm_core::algorithm::{self, PORTABLE};
use hsm_core::secret::SecretBuf;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};

use super::file::{self, Set, Vector};
use super::{der, rsa};

/// A vector: what to import, what to ask, what the answer is.
#[derive(Debug)]
pub struct DeviceVector {
    /// What a failure is reported as.
    pub name: String,
    /// The key's spec.
    pub spec: KeySpec,
    /// The private key, DER PKCS#8.
    pub material: Vec<u8>,
    /// The question.
    pub question: DeviceQuestion,
}

/// A question whose answer does not depend on randomness.
#[derive(Debug)]
pub enum DeviceQuestion {
    /// `Sign` gives this signature.
    Sign(SigningAlgorithm, Vec<u8>, Vec<u8>),
    /// `Verify` takes this signature.
    Verify(SigningAlgorithm, Vec<u8>, Vec<u8>),
    /// `Decapsulate` of this ciphertext gives this secret.
    Decapsulate(Vec<u8>, Vec<u8>),
}

/// All of them, by the name of their set.
#[must_use]
pub fn device_vectors() -> Vec<(String, Vec<DeviceVector>)> {
    let families = ["ecc", "ed25519", "ml_kem", "rsa"];
    let sets = families
        .into_iter()
        .flat_map(|family| file::load(family).into_iter().map(move |set| (family, set)));
    let read = |(family, set): (&str, Set)| {
        let vectors = set.vectors();
        let vectors: Vec<_> = vectors.iter().filter_map(|v| read(family, &set, v)).collect();
        (!vectors.is_empty()).then(|| (set.name.clone(), vectors))
    };
    sets.filter_map(read).collect()
}

/// `None` for a vector without a private key, or one that a KMS has no question for.
fn read(family: &str, set: &Set, vector: &Vector<'_>) -> Option<DeviceVector> {
    let (spec, secret, question) = match family {
        "ecc" if set.kind() == "verify" => {
            let spec = KeySpec::from_aws_name(set.spec())?;
            let signature = der::ecdsa_signature(&vector.bytes("r"), &vector.bytes("s"));
            let algorithm = spec.row()?.signing_algorithms[0];
            let question = DeviceQuestion::Verify(algorithm, vector.bytes("message"), signature);
            (spec, vector.optional("secret")?, question)
        }
        "ed25519" => {
            let (message, signature) = (vector.bytes("message"), vector.bytes("signature"));
            let algorithm = SigningAlgorithm::ED25519_SHA_512;
            let question = DeviceQuestion::Sign(algorithm, message, signature);
            (KeySpec::ECC_NIST_EDWARDS25519, vector.bytes("secret"), question)
        }
        "rsa" if set.kind() == "sign" => {
            let (message, signature) = (vector.bytes("message"), vector.bytes("signature"));
            let question = DeviceQuestion::Sign(rsa::algorithm(vector), message, signature);
            (KeySpec::from_aws_name(set.spec())?, vector.bytes("secret"), question)
        }
        "ml_kem" => {
            let wrong = vector.optional("wrongCiphertext")?;
            let question = DeviceQuestion::Decapsulate(wrong, vector.bytes("rejected"));
            (KeySpec::from_aws_name(set.spec())?, vector.bytes("seed"), question)
        }
        _ => return None,
    };
    let is_empty = match &question {
        DeviceQuestion::Sign(_, message, _) | DeviceQuestion::Verify(_, message, _) => {
            message.is_empty()
        }
        DeviceQuestion::Decapsulate(..) => false,
    };
    let material = pkcs8(spec, &secret);
    (!is_empty).then(|| DeviceVector { name: vector.name(), spec, material, question })
}

/// The private key of a token's secret.
fn pkcs8(spec: KeySpec, secret: &[u8]) -> Vec<u8> {
    let (_, entry) = algorithm::find(PORTABLE, spec).expect("in the registry");
    let secret = SecretBuf::copy_from(secret).expect("short enough");
    let mut der = vec![0; 4096];
    let length = entry.private_key(&secret, &mut der).expect("a private key");
    der.truncate(length);
    der
}
