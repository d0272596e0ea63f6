//! Statements of a device about itself and its keys, as whoever is offline checks them.

use hsm_core::testing::MemoryPlatform;
use hsm_protocol::attestation::{Claims, Measurement, Signed};
use hsm_protocol::command::approval::PrepareGuardedPair;
use hsm_protocol::command::domain::{ExportDomain, JoinDomain};
use hsm_protocol::command::key::{AdoptKeyPair, RewrapKey};
use hsm_protocol::command::statement::{AttestDevice, AttestKey};
use hsm_protocol::domain::{Change, DeviceKind, Kind, MAX_STATE, Rule, Rules};
use hsm_protocol::identity::PublicKey;
use hsm_protocol::key_spec::{KEY_SPECS, KeySpec, KeyUsage};
use hsm_protocol::token::History;
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId, ModuleState};
use sha2::{Digest, Sha256};

use crate::rig::{Device, Host, KEY_ID, Operators, Reply, Rig, Token};

const NONCE: &[u8] = b"chosen by the verifier";

fn attest(rig: &mut Rig, token: &Token) -> Reply {
    rig.call(&AttestKey { key: token.key(), nonce: Bytes(NONCE) })
}

fn statement(reply: &Reply) -> Vec<u8> {
    reply.ok::<AttestKey>().statement.to_vec()
}

fn verify<'s>(statement: &'s [u8], signing: &PublicKey) -> Claims<'s> {
    Signed::parse(statement).unwrap().verify(signing).unwrap()
}

fn public_key(rig: &mut Rig, token: &Token) -> Vec<u8> {
    use hsm_protocol::command::key::ExportPublicKey;
    rig.call(&ExportPublicKey { key: token.key() }).ok::<ExportPublicKey>().spki.to_vec()
}

fn history(rig: &mut Rig, token: &Token) -> History {
    let signing = rig.device.identity().signing;
    let statement = statement(&attest(rig, token));
    verify(&statement, &signing).key.unwrap().history
}

/// A device that says it is hardware, in a production domain of hardware only.
fn hardware() -> Rig {
    let mut platform = MemoryPlatform::new();
    (platform.kind, platform.measurement) = (DeviceKind::Hardware, Some(Measurement([0x4d; 32])));
    Rig::founded(platform, 100, Operators::production(2, 3).with_hardware())
}

#[test]
fn a_statement_says_what_the_device_and_the_key_are() {
    let mut rig = hardware();
    let signing = rig.device.identity().signing;
    let state = rig.state();
    for row in KEY_SPECS.iter().filter(|row| !row.slow) {
        for usage in row.usages {
            let token = rig.key(row.spec, *usage);
            let reply = attest(&mut rig, &token);
            let statement = statement(&reply);
            let claims = verify(&statement, &signing);
            assert_eq!((claims.nonce, claims.device), (NONCE, signing.device_id()));
            assert_eq!((claims.kind, claims.board), (DeviceKind::Hardware, "memory"));
            assert_eq!(claims.measurement, Some(Measurement([0x4d; 32])));
            assert_eq!(claims.firmware, env!("CARGO_PKG_VERSION"));
            assert_eq!(claims.boot, rig.device.status().epoch);
            let domain = claims.domain.unwrap();
            assert_eq!((domain.id, domain.version), (state.domain, state.version));
            assert_eq!((domain.kind, domain.state), (Kind::Production, state.hash().unwrap()));
            assert_eq!(domain.soft_members, 0);
            let key = claims.key.unwrap();
            assert_eq!((key.id, key.material), (KEY_ID, reply.receipt().subject));
            assert_eq!((key.spec, key.usage, key.domain_key), (row.spec, *usage, 1));
            assert_eq!((key.history, key.approval), (History::CLEAN, None), "{:?}", row.spec);
            assert!(key.was_never_outside());
            assert_eq!(key.public.is_empty(), row.public_size == 0, "{:?}", row.spec);
            if row.public_size > 0 {
                let public = key.public.to_vec();
                assert_eq!(public, public_key(&mut rig, &token));
            }
        }
    }
    let pair = rig.prepared(KeySpec::RSA_2048, PairPurpose::KEY);
    let (id, usage) = (KEY_ID, KeyUsage::SIGN_VERIFY);
    let reply = rig.call(&AdoptKeyPair { id, usage, pair: Bytes(&pair) });
    let token = Token { id, bytes: reply.ok::<AdoptKeyPair>().token.to_vec() };
    assert_eq!(history(&mut rig, &token), History::CLEAN);
}

