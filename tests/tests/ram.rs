//! What is left of secrets in the RAM of the emulated boards: all of it is read over the emulator's
//! monitor and searched.
//!
//! Customer keys, data keys and plaintexts are gone after a session has ended and after a minute
//! idle; everything is after zeroisation and in the error state. That the search finds what is there
//! is shown by the same secrets while they are in use.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hsm_protocol::channel::{Keys, Opener, PROLOGUE, Sealer};
use hsm_protocol::command::cipher::{
    Ciphertext, DataKey, Decrypt, Encrypt, GenerateDataKey, Plaintext,
};
use hsm_protocol::command::decode;
use hsm_protocol::command::domain::{
    ChangeDomain, DescribeDomain, DescribedDomain, DomainInfo, DomainStatus,
};
use hsm_protocol::command::key::GenerateKey;
use hsm_protocol::command::mac::GenerateMac;
use hsm_protocol::command::session::CloseSession;
use hsm_protocol::command::sign::Sign;
use hsm_protocol::domain::{Change, DomainState, Host};
use hsm_protocol::frame::{FrameKind, Header};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, ErrorCode, KeyId, ModuleState, Role};
use hsm_tests::calls::StoredKey;
use hsm_tests::emulator::{Attachment, FLASH};
use hsm_tests::enclave::rsa_private_key;
use hsm_tests::flash::domain_key;
use hsm_tests::importer::Importer;
use hsm_tests::on_every_board;
use hsm_tests::patience::until;
use hsm_tests::probe::{Monitor, Ram};
use hsm_tests::testbed::{Hosts, TAG, Testbed};
use hsm_tests::wire::{Session, Wire, host_key, public};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use rsa::PrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PrivateKeyParts;

use search::{Found, Secrets};

#[path = "ram/search.rs"]
mod search;

/// How long a device may be idle until nothing is left, and some more.
const IDLE: Duration = Duration::from_secs(63);

on_every_board! {
    attached: customer_keys_end_with_the_session, nothing_is_left_in_the_error_state
}

/// After the session, after a minute idle, and after zeroisation.
fn customer_keys_end_with_the_session(board: Attachment) {
    let testbed = Testbed::examined(board, None);
    let hosts = testbed.provision();
    let mut monitor = Monitor::open(testbed.directory(), board);
    let customer = Customer::import(&testbed, &hosts);
    let user = enrol(&testbed, &hosts);
    let mut wire = testbed.wire();
    let device = device_secrets(testbed.directory(), &mut wire, &user);
    assert_operational(&device, &monitor.ram());

    // In use, everything is there.
    let (mut session, keys) = open(&mut wire, &user);
    let passing = customer.use_keys(&mut wire, &mut session);
    let customers = passing.and(&customer.secrets);
    let ram = monitor.ram();
    for name in ["AES key", "HMAC key", "RSA prime 1", "RSA prime 2"] {
        assert!(customers.find(&ram).count(name) > 0, "{board:?}: {name} is in the cache");
    }
    assert!(keys.find(&ram).count("session key") > 0, "{board:?}: the session is open");

    // After the session, neither customer's keys nor its own.
    session.call(&mut wire, &CloseSession).expect("closed");
    let ram = monitor.ram();
    assert_none(board, "after CloseSession", &customers.and(&keys).find(&ram));
    assert_operational(&device, &ram);

    // In a session that stays open, after a minute.
    let (mut session, second) = open(&mut wire, &user);
    let passing = customer.use_keys(&mut wire, &mut session);
    let customers = passing.and(&customers);
    assert!(customers.find(&monitor.ram()).count("AES key") > 0, "{board:?}: in the cache again");
    thread::sleep(IDLE);
    // By the device's own clock, which may come to it later.
    until(format_args!("{board:?}: nothing is left after a minute idle"), || {
        customers.find(&monitor.ram()).is_empty()
    });
    let ram = monitor.ram();
    assert_none(board, "after a minute idle", &customers.find(&ram));
    assert!(second.find(&ram).count("session key") > 0, "{board:?}: the session is open");
    assert_operational(&device, &ram);

    // After zeroisation: nothing at all, in the flash either.
    let passing = customer.use_keys(&mut wire, &mut session);
    let (mut session, third) = open(&mut wire, &user);
    let body = session.call(&mut wire, &DescribeDomain).expect("a host may ask");
    let described: DescribedDomain<'_> = decode(&body).expect("an answer");
    let state = DomainState::decode(&described.state).expect("a state");
    let zeroise = Change::Zeroise(wire.identity().device_id());
    let ballot = hosts.ballot(&state, &[zeroise]);
    session.call(&mut wire, &ChangeDomain { ballot: Bytes(&ballot) }).expect("signed");
    assert_eq!(wire.status().state, ModuleState::Zeroised);
    let ram = monitor.ram();
    let all = [&customers, &passing, &keys, &second, &third];
    let all = all.into_iter().fold(device, |all, some| all.and(some));
    assert_none(board, "after Zeroise", &all.find(&ram));
    let flash = fs::read(testbed.directory().join(FLASH)).expect("the flash");
    assert_none(board, "in the flash after Zeroise", &all.find_in(&flash, 0));
}

