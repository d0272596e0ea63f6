//! Module states: what is answered in each, and how each is entered.

use hsm_core::NextWork;
use hsm_core::algorithm::PORTABLE;
use hsm_core::fault::{self, Kat};
use hsm_core::keystore::cache::IDLE_US;
use hsm_core::session::MAX_SESSIONS;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::audit::Note;
use hsm_protocol::command::domain::{DescribeDomain, DomainInfo, ExportDomain};
use hsm_protocol::command::key::GenerateKey;
use hsm_protocol::command::random::Random;
use hsm_protocol::command::session::{CloseSession, SessionInfo};
use hsm_protocol::command::system::{Info, Reset, SelfTest};
use hsm_protocol::command::{Command, ModuleState};
use hsm_protocol::domain::Change;
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::{DeviceId, ErrorCode, KeyId, Opcode};

use crate::cipher::encrypt;
use crate::rig::{Device, Host, KEY_ID, Rig, Session};

const RANDOM: Random = Random { length: 8 };

fn status<C: Command>(
    session: &mut Session,
    device: &mut Device,
    command: &C,
) -> Option<ErrorCode> {
    match session.try_call(device, command) {
        Ok(reply) => reply.head.status,
        Err(error) => Some(error),
    }
}

#[test]
fn commands_of_other_states_are_denied() {
    let mut device = Device::fresh();
    let mut session = Host::new(1).open(&mut device);
    assert_eq!(status(&mut session, &mut device, &SessionInfo), None);
    // A stranger has no role that any of these admits.
    assert_eq!(status(&mut session, &mut device, &RANDOM), Some(ErrorCode::ROLE_DENIED));
    let export = ExportDomain { member: DeviceId([0; 16]) };
    assert_eq!(status(&mut session, &mut device, &export), Some(ErrorCode::ROLE_DENIED));
    assert_eq!(status(&mut session, &mut device, &DomainInfo), None);

    let mut rig = Rig::operational();
    assert_eq!(rig.call(&RANDOM).head.status, None);
    assert_eq!(rig.device.plain(&Reset).error(), ErrorCode::STATE_DENIED);
}

/// Every row of the table against every session: nothing but the admitted roles pass the gate.
#[test]
fn roles_are_those_of_the_table() {
    let mut rig = Rig::operational();
    let admitted = |opcode: Opcode| match opcode.0 >> 8 {
        0x03..=0x07 | 0x09 | 0x0A | 0x0D => [true, false],
        _ => match opcode {
            Opcode::ExportReplica | Opcode::ImportReplica | Opcode::AttestKey => [true, false],
            Opcode::FirmwareInfo => [true; 2],
            _ if opcode.0 >> 8 == 0x0F => [true, false],
            Opcode::FoundDomain | Opcode::JoinDomain => [false; 2],
            Opcode::RestoreDomain | Opcode::DrillRecovery => [false; 2],
            _ => [true; 2],
        },
    };
    for opcode in Opcode::ALL {
        let sessions = [&mut rig.user, &mut rig.auditor];
        for (session, admitted) in sessions.into_iter().zip(admitted(*opcode)) {
            if admitted && *opcode == Opcode::CloseSession {
                continue; // would end the test
            }
            // A body that no command takes: the gate answers before the body is read.
            let mut request = vec![0; 4];
            request[..2].copy_from_slice(&opcode.0.to_le_bytes());
            if opcode.is_audited() {
                request.extend([0; Note::SIZE]);
            }
            request.extend([0xff; 4]);
            let response = session.exchange(&mut rig.device, &request).unwrap();
            let code = u16::from_le_bytes([response[2], response[3]]) & 0x3fff;
            let expected = match (*opcode, admitted) {
                (_, false) => ErrorCode::ROLE_DENIED,
                (Opcode::Reset, true) => ErrorCode::STATE_DENIED,
                _ => ErrorCode::MALFORMED,
            };
            assert_eq!(ErrorCode::from_u16(code), Some(expected), "{opcode:?}");
        }
    }
}

