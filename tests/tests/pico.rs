//! The board `rp2040`: the image that is flashed to a Raspberry Pi Pico, in an emulator of its chip.
//!
//! The emulator runs some 20 to 30 million cycles in a second, of the chip's 125 million. A first start takes 484
//! million, most of them in self-tests. So a test starts few devices and does much with them.

use std::path::Path;

use host_driver::device::Device;
use hsm_protocol::command::decode;
use hsm_protocol::command::key::{ExportPublicKey, GenerateKey, PrepareKeyPair};
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::sign::Sign;
use hsm_protocol::command::system::{LastReset, ModuleStatus, ResetReport};
use hsm_protocol::domain::Change;
use hsm_protocol::key_spec::{
    KEY_SPECS, KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm,
};
use hsm_protocol::reset::ResetReason;
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId, ModuleState};
use hsm_tests::calls::*;
use hsm_tests::pico::{BOARD, Pico};
use hsm_tests::probe::Symbols;
use hsm_tests::testbed::{Line, TAG, Testbed};
use hsm_tests::wire::Wire;
use hsm_tests::{environment, programs};
use rustls::SignatureScheme;

const CONTEXT: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 1, b'v'];
const MESSAGE: &[u8] = b"signed by a Pico";

/// The specs of the small set.
const SMALL: [KeySpec; 7] = [
    KeySpec::SYMMETRIC_DEFAULT,
    KeySpec::HMAC_224,
    KeySpec::HMAC_256,
    KeySpec::HMAC_384,
    KeySpec::HMAC_512,
    KeySpec::ECC_NIST_P256,
    KeySpec::ECC_NIST_EDWARDS25519,
];

#[test]
fn keys_are_made_used_and_found_again_after_a_power_cut() {
    let testbed = Testbed::new(Line::Pico);
    let device = testbed.device();
    let before = device.status().expect("answered");
    assert_eq!((before.state, before.error), (ModuleState::Uninitialised, None));
    assert_eq!(device.info().board, "rp2040");
    let mut specs = device.info().specs.clone();
    specs.sort();
    let mut small = SMALL.to_vec();
    small.sort();
    assert_eq!(specs, small);
    drop(device);

    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let keys = Keys::make(&device);
    let blob = encrypt(&device, &keys.aes, CONTEXT, b"kept in flash");
    let tag = keys.authenticate(&device);
    keys.use_all(&device, &blob, &tag);
    for row in KEY_SPECS.iter().filter(|row| !SMALL.contains(&row.spec)) {
        let (id, spec, usage) = (KeyId::single_region([9; 16]), row.spec, row.usages[0]);
        let code = match row.slow {
            true => refusal(&device, &PrepareKeyPair { spec, purpose: PairPurpose::KEY }),
            false => refusal(&device, &GenerateKey { id, spec, usage }),
        };
        assert_eq!(code, ErrorCode::UNSUPPORTED, "{spec:?}");
    }
    drop(device);

    // The emulator is killed, and what it had not written to its file is lost.
    let testbed = testbed.power_cycle();
    let device = testbed.device_as(&hosts.user);
    let after = device.status().expect("answered");
    assert_eq!((after.device, after.epoch), (before.device, before.epoch + 1));
    assert_eq!(after.state, ModuleState::Operational);
    keys.use_all(&device, &blob, &tag);
}

/// A reset by the watchdog, which the device asks for itself when it has erased everything.
#[test]
fn a_zeroised_device_resets_itself() {
    if let Err(reason) = programs::nightly() {
        return programs::skip("zeroisation of rp2040", &reason);
    }
    let testbed = Testbed::new(Line::Pico);
    let hosts = testbed.provision();
    let device = testbed.device_as(&hosts.user);
    let before = device.id();
    hosts.change(&device, &[Change::Zeroise(before)]);
    assert_eq!(device.status().expect("answered").state, ModuleState::Zeroised);
    device.reset().expect("a zeroised device may be reset");
    drop(device);
    testbed.await_state(ModuleState::Uninitialised);
    let fresh = testbed.device();
    assert_ne!(fresh.id(), before, "the identity was a secret too");
}