/// Once by a noise source that gets stuck, once by a damaged record.
fn nothing_is_left_in_the_error_state(board: Attachment) {
    let directory = tempfile::tempdir().expect("a directory");
    let noise = directory.path().join("noise");
    let mut samples = vec![0; 24 * 1024];
    getrandom::fill(&mut samples).expect("noise");
    samples.resize(8 << 20, 0); // stuck from here on
    fs::write(&noise, &samples).expect("written");
    let testbed = Testbed::examined(board, Some(&noise));
    let hosts = testbed.provision();
    let mut monitor = Monitor::open(testbed.directory(), board);
    let user = enrol(&testbed, &hosts);
    let mut wire = testbed.wire();
    let secrets = device_secrets(testbed.directory(), &mut wire, &user);
    let (mut session, keys) = open(&mut wire, &user);
    let all = secrets.and(&keys);
    assert_operational(&secrets, &monitor.ram());
    let id = KeyId::single_region([9; 16]);
    let (spec, usage) = (KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    let generate = GenerateKey { id, spec, usage };
    let refused = (0..500).find_map(|_| session.call(&mut wire, &generate).err());
    assert_eq!(refused, Some(ErrorCode::ENTROPY_FAILED));
    let status = wire.status();
    assert_eq!((status.state, status.error), (ModuleState::Error, refused));
    assert_none(board, "once the noise failed", &all.find(&monitor.ram()));

    // The domain is read before the identity, in which a bit has changed.
    drop((wire, monitor));
    let testbed = testbed.power_cycle_examined(|directory| {
        let path = directory.join(FLASH);
        let mut flash = fs::read(&path).expect("the flash");
        let at = secrets.find_in(&flash, 0).first("signing key, as it is").expect("a record");
        let at = usize::try_from(at).expect("an offset");
        flash[at] ^= 1;
        fs::write(&path, flash).expect("written");
    });
    let mut wire = testbed.wire();
    assert_eq!(wire.status().state, ModuleState::Error);
    let ram = Monitor::open(testbed.directory(), board).ram();
    assert_none(board, "after a start with damaged records", &all.find(&ram));
}

fn assert_none(board: Attachment, when: &str, found: &Found) {
    assert!(found.is_empty(), "{board:?}, {when}: {found:?}");
}

/// A device that works has its own keys, and each in one place.
fn assert_operational(secrets: &Secrets, ram: &Ram) {
    let found = secrets.find(ram);
    assert_eq!(found.count("domain key, as it is"), 2, "both halves of one copy: {found:?}");
    for name in ["signing key", "link key", "join key"] {
        assert!(found.count(name) > 0, "{name} is in use");
    }
}

/// Adds a crypto user whose key this test knows.
fn enrol(testbed: &Testbed, hosts: &Hosts) -> SecretKey {
    let device = testbed.device_as(&hosts.user);
    let key = host_key();
    hosts.change(&device, &[Change::AddHost(Host { key: public(&key), role: Role::CryptoUser })]);
    device.call_blocking(&CloseSession, TAG).expect("closed");
    key
}

/// Opens a session with the other implementation of the channel, which tells its keys.
fn open(wire: &mut Wire, host: &SecretKey) -> (Session, Secrets) {
    let link = wire.identity().link;
    let device = link.to_point().expect("a point").to_sec1_point(false);
    let own = host.to_bytes();
    let pattern = "Noise_IK_P256_AESGCM_SHA256".parse().expect("a pattern");
    let mut initiator = snow::Builder::new(pattern)
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(&own))
        .and_then(|builder| builder.remote_public_key(device.as_bytes()))
        .and_then(snow::Builder::build_initiator)
        .expect("an initiator");
    let mut message = [0; 1024];
    let length = initiator.write_message(&[], &mut message).expect("a message");
    let header = Header { kind: FrameKind::Handshake1, session: 0, sequence: 99 };
    let first = message[..length].try_into().expect("a first message");
    let payload = wire.admitted(host, &link, first).expect("a challenge");
    let answer = wire.exchange(header, &payload);
    assert_eq!(answer.header.kind, FrameKind::Handshake2, "{answer:?}");
    let length = initiator.read_message(&answer.payload, &mut message).expect("an answer");
    let id = u16::from_le_bytes(message[..length].try_into().expect("a session"));
    let (to_device, to_host) = initiator.dangerously_get_raw_split();
    let mut secrets = Secrets::default();
    secrets.add("session key to the device", &to_device);
    secrets.add("session key to the host", &to_host);
    let keys = Keys { sealer: Sealer::new(to_device), opener: Opener::new(to_host) };
    (Session::new(id, keys), secrets)
}

