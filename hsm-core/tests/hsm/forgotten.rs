//! What an algorithm keeps of an unwrapped key goes with the key, wherever that ends.

use std::cell::Cell;

use hsm_core::algorithm::{Algorithm, Message, PublicKeyBuf, ecdsa_p256, ecdsa_p384, ecdsa_p521};
use hsm_core::algorithm::{ml_dsa, ml_kem, rsa};
use hsm_core::algorithm_registry;
use hsm_core::keystore::cache::IDLE_US;
use hsm_core::memory::HEAP_KEYS;
use hsm_core::secret::SecretBuf;
use hsm_protocol::command::session::CloseSession;
use hsm_protocol::command::sign::Sign;
use hsm_protocol::command::system::SelfTest;
use hsm_protocol::domain::Change;
use hsm_protocol::key_spec::{KeySpec, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, ErrorCode};
use rand_core::CryptoRng;

use crate::rig::{Rig, Token};

thread_local! {
    /// Keys that the entry was told to expand and not yet to forget. The device runs in the test's thread.
    static KEPT: Cell<i32> = const { Cell::new(0) };
}

fn kept() -> i32 {
    KEPT.get()
}

/// P-256 that keeps something of each key that is expanded, as the host's registry does.
struct Keeping;

const P256: &dyn Algorithm = &ecdsa_p256::EccNistP256;

impl Algorithm for Keeping {
    fn spec(&self) -> KeySpec {
        P256.spec()
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        P256.self_test()
    }

    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        P256.generate(rng, out)
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        P256.pairwise_test(secret, rng)
    }

    fn expand(&self, _: &mut SecretBuf) -> Result<(), ErrorCode> {
        KEPT.set(kept() + 1);
        Ok(())
    }

    fn forget(&self, _: &SecretBuf) {
        KEPT.set(kept() - 1);
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        P256.public_key(secret, out)
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        P256.sign(secret, algorithm, message, rng, out)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        P256.verify(public, algorithm, message, signature)
    }

    fn agree(
        &self,
        secret: &SecretBuf,
        peer: &[u8],
        shared: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        P256.agree(secret, peer, shared)
    }
}

static REGISTRY: &[&dyn Algorithm] = algorithm_registry! {
    p256: Keeping,
    p384: ecdsa_p384::EccNistP384,
    p521: ecdsa_p521::EccNistP521,
    rsa: [rsa::RSA_2048, rsa::RSA_3072, rsa::RSA_4096],
    ml_kem: [ml_kem::ML_KEM_512, ml_kem::ML_KEM_768, ml_kem::ML_KEM_1024],
    ml_dsa: [ml_dsa::ML_DSA_44, ml_dsa::ML_DSA_65, ml_dsa::ML_DSA_87],
};

/// A device that keeps something of two keys.
fn with_two_keys() -> (Rig, [Token; 2]) {
    let mut rig = Rig::operational();
    rig.device.platform().algorithms = REGISTRY;
    let tokens = [(); 2].map(|()| rig.signing());
    // Twice: a key is expanded once.
    for token in tokens.iter().chain(&tokens) {
        sign(&mut rig, token);
    }
    assert_eq!(kept(), 2);
    (rig, tokens)
}

fn sign(rig: &mut Rig, token: &Token) {
    let (algorithm, message_type) = (SigningAlgorithm::ECDSA_SHA_256, MessageType::RAW);
    let message = Bytes(b"m");
    rig.call(&Sign { key: token.key(), algorithm, message_type, message }).ok::<Sign>();
}

#[test]
fn idle_keys_are_forgotten() {
    let (mut rig, [one, _]) = with_two_keys();
    rig.device.platform().now_us += IDLE_US - 1;
    sign(&mut rig, &one);
    rig.device.platform().now_us += 1;
    rig.device.work();
    assert_eq!(kept(), 1, "the one that was not used");
    rig.device.platform().now_us += IDLE_US;
    rig.device.work();
    assert_eq!(kept(), 0);
}

#[test]
fn displaced_keys_are_forgotten() {
    let (mut rig, _) = with_two_keys();
    for others in 1..=HEAP_KEYS {
        let other = rig.signing();
        sign(&mut rig, &other);
        assert_eq!(kept(), i32::try_from((others + 2).min(HEAP_KEYS)).unwrap());
    }
}

#[test]
fn keys_are_forgotten_where_secrets_end() {
    let (mut rig, _) = with_two_keys();
    rig.auditor.call(&mut rig.device, &CloseSession).ok::<CloseSession>();
    assert_eq!(kept(), 0, "a session has ended");

    let (mut rig, _) = with_two_keys();
    rig.device.platform().entropy.stuck = true;
    assert_eq!(rig.call(&SelfTest).error(), ErrorCode::ENTROPY_FAILED);
    assert_eq!(kept(), 0, "the module has failed");

    let (mut rig, _) = with_two_keys();
    let own = rig.device.identity().device_id();
    rig.change(&[Change::Zeroise(own)]).unwrap();
    assert_eq!(kept(), 0, "zeroised");

    let (rig, _) = with_two_keys();
    drop(rig);
    assert_eq!(kept(), 0, "the device's process has let go of it");
}
