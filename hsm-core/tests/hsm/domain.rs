//! Domains: made, exported, joined.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::Bytes;
use hsm_protocol::ErrorCode;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::{
    CreateDomain, DomainInfo, DomainSummary, ExportDomain, JoinDomain, MAX_MEMBERS,
};
use hsm_protocol::identity::IdentityDocument;

use crate::cipher::{decrypt, encrypt};
use crate::rig::Rig;

fn second() -> Rig {
    Rig::initialised(MemoryPlatform::with_seed(2), 200)
}

fn export(rig: &mut Rig, joiner: IdentityDocument) -> Vec<u8> {
    let reply = rig.admin.call(&mut rig.device, &ExportDomain { joiner });
    reply.ok::<ExportDomain>().token.to_vec()
}

fn join(
    rig: &mut Rig,
    exporter: IdentityDocument,
    token: &[u8],
) -> Result<DomainSummary, ErrorCode> {
    let request = JoinDomain { exporter, token: Bytes(token) };
    let reply = rig.admin.call(&mut rig.device, &request);
    match reply.head.status {
        None => Ok(reply.ok::<JoinDomain>()),
        Some(_) => Err(reply.error()),
    }
}

fn summary(rig: &mut Rig) -> Option<DomainSummary> {
    rig.admin.call(&mut rig.device, &DomainInfo).ok::<DomainInfo>().domain
}

#[test]
fn a_joined_device_serves_the_same_keys_and_still_does_after_a_reboot() {
    let (mut first, mut second) = (Rig::operational(), second());
    assert_eq!(summary(&mut second), None);
    let token = first.symmetric();
    let blob = encrypt(&mut first, &token, b"ctx", b"shared");

    let domain_token = export(&mut first, second.device.identity());
    let joined = join(&mut second, first.device.identity(), &domain_token).unwrap();
    assert_eq!(Some(joined), summary(&mut first));
    assert_eq!((joined.version, joined.active_key, joined.members), (2, 1, 2));
    assert_eq!(second.device.state(), ModuleState::Operational);
    assert_eq!(decrypt(&mut second, &token, b"ctx", &blob).unwrap(), b"shared");

    let back = second.symmetric();
    let blob = encrypt(&mut second, &back, &[], b"back");
    first.reboot();
    second.reboot();
    assert_eq!(decrypt(&mut first, &back, &[], &blob).unwrap(), b"back");
    assert_eq!(summary(&mut first), summary(&mut second));
}

#[test]
fn exporting_again_to_a_member_changes_nothing_but_the_token() {
    let (mut first, mut second) = (Rig::operational(), second());
    let joiner = second.device.identity();
    let one = export(&mut first, joiner);
    let two = export(&mut first, joiner);
    assert_ne!(one, two);
    assert_eq!(summary(&mut first).unwrap().version, 2);
    join(&mut second, first.device.identity(), &two).unwrap();
}

#[test]
fn every_changed_byte_of_a_domain_token_is_the_same_error() {
    let (mut first, mut second) = (Rig::operational(), second());
    let exporter = first.device.identity();
    let token = export(&mut first, second.device.identity());
    for index in (0..token.len()).step_by(7).chain(token.len() - 64..token.len()) {
        let mut bad = token.clone();
        bad[index] ^= 2;
        let result = join(&mut second, exporter, &bad);
        assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "byte {index}");
    }
    for length in [0, 1, 100, token.len() - 1] {
        let result = join(&mut second, exporter, &token[..length]);
        assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "{length} bytes");
    }
    assert_eq!(second.device.state(), ModuleState::Initialised);
    join(&mut second, exporter, &token).unwrap();
}

#[test]
fn tokens_fit_only_their_joiner_and_their_exporter() {
    let (mut first, mut second) = (Rig::operational(), second());
    let mut third = Rig::initialised(MemoryPlatform::with_seed(3), 300);
    let token = export(&mut first, second.device.identity());
    let result = join(&mut third, first.device.identity(), &token);
    assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "another joiner");
    let result = join(&mut second, third.device.identity(), &token);
    assert_eq!(result, Err(ErrorCode::DOMAIN_TOKEN_INVALID), "not the approved exporter");

    let mut forged = first.device.identity();
    forged.link = third.device.identity().link;
    assert_eq!(join(&mut second, forged, &token), Err(ErrorCode::IDENTITY_INVALID));
    let reply = first.admin.call(&mut first.device, &ExportDomain { joiner: forged });
    assert_eq!(reply.error(), ErrorCode::IDENTITY_INVALID);
}

#[test]
fn a_device_has_one_domain() {
    let (mut first, mut second) = (Rig::operational(), second());
    let again = first.admin.call(&mut first.device, &CreateDomain);
    assert_eq!(again.error(), ErrorCode::STATE_DENIED);
    let token = export(&mut first, second.device.identity());
    second.admin.call(&mut second.device, &CreateDomain).ok::<CreateDomain>();
    let exporter = first.device.identity();
    assert_eq!(join(&mut second, exporter, &token), Err(ErrorCode::STATE_DENIED));
}

#[test]
fn the_member_table_has_an_end() {
    let mut first = Rig::operational();
    for seed in 1..MAX_MEMBERS as u64 {
        let mut joiner = crate::rig::Device::boot(MemoryPlatform::with_seed(1000 + seed));
        export(&mut first, joiner.identity());
    }
    assert_eq!(usize::from(summary(&mut first).unwrap().members), MAX_MEMBERS);
    let mut last = crate::rig::Device::boot(MemoryPlatform::with_seed(9999));
    let reply = first.admin.call(&mut first.device, &ExportDomain { joiner: last.identity() });
    assert_eq!(reply.error(), ErrorCode::MEMBERS_FULL);
    first.reboot();
    assert_eq!(usize::from(summary(&mut first).unwrap().members), MAX_MEMBERS);
    assert_eq!(first.device.state(), ModuleState::Operational);
}