/// In the error state nothing answers but what anybody may ask, and reset.
fn assert_halted(device: &mut Device, error: Option<ErrorCode>, state: ModuleState) {
    let status = device.status();
    assert_eq!((status.state, status.error), (state, error));
    assert_eq!(status.sessions, 0);
    for opcode in Opcode::ALL {
        if matches!(
            *opcode,
            Opcode::Info | Opcode::Status | Opcode::Admission | Opcode::LastReset | Opcode::Reset
        ) {
            continue;
        }
        let request = [&opcode.0.to_le_bytes()[..], &[1, 0]].concat();
        let header = hsm_protocol::frame::Header {
            kind: hsm_protocol::frame::FrameKind::PlainRequest,
            session: 0,
            sequence: 0,
        };
        let (_, payload) = device.exchange(header, &request);
        let code = u16::from_le_bytes([payload[2], payload[3]]);
        assert_eq!(ErrorCode::from_u16(code), Some(ErrorCode::CHANNEL_REQUIRED));
    }
    let header = hsm_protocol::frame::Header {
        kind: hsm_protocol::frame::FrameKind::Handshake1,
        session: 0,
        sequence: 0,
    };
    let answer = device.exchange(header, &[0; 162]);
    assert_eq!(crate::rig::link_error(&answer), ErrorCode::STATE_DENIED);
    // Asking does not change why it halted.
    drop(device.plain(&Info));
    assert_eq!((device.status().state, device.status().error), (state, error));
    assert!(!device.platform().reset);
    device.plain(&Reset).ok::<Reset>();
    assert!(device.platform().reset);
    device.platform().reset = false;
}

#[test]
fn a_corrupted_self_test_at_power_up_is_the_error_state() {
    for &kat in Kat::POWER_UP {
        if kat == Kat::Integrity {
            continue; // not without an image
        }
        fault::inject(Some(kat));
        let mut device = Device::fresh();
        fault::inject(None);
        assert_halted(&mut device, Some(ErrorCode::SELF_TEST_FAILED), ModuleState::Error);
        device.reboot();
        assert_eq!(device.state(), ModuleState::Uninitialised, "{kat:?}");
    }
}

/// Every known-answer test, those before the first use of an algorithm included.
#[test]
fn a_corrupted_self_test_on_demand_is_the_error_state() {
    for &kat in Kat::ALL {
        if matches!(kat, Kat::Pairwise | Kat::Integrity) {
            continue; // not without a key pair or an image
        }
        let mut rig = Rig::operational();
        fault::inject(Some(kat));
        let reply = rig.call(&SelfTest);
        fault::inject(None);
        assert_eq!(reply.head.status, Some(ErrorCode::SELF_TEST_FAILED), "{kat:?}");
        assert_halted(&mut rig.device, Some(ErrorCode::SELF_TEST_FAILED), ModuleState::Error);
    }
}

#[test]
fn a_wrong_image_is_the_error_state() {
    let mut platform = MemoryPlatform::new();
    platform.image = &[0x5a; 100];
    let mut device = Device::boot(platform);
    assert_halted(&mut device, Some(ErrorCode::INTEGRITY_FAILED), ModuleState::Error);
}

#[test]
fn noise_that_fails_is_the_error_state() {
    for stuck in [true, false] {
        let mut platform = MemoryPlatform::new();
        platform.entropy.stuck = stuck;
        platform.entropy.dead = !stuck;
        let mut device = Device::boot(platform);
        assert_halted(&mut device, Some(ErrorCode::ENTROPY_FAILED), ModuleState::Error);
    }
}

