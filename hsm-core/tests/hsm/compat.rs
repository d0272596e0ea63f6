//! What devices of the first version have stored and handed out must be read forever.
//!
//! `tests/golden/v1-hosts-2.txt` was written by the last firmware whose devices were ruled by a single
//! host: records of a sealing and of a plain board, tokens, a blob, a MAC. When a test here fails, revert
//! your change, not the file: stored keys would be lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hsm_core::platform::RecordId;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::Bytes;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::key::ExportPublicKey;
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::domain::{Change, Kind, OperatorRole};
use hsm_protocol::key_spec::MacAlgorithm;

use crate::cipher::decrypt;
use crate::rig::{Device, Host, KEY_ID, Operators, Rig, Token};

const CONTEXT: &[u8] = b"context";
const PLAINTEXT: &[u8] = b"what was encrypted long ago";
const FIRST: u64 = 100;
const SECOND: u64 = 200;

type Golden = BTreeMap<String, Vec<u8>>;

fn golden() -> Golden {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1-hosts-2.txt"));
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (name.to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

fn load(golden: &Golden, name: &str, platform: &mut MemoryPlatform) {
    let prefix = format!("{name}-record-");
    for (name, record) in golden {
        if let Some(id) = name.strip_prefix(&prefix) {
            platform.storage.records.insert(RecordId(id.parse().unwrap()), record.clone());
        }
    }
}

/// The provisioner of such a device, as the operator that it is now.
fn boot(platform: MemoryPlatform, seed: u64) -> Rig {
    let operators = Operators::of_host(&Host::new(seed));
    Rig::enter(Device::boot(platform), seed, operators)
}

fn generate_mac(rig: &mut Rig, token: &Token) -> Vec<u8> {
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    let request = GenerateMac { key: token.key(), algorithm, message: Bytes(PLAINTEXT) };
    rig.call(&request).ok::<GenerateMac>().mac.to_vec()
}

fn public_key(rig: &mut Rig, token: &Token) -> Vec<u8> {
    rig.call(&ExportPublicKey { key: token.key() }).ok::<ExportPublicKey>().spki.to_vec()
}

fn check_keys(rig: &mut Rig, golden: &Golden) {
    let token = |name: &str| Token { id: KEY_ID, bytes: golden[&format!("token-{name}")].clone() };
    let plaintext = decrypt(rig, &token("symmetric"), CONTEXT, &golden["blob"]);
    assert_eq!(plaintext.unwrap(), PLAINTEXT);
    assert_eq!(generate_mac(rig, &token("hmac")), golden["mac"]);
    assert_eq!(public_key(rig, &token("signing")), golden["spki"]);
}

#[test]
fn a_domain_of_layout_1_is_a_development_domain_of_its_provisioner() {
    let golden = golden();
    let mut platform = MemoryPlatform::with_seed(77);
    load(&golden, "first", &mut platform);
    let mut rig = boot(platform, FIRST);
    assert_eq!(rig.device.state(), ModuleState::Operational);
    check_keys(&mut rig, &golden);
    let state = rig.state();
    assert_eq!((state.kind, state.version, state.hosts.len()), (Kind::Development, 2, 2));
    assert_eq!(state.operators.as_slice(), [rig.operators.operator(0)]);
    assert_eq!(state.operators[0].role, OperatorRole::Development);
    // It changes the domain, and what it changed is stored in the present layout.
    rig.change(&[Change::RemoveHost(Host::new(FIRST + 2).id())]).unwrap();
    rig.reboot();
    assert_eq!(rig.state().hosts.len(), 1);
    check_keys(&mut rig, &golden);
}

#[test]
fn a_device_with_a_provisioner_and_no_domain_is_a_fresh_one() {
    let mut platform = MemoryPlatform::with_seed(78);
    platform.sealing_key = None;
    load(&golden(), "second", &mut platform);
    let mut device = Device::boot(platform);
    assert_eq!(device.state(), ModuleState::Uninitialised);
    let platform = device.platform().clone();
    Rig::founded(platform, SECOND, Operators::development());
}
