//! Random frames and requests: answered, never a panic, and the next good request succeeds.

use std::cell::RefCell;

use hsm_protocol::Opcode;
use hsm_protocol::audit::Note;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::session::SessionInfo;
use hsm_protocol::frame::{FrameKind, Header};
use proptest::prelude::*;

use crate::rig::Rig;

const KINDS: [FrameKind; 7] = [
    FrameKind::PlainRequest,
    FrameKind::PlainResponse,
    FrameKind::Handshake1,
    FrameKind::Handshake2,
    FrameKind::SealedRequest,
    FrameKind::SealedResponse,
    FrameKind::LinkError,
];

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::operational());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_frames_are_answered(
        kind in 0..KINDS.len(),
        session in 0u16..6,
        sequence in 0u32..4,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        RIG.with_borrow_mut(|rig| {
            let header = Header { kind: KINDS[kind], session, sequence };
            let answer = rig.device.exchange(header, &payload).0;
            assert_ne!(answer.kind, FrameKind::SealedRequest);
            assert_eq!(rig.device.state(), ModuleState::Operational);
        });
    }

    #[test]
    fn random_plain_requests_are_answered(
        opcode in 0..Opcode::ALL.len(),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        RIG.with_borrow_mut(|rig| {
            let request = [&Opcode::ALL[opcode].0.to_le_bytes()[..], &[1, 0], &body].concat();
            let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 0 };
            let answer = rig.device.exchange(header, &request).0;
            assert_eq!(answer.kind, FrameKind::PlainResponse);
            assert_eq!(rig.device.state(), ModuleState::Operational);
        });
    }

    #[test]
    fn random_bodies_inside_the_channel_are_answered(
        opcode in 0..Opcode::ALL.len(),
        body in prop::collection::vec(any::<u8>(), 0..400),
        small in any::<bool>(),
    ) {
        let opcode = Opcode::ALL[opcode];
        if opcode == Opcode::CloseSession {
            return Ok(()); // it does what it says
        }
        RIG.with_borrow_mut(|rig| {
            // Small bytes make plausible lengths, so that decoding goes deeper.
            let body: Vec<u8> = body.iter().map(|byte| if small { byte % 24 } else { *byte }).collect();
            let mut request = [&opcode.0.to_le_bytes()[..], &[1, 0]].concat();
            if opcode.is_audited() {
                let taken = rig.device.status().audit_entries;
                request.extend(Note { taken, ..Note::default() }.to_bytes());
            }
            request.extend(&body);
            for session in [&mut rig.user, &mut rig.auditor] {
                session.exchange(&mut rig.device, &request).unwrap();
                session.call(&mut rig.device, &SessionInfo).ok::<SessionInfo>();
            }
            assert_eq!(rig.device.state(), ModuleState::Operational);
        });
    }
}