#[test]
fn a_failing_test_before_first_use_answers_once_and_halts() {
    let mut rig = Rig::operational();
    let generate =
        GenerateKey { id: KEY_ID, spec: KeySpec::HMAC_256, usage: KeyUsage::GENERATE_VERIFY_MAC };
    fault::inject(Some(Kat::Hmac));
    let reply = rig.call(&generate);
    fault::inject(None);
    assert_eq!(reply.error(), ErrorCode::SELF_TEST_FAILED);
    assert_halted(&mut rig.device, Some(ErrorCode::SELF_TEST_FAILED), ModuleState::Error);
    rig.reboot();
    rig.call(&generate).ok::<GenerateKey>();
}

#[test]
fn algorithms_are_tested_before_first_use_and_once() {
    let mut rig = Rig::operational();
    // P-256, which the module's own keys are of, is tested at power-up.
    assert_eq!(rig.device.status().tested, 0b10_0000);
    rig.mac();
    assert_eq!(rig.device.status().tested, 0b10_0100);
    // Tested already: a fault that comes later is the periodic test's to find.
    fault::inject(Some(Kat::Hmac));
    rig.mac();
    let reply = rig.call(&SelfTest);
    fault::inject(None);
    assert_eq!(reply.error(), ErrorCode::SELF_TEST_FAILED);
    assert_halted(&mut rig.device, Some(ErrorCode::SELF_TEST_FAILED), ModuleState::Error);
}

#[test]
fn self_tests_run_on_demand() {
    let mut rig = Rig::operational();
    let report = rig.user.call(&mut rig.device, &SelfTest).ok::<SelfTest>();
    let entries = PORTABLE.len();
    assert_eq!(usize::from(report.tests), 8 + 1 + entries);
    assert_eq!(rig.device.status().tested, (1 << entries) - 1);
}

#[test]
fn noise_that_fails_on_demand_halts() {
    let mut rig = Rig::operational();
    rig.device.platform().entropy.stuck = true;
    let reply = rig.call(&SelfTest);
    assert_eq!(reply.error(), ErrorCode::ENTROPY_FAILED);
    assert_halted(&mut rig.device, Some(ErrorCode::ENTROPY_FAILED), ModuleState::Error);
}

#[test]
fn a_new_key_pair_that_does_not_match_halts() {
    let mut rig = Rig::operational();
    fault::inject(Some(Kat::Pairwise));
    let id = KeyId::single_region([1; 16]);
    let reply =
        rig.call(&GenerateKey { id, spec: KeySpec::ECC_NIST_P256, usage: KeyUsage::SIGN_VERIFY });
    fault::inject(None);
    assert_eq!(reply.error(), ErrorCode::PAIRWISE_FAILED);
    assert_halted(&mut rig.device, Some(ErrorCode::PAIRWISE_FAILED), ModuleState::Error);
}

#[test]
fn long_lived_keys_are_drawn_from_fresh_entropy() {
    let mut rig = Rig::operational();
    rig.device.platform().entropy.stuck = true;
    rig.call(&RANDOM).ok::<Random>();
    let reply = rig.call(&GenerateKey {
        id: KEY_ID,
        spec: KeySpec::SYMMETRIC_DEFAULT,
        usage: KeyUsage::ENCRYPT_DECRYPT,
    });
    assert_eq!(reply.error(), ErrorCode::ENTROPY_FAILED);
    assert_halted(&mut rig.device, Some(ErrorCode::ENTROPY_FAILED), ModuleState::Error);
}

#[test]
fn zeroise_erases_everything_and_a_reset_makes_a_fresh_device() {
    let mut rig = Rig::operational();
    let old = rig.device.identity().device_id();
    let token = rig.symmetric();
    rig.change(&[Change::Zeroise(old)]).unwrap();
    assert!(rig.device.platform().storage.records.is_empty());
    assert_halted(&mut rig.device, None, ModuleState::Zeroised);
    for session in [&mut rig.auditor, &mut rig.user] {
        let gone = status(session, &mut rig.device, &DomainInfo);
        assert_eq!(gone, Some(ErrorCode::STATE_DENIED));
    }
    rig.device.reboot();
    assert_eq!(rig.device.state(), ModuleState::Uninitialised);
    assert_ne!(rig.device.identity().device_id(), old);
    assert!(!token.bytes.is_empty());
}