#[test]
fn a_device_speaks_of_itself_before_it_has_a_domain() {
    let mut device = Device::fresh();
    let signing = device.identity().signing;
    let mut stranger = Host::new(1).open(&mut device);
    let reply = stranger.call(&mut device, &AttestDevice { nonce: Bytes(NONCE) });
    let statement = reply.ok::<AttestDevice>().statement.to_vec();
    let claims = verify(&statement, &signing);
    assert_eq!((claims.domain, claims.key, claims.measurement), (None, None, None));
    assert_eq!(claims.kind, DeviceKind::Emulated);
    assert_eq!(device.status().kind, DeviceKind::Emulated);
    // Of its boot: one of the boot before is told from it.
    device.reboot();
    let mut stranger = Host::new(1).open(&mut device);
    let again = stranger.call(&mut device, &AttestDevice { nonce: Bytes(NONCE) });
    let again = again.ok::<AttestDevice>().statement.to_vec();
    assert_eq!(verify(&again, &signing).boot, claims.boot + 1);
    for length in [0, 7, 65] {
        let request = AttestDevice { nonce: Bytes(&[1; 65][..length]) };
        let reply = stranger.call(&mut device, &request);
        assert_eq!(reply.error(), ErrorCode::INVALID_ARGUMENT, "{length} bytes");
    }
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

#[test]
fn an_image_is_measured() {
    let mut image = vec![7; 64];
    image.extend(hsm_core::self_test::image_mac(&image).unwrap());
    let measurement = Measurement(Sha256::digest(&image).into());
    let mut platform = MemoryPlatform::new();
    platform.image = image.leak();
    let mut device = Device::boot(platform.clone());
    assert_eq!(device.status().measurement, Some(measurement));
    // What a loader has measured holds.
    let loaded = Measurement([0x4d; 32]);
    platform.measurement = Some(loaded);
    assert_eq!(Device::boot(platform).status().measurement, Some(loaded));
}

/// Operators, or a device CA, may be mistaken about a device. It is not.
#[test]
fn what_is_no_hardware_is_not_called_so() {
    let people = Operators::production(2, 3).with_hardware();
    let mut device = Device::boot(MemoryPlatform::with_seed(9));
    let state = people.first_state(&device.identity(), &[]);
    let mut encoded = [0; MAX_STATE];
    let request = people.founding(&state, &mut encoded);
    let mut stranger = Host::new(1).open(&mut device);
    assert_eq!(stranger.call(&mut device, &request).error(), ErrorCode::KIND_DENIED);
    assert_eq!(device.state(), ModuleState::Uninitialised);

    let mut rig = hardware();
    let (identity, kind) = (device.identity(), DeviceKind::Hardware);
    rig.change(&[Change::AddMember { identity, kind, certificate: None }]).unwrap();
    let reply = rig.call(&ExportDomain { member: identity.device_id() });
    let token = reply.ok::<ExportDomain>().token.to_vec();
    let reply = stranger.call(&mut device, &JoinDomain { token: Bytes(&token) });
    assert_eq!(reply.error(), ErrorCode::KIND_DENIED);
    assert_eq!(device.state(), ModuleState::Uninitialised);
}

/// What a domain once was stays with the keys that were in it.
#[test]
fn a_past_among_soft_devices_is_not_forgotten() {
    let mut rig = Rig::operational();
    let old = rig.symmetric();
    let past = History::SOFT_MEMBER.and(History::DEVELOPMENT);
    assert_eq!(history(&mut rig, &old), past);
    // Who has the domain key of then reads, or makes up, what was prepared under it.
    let spec = KeySpec::RSA_2048;
    let pair = rig.prepared(spec, PairPurpose::KEY);
    let guarded =
        rig.prepared_by(&PrepareGuardedPair { spec, rule: Rule { total: 1, officers: 0 } });
    // Hardened: the domain is for production now, and its key a new one.
    let own = rig.device.identity();
    let state = rig.state();
    let people = Operators::production(2, 3);
    let mut changes: Vec<Change<'_>> =
        (0..3).map(|number| Change::AddOperator(people.operator(number))).collect();
    changes.push(Change::RemoveOperator(rig.operators.operator(0).id()));
    changes.push(Change::SetRules(Rules { emulated_members: true, ..Rules::uniform(2) }));
    changes.push(Change::SetKind(Kind::Production));
    changes.push(Change::RotateKey { maker: own.device_id() });
    let ballot = rig.operators.ballot(&state, &changes, &[0]);
    rig.submit(&ballot).unwrap();
    rig.operators = people;
    let new = rig.symmetric();
    assert_eq!(history(&mut rig, &new), History::SOFT_MEMBER);
    assert_eq!(history(&mut rig, &old), past);
    for (name, pair) in [("a pair", pair), ("a guarded pair", guarded)] {
        let adopt = AdoptKeyPair { id: KEY_ID, usage: KeyUsage::SIGN_VERIFY, pair: Bytes(&pair) };
        let reply = rig.call(&adopt);
        let bytes = reply.ok::<AdoptKeyPair>().token.to_vec();
        assert_eq!(history(&mut rig, &Token { id: KEY_ID, bytes }), past, "{name}");
    }
    let pair = rig.prepared(spec, PairPurpose::KEY);
    let usage = KeyUsage::SIGN_VERIFY;
    let reply = rig.call(&AdoptKeyPair { id: KEY_ID, usage, pair: Bytes(&pair) });
    let bytes = reply.ok::<AdoptKeyPair>().token.to_vec();
    assert_eq!(history(&mut rig, &Token { id: KEY_ID, bytes }), History::SOFT_MEMBER);
    // Rewrapped, and after a reboot: the same past, under the new key.
    let rewrap = |rig: &mut Rig, token: &Token| {
        let reply = rig.call(&RewrapKey { key: token.key() });
        Token { id: token.id, bytes: reply.ok::<RewrapKey>().token.to_vec() }
    };
    let moved = rewrap(&mut rig, &old);
    rig.reboot();
    assert_eq!(history(&mut rig, &moved), past);
    rig.change(&[Change::RemoveKey(1)]).unwrap();
    assert_eq!(attest(&mut rig, &old).error(), ErrorCode::TOKEN_INVALID);
    assert_eq!(history(&mut rig, &moved), past);
    // Another member reads the same of it.
    let mut second = rig.second(MemoryPlatform::with_seed(2), 100);
    assert_eq!(history(&mut second, &moved), past);
    assert_eq!(history(&mut second, &new), History::SOFT_MEMBER);
}

/// A soft device that was a member for a while could open what was under the key of then.
#[test]
fn a_soft_member_leaves_a_mark() {
    let mut rig = hardware();
    let before = rig.symmetric();
    assert_eq!(history(&mut rig, &before), History::CLEAN);
    let allowed = Rules { emulated_members: true, ..Rules::uniform(2) };
    let mut soft = Device::boot(MemoryPlatform::with_seed(5));
    let (identity, kind) = (soft.identity(), DeviceKind::Emulated);
    let add = Change::AddMember { identity, kind, certificate: None };
    rig.change(&[Change::SetRules(allowed), add]).unwrap();
    assert_eq!(history(&mut rig, &before), History::SOFT_MEMBER);
    let maker = rig.device.identity().device_id();
    let gone = Change::RemoveMember(identity.device_id());
    rig.change(&[gone, Change::RotateKey { maker }]).unwrap();
    assert_eq!(history(&mut rig, &before), History::SOFT_MEMBER);
    let after = rig.symmetric();
    assert_eq!(history(&mut rig, &after), History::CLEAN);
}

#[test]
fn a_key_of_several_regions_is_said_to_be_elsewhere() {
    let mut rig = hardware();
    let id = KeyId { multi_region: true, ..KEY_ID };
    let token = rig.key_with_id(id, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    let signing = rig.device.identity().signing;
    let statement = statement(&attest(&mut rig, &token));
    let key = verify(&statement, &signing).key.unwrap();
    assert!(!key.was_never_outside());
}

#[test]
fn a_statement_is_of_the_key_that_was_asked_for() {
    let mut rig = hardware();
    let token = rig.signing();
    let other = Token { id: KeyId::single_region([0x99; 16]), ..token.clone() };
    assert_eq!(attest(&mut rig, &other).error(), ErrorCode::KEY_MISMATCH);
    let mut foreign = Rig::founded(MemoryPlatform::with_seed(2), 200, Operators::development());
    let theirs = foreign.signing();
    assert_eq!(attest(&mut rig, &theirs).error(), ErrorCode::TOKEN_DOMAIN);
    // What one device signed is nothing of another's.
    let signed = statement(&attest(&mut rig, &token));
    let signing = foreign.device.identity().signing;
    let verified = Signed::parse(&signed).unwrap().verify(&signing);
    assert_eq!(verified.err(), Some(ErrorCode::IDENTITY_INVALID));
}
