//! What devices of the first version have stored and handed out must be read for ever.
//!
//! `tests/golden/v1.txt` was written by the firmware that first had these layouts: records of a
//! sealing and of a plain board, tokens, a blob, a MAC, a domain token. When a test here fails,
//! revert your change, not the file: stored keys would be lost. A new layout is a new file,
//! written by `UPDATE_GOLDEN=1 cargo test -p hsm-core --test hsm compat`, which never overwrites.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use hsm_core::platform::RecordId;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::Bytes;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::domain::{CreateDomain, ExportDomain, JoinDomain};
use hsm_protocol::command::key::ExportPublicKey;
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::key_spec::MacAlgorithm;

use crate::cipher::{decrypt, encrypt};
use crate::rig::{Device, Host, KEY_ID, Rig, Token};

const CONTEXT: &[u8] = b"context";
const PLAINTEXT: &[u8] = b"what was encrypted long ago";
const FIRST: u64 = 100;
const SECOND: u64 = 200;

type Golden = BTreeMap<String, Vec<u8>>;

fn golden() -> Golden {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        let mut text = String::new();
        for (name, bytes) in make() {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{name} {hex}").unwrap();
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (name.to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

fn make() -> Golden {
    let mut golden = Golden::new();
    let mut first = Rig::initialised(MemoryPlatform::new(), FIRST);
    first.admin.call(&mut first.device, &CreateDomain).ok::<CreateDomain>();
    let mut plain = MemoryPlatform::with_seed(2);
    plain.sealing_key = None;
    let mut second = Rig::initialised(plain, SECOND);
    store(&mut golden, "second", &mut second.device);

    let joiner = second.device.identity();
    let reply = first.admin.call(&mut first.device, &ExportDomain { joiner });
    golden.insert("domain-token".to_owned(), reply.ok::<ExportDomain>().token.to_vec());

    let symmetric = first.symmetric();
    golden.insert("blob".to_owned(), encrypt(&mut first, &symmetric, CONTEXT, PLAINTEXT));
    let (mac, signing) = (first.mac(), first.signing());
    golden.insert("mac".to_owned(), generate_mac(&mut first, &mac));
    golden.insert("spki".to_owned(), public_key(&mut first, &signing));
    for (name, token) in [("symmetric", symmetric), ("hmac", mac), ("signing", signing)] {
        golden.insert(format!("token-{name}"), token.bytes);
    }
    store(&mut golden, "first", &mut first.device);
    golden
}

fn store(golden: &mut Golden, name: &str, device: &mut Device) {
    for (id, record) in &device.platform().storage.records {
        golden.insert(format!("{name}-record-{}", id.0), record.clone());
    }
}

fn load(golden: &Golden, name: &str, platform: &mut MemoryPlatform) {
    let prefix = format!("{name}-record-");
    for (name, record) in golden {
        if let Some(id) = name.strip_prefix(&prefix) {
            platform.storage.records.insert(RecordId(id.parse().unwrap()), record.clone());
        }
    }
}

fn boot(platform: MemoryPlatform, seed: u64) -> Rig {
    let mut device = Device::boot(platform);
    let (mut provisioner, mut user_host) = (Host::new(seed), Host::new(seed + 1));
    Rig {
        admin: provisioner.open(&mut device),
        user: user_host.open(&mut device),
        auditor: Host::new(seed + 2).open(&mut device),
        device,
        provisioner,
        user_host,
    }
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
fn records_of_version_1_boot_and_their_keys_work() {
    let golden = golden();
    let mut platform = MemoryPlatform::with_seed(77);
    load(&golden, "first", &mut platform);
    let mut rig = boot(platform, FIRST);
    assert_eq!(rig.device.state(), ModuleState::Operational);
    check_keys(&mut rig, &golden);
}

#[test]
fn domain_tokens_of_version_1_can_be_joined() {
    let golden = golden();
    let mut exporter = MemoryPlatform::new();
    load(&golden, "first", &mut exporter);
    let mut platform = MemoryPlatform::with_seed(78);
    platform.sealing_key = None;
    load(&golden, "second", &mut platform);
    let mut rig = boot(platform, SECOND);
    assert_eq!(rig.device.state(), ModuleState::Initialised);
    let exporter = Device::boot(exporter).identity();
    let request = JoinDomain { exporter, token: Bytes(&golden["domain-token"]) };
    rig.admin.call(&mut rig.device, &request).ok::<JoinDomain>();
    check_keys(&mut rig, &golden);
}