#[test]
fn every_role_may_look() {
    let mut rig = Rig::operational();
    for session in [&mut rig.user, &mut rig.auditor] {
        session.call(&mut rig.device, &DescribeDomain).ok::<DescribeDomain>();
        session.call(&mut rig.device, &DomainInfo).ok::<DomainInfo>();
    }
}

#[test]
fn idle_keys_are_zeroised_without_another_request() {
    let mut rig = Rig::operational();
    // What the handshakes left on the stack does not stay either.
    let opened = rig.device.platform().now_us;
    assert_eq!(rig.device.work(), NextWork::At(opened + IDLE_US));
    rig.device.platform().now_us += IDLE_US;
    let erased = rig.device.platform().erased;
    assert_eq!(rig.device.work(), NextWork::WithAFrame);
    assert_eq!(rig.device.platform().erased, erased + 1);
    let token = rig.symmetric();
    let made = rig.device.platform().now_us;
    rig.device.platform().now_us += 5;
    encrypt(&mut rig, &token, b"", b"x");
    assert_eq!(rig.device.work(), NextWork::At(made + IDLE_US), "what was left first");
    rig.device.platform().now_us += IDLE_US - 5;
    assert_eq!(rig.device.work(), NextWork::At(made + 5 + IDLE_US), "the key");
    assert_eq!(rig.device.platform().erased, erased + 2);
    rig.device.platform().now_us += 4;
    assert_eq!(rig.device.work(), NextWork::At(made + 5 + IDLE_US));
    assert_eq!(rig.device.platform().erased, erased + 2);
    rig.device.platform().now_us += 1;
    assert_eq!(rig.device.work(), NextWork::WithAFrame, "no key is left to expire");
    assert_eq!(rig.device.platform().erased, erased + 3);
}

#[test]
fn what_secrets_leave_is_erased_where_they_end_and_not_with_each_command() {
    let erased = |rig: &mut Rig| rig.device.platform().erased;
    let mut rig = Rig::operational();
    assert!(erased(&mut rig) > 0, "after the start");
    let token = rig.symmetric();
    let before = erased(&mut rig);
    for _ in 0..100 {
        encrypt(&mut rig, &token, b"", b"x");
        rig.device.work();
    }
    assert_eq!(erased(&mut rig), before, "commands alone");
    rig.auditor.call(&mut rig.device, &CloseSession).ok::<CloseSession>();
    assert_eq!(erased(&mut rig), before + 1, "a session has ended");
    // A device that is never idle all the same erases once a minute.
    for _ in 0..240 {
        encrypt(&mut rig, &token, b"", b"x");
        rig.device.platform().now_us += IDLE_US / 60;
        rig.device.work();
    }
    assert_eq!(erased(&mut rig), before + 5, "four minutes");
    rig.device.platform().entropy.stuck = true;
    status(&mut rig.user, &mut rig.device, &SelfTest);
    assert_eq!(rig.device.state(), ModuleState::Error);
    assert_eq!(erased(&mut rig), before + 6, "the module has failed");

    let mut rig = Rig::operational();
    let own = rig.device.identity().device_id();
    let state = rig.state();
    let ballot = rig.operators.ballot(&state, &[Change::Zeroise(own)], &[0]);
    let before = erased(&mut rig);
    rig.submit(&ballot).unwrap();
    assert_eq!(erased(&mut rig), before + 1, "zeroised");
}

#[test]
fn a_session_that_gives_way_has_ended_too() {
    let mut device = Device::fresh();
    for opened in 0..MAX_SESSIONS + 2 {
        let before = device.platform().erased;
        Host::new(1).open(&mut device);
        let gives_way = u32::from(opened >= MAX_SESSIONS);
        assert_eq!(device.platform().erased, before + gives_way, "session {opened}");
    }
}