/// A fault, a panic, a hang, and one with interrupts closed, which the chip itself ends: it does not wipe RAM in place.
#[test]
fn a_failure_wipes_and_is_reported_after() {
    let panic = Symbols::read(&environment::firmware_of(BOARD)).function(&["rust_begin_unwind"]);
    let panic = format!("jump {panic:#x}");
    let cases: [(&[&str], ResetReason, bool); 4] = [
        (&["circle", "hurry 1000"], ResetReason::WATCHDOG, true),
        (&["mask", "hurry 1000"], ResetReason::WATCHDOG, false),
        (&[&panic], ResetReason::PANIC, true),
        (&["jump 0x30000000"], ResetReason::FAULT, true),
    ];
    // Each start costs self-tests.
    let most = if programs::nightly().is_ok() { cases.len() } else { 2 };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut pico = Pico::boot(directory.path());
    let mut wire = Wire::new(pico.connect());
    wire.synchronise();
    let expected = ResetReport { reason: ResetReason::POWER_ON, failures: 0 };
    assert_eq!(last_reset(&mut wire), expected);
    let ModuleStatus { epoch, .. } = wire.status();
    for ((orders, reason, wipes), count) in cases.into_iter().take(most).zip(1..) {
        orders.iter().for_each(|order| pico.order(order));
        assert_eq!(pico.await_reset() == 0, wipes, "{orders:?}");
        wire.synchronise();
        let report = last_reset(&mut wire);
        assert_eq!((report.reason, report.failures > 0), (reason, true), "{orders:?}");
        let status = wire.status();
        assert_eq!((status.epoch, status.audit_entries), (epoch + count, 1), "{orders:?}");
    }
}

fn last_reset(wire: &mut Wire) -> ResetReport {
    let report = wire.plain(&LastReset).expect("it is answered in every state");
    decode(&report).expect("a report")
}

#[test]
fn a_stuck_noise_source_is_found_at_the_start() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pico = Pico::boot_with_noise(directory.path(), Path::new("/dev/zero"));
    let mut wire = Wire::new(pico.connect());
    wire.synchronise();
    let status = wire.try_status(hsm_tests::patience::PATIENCE).expect("answered");
    assert_eq!(status.state, ModuleState::Error, "{}", pico.output());
    assert_eq!(status.error, Some(ErrorCode::ENTROPY_FAILED));
}

/// One key of each kind.
struct Keys {
    aes: StoredKey,
    hmac: StoredKey,
    p256: StoredKey,
    ed25519: StoredKey,
}

impl Keys {
    fn make(device: &Device) -> Self {
        let edwards = KeySpec::ECC_NIST_EDWARDS25519;
        Self {
            aes: symmetric(device, 1),
            hmac: mac(device, 2),
            p256: signing(device, 3),
            ed25519: make(device, 4, edwards, KeyUsage::SIGN_VERIFY),
        }
    }

    fn authenticate(&self, device: &Device) -> Vec<u8> {
        let (key, algorithm) = (self.hmac.by_ref(), MacAlgorithm::HMAC_SHA_256);
        let command = GenerateMac { key, algorithm, message: Bytes(MESSAGE) };
        let reply = device.call_blocking(&command, TAG).expect("a MAC");
        reply.response().expect("decodes").mac.to_vec()
    }

    /// Opens what was encrypted, checks what was authenticated, and signs.
    fn use_all(&self, device: &Device, blob: &[u8], tag: &[u8]) {
        assert_eq!(decrypt(device, &self.aes, CONTEXT, blob), b"kept in flash");
        assert_eq!(decrypt_refused(device, &self.aes, &[], blob), ErrorCode::CIPHERTEXT_INVALID);
        let (key, algorithm) = (self.hmac.by_ref(), MacAlgorithm::HMAC_SHA_256);
        let verify = VerifyMac { key, algorithm, message: Bytes(MESSAGE), mac: Bytes(tag) };
        device.call_blocking(&verify, TAG).expect("the same MAC");
        let other = VerifyMac { message: Bytes(b"another"), ..verify };
        assert_eq!(refusal(device, &other), ErrorCode::MAC_INVALID);
        let p256 = (SigningAlgorithm::ECDSA_SHA_256, SignatureScheme::ECDSA_NISTP256_SHA256, 65);
        let ed25519 = (SigningAlgorithm::ED25519_SHA_512, SignatureScheme::ED25519, 32);
        for (key, (algorithm, scheme, size)) in [(&self.p256, p256), (&self.ed25519, ed25519)] {
            let message_type = MessageType::RAW;
            let (key, message) = (key.by_ref(), Bytes(MESSAGE));
            let sign = Sign { key, algorithm, message_type, message };
            let reply = device.call_blocking(&sign, TAG).expect("signed");
            let signature = reply.response().expect("decodes").signature.to_vec();
            let exported = device.call_blocking(&ExportPublicKey { key }, TAG).expect("exported");
            let spki = exported.response().expect("decodes").spki.to_vec();
            let public = &spki[spki.len() - size..];
            assert!(is_valid(scheme, public, MESSAGE, &signature), "{scheme:?}");
            assert!(!is_valid(scheme, public, b"another", &signature), "{scheme:?}");
        }
    }
}

/// Whether AWS-LC, which the firmware has nothing of, takes a signature.
fn is_valid(scheme: SignatureScheme, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let known = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let (_, algorithms) =
        known.mapping.iter().find(|(known, _)| *known == scheme).expect("a scheme of AWS-LC");
    algorithms.iter().any(|one| one.verify_signature(public, message, signature).is_ok())
}