/// The device's own secrets, out of its flash, which these boards do not seal.
fn device_secrets(directory: &Path, wire: &mut Wire, host: &SecretKey) -> Secrets {
    let (mut session, _) = open(wire, host);
    let body = session.call(wire, &DomainInfo).expect("anybody enrolled may");
    let status: DomainStatus = decode(&body).expect("an answer");
    let domain = status.domain.expect("a domain").domain;
    session.call(wire, &CloseSession).expect("closed");
    let identity = wire.identity();
    let flash = fs::read(directory.join(FLASH)).expect("the flash");
    let mut secrets = Secrets::default();
    secrets.add("domain key", &domain_key(&flash, domain.as_bytes()));
    // Layout 1 of the identity: version u8 | signing, link and join key | signature
    //   (the domain's record, written later, has the signature too)
    let signature = identity.signature.to_bytes();
    let keys = flash.windows(signature.len()).position(|window| *window == signature);
    let keys = keys.expect("a record") - 96;
    for (name, at) in [("signing key", 0), ("link key", 32), ("join key", 64)] {
        let key = flash[keys + at..keys + at + 32].try_into().expect("32 bytes");
        secrets.add_scalar(name, &key);
    }
    let link = SecretKey::from_slice(&flash[keys + 32..keys + 64]).expect("a key");
    assert_eq!(public(&link), identity.link, "these are the device's keys");
    secrets
}

/// A customer's keys: made here, so that they are known, and imported.
struct Customer {
    aes: StoredKey,
    hmac: StoredKey,
    rsa: StoredKey,
    secrets: Secrets,
}

impl Customer {
    fn import(testbed: &Testbed, hosts: &Hosts) -> Self {
        let device = testbed.device_as(&hosts.user);
        let importer = Importer::new(&device);
        let mut secrets = Secrets::default();
        let import = |number: u8, spec, usage, material: &[u8]| {
            let id = KeyId::single_region([number; 16]);
            let token = importer.import(id, spec, usage, material).expect("good material");
            StoredKey { id, token }
        };
        let (aes, hmac) = (random::<32>(), random::<32>());
        let rsa = rsa_private_key(2048);
        let parts = PrivateKey::from_pkcs8_der(&rsa).expect("an RSA key");
        secrets.add("AES key", &aes);
        secrets.add("HMAC key", &hmac);
        for (prime, number) in parts.primes().iter().zip(1..) {
            secrets.add(&format!("RSA prime {number}"), &prime.to_be_bytes());
        }
        secrets.add("RSA exponent", &parts.d().to_be_bytes());
        secrets.add("RSA CRT exponent 1", &parts.dp().expect("one").to_be_bytes());
        secrets.add("RSA CRT exponent 2", &parts.dq().expect("one").to_be_bytes());
        let aes = import(1, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT, &aes);
        let hmac = import(2, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC, &hmac);
        let rsa = import(3, KeySpec::RSA_2048, KeyUsage::SIGN_VERIFY, &rsa);
        device.call_blocking(&CloseSession, TAG).expect("closed");
        Self { aes, hmac, rsa, secrets }
    }

    /// Uses every key, and returns what must not stay either: data keys and plaintexts.
    fn use_keys(&self, wire: &mut Wire, session: &mut Session) -> Secrets {
        let mut passing = Secrets::default();
        let (key, context) = (self.aes.by_ref(), Bytes(&[]));
        let body = session.call(wire, &GenerateDataKey { key, context, length: 32 });
        let body = body.expect("a crypto user may");
        let data_key: DataKey<'_> = decode(&body).expect("an answer");
        passing.add("data key", &data_key.plaintext);
        let plaintext = random::<512>();
        passing.add("plaintext", &plaintext);
        let command = Encrypt { key, context, plaintext: Bytes(&plaintext) };
        let body = session.call(wire, &command).expect("a crypto user may");
        let encrypted: Ciphertext<'_> = decode(&body).expect("an answer");
        let command = Decrypt { key, context, blob: encrypted.blob };
        let body = session.call(wire, &command).expect("a crypto user may");
        let decrypted: Plaintext<'_> = decode(&body).expect("an answer");
        assert_eq!(*decrypted.plaintext, plaintext);

        let message = random::<64>();
        passing.add("message", &message);
        let (key, algorithm) = (self.hmac.by_ref(), MacAlgorithm::HMAC_SHA_256);
        let command = GenerateMac { key, algorithm, message: Bytes(&message) };
        session.call(wire, &command).expect("a crypto user may");
        let key = self.rsa.by_ref();
        let algorithm = SigningAlgorithm::RSASSA_PSS_SHA_256;
        let message_type = MessageType::RAW;
        let command = Sign { key, algorithm, message_type, message: Bytes(&message) };
        session.call(wire, &command).expect("a crypto user may");
        passing
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}
