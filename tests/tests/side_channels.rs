//! Counts of instructions do not depend on secrets: each command that uses one, with many keys, on each emulated
//! board. `cargo xtask constant-time --board NAME` prints the table, which `docs/boards.md` has.
//!
//! What an emulator cannot show: it has no caches, no power supply and no cycles.

use host_driver::audit::NoLog;
use host_driver::device::Device;
use hsm_protocol::command::agree::{Decapsulate, DeriveSharedSecret, Encapsulate};
use hsm_protocol::command::key::ExportPublicKey;
use hsm_protocol::command::mac::{GenerateMac, VerifyMac};
use hsm_protocol::command::session::CloseSession;
use hsm_protocol::command::sign::Sign;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use hsm_tests::calls::{self, StoredKey};
use hsm_tests::emulator::Attachment;
use hsm_tests::enclave::rsa_private_key;
use hsm_tests::importer::Importer;
use hsm_tests::instructions::measure;
use hsm_tests::spread::{Call, Spread};
use hsm_tests::testbed::{Hosts, TAG, Testbed};
use hsm_tests::{on_every_board, programs};

/// Secrets of each operation, and of one that takes seconds.
const SECRETS: u8 = 16;
const FEW_SECRETS: u8 = 6;
/// Calls with each secret that count, each with a message of its own.
const CALLS: usize = 10;
/// An instruction takes 2^6 ns of the time that the device counts in microseconds: a count is off by 16 instructions at
/// most at each end. In that time keys that are not used for a minute leave the cache, so the calls with one secret
/// have to fit, and a command that takes a minute would be ended by the watchdog.
const SHIFT: u32 = 6;
/// Most instructions between the secret that takes the fewest and the one that takes the most. Up to 160 were measured:
/// a zero in a response takes the line's encoding a hundred instructions more.
const BOUND: u64 = 300;
/// The same for ECDSA: of signatures that are as long as each other some have a zero before *r* and some before *s*.
/// An addition on a curve takes a thousand instructions.
const ECDSA_BOUND: u64 = 600;
/// Audited calls after which the numbers of entries, which are in responses, are of two bytes as they stay.
const SETTLED: usize = 130;
/// Bytes of a message.
const MESSAGE: usize = 32;

/// What a spread has to be.
#[derive(Clone, Copy)]
enum Rule {
    /// Within so many instructions.
    Within(u64),
    /// Beyond [`BOUND`]: this shows that the check finds what there is to be found.
    Found,
    /// Anything, for this reason.
    Told(&'static str),
}

/// A command that uses secrets.
struct Operation {
    name: &'static str,
    spec: KeySpec,
    usage: KeyUsage,
    /// Whether each secret is another key; else it is in what the one key is used for.
    many_keys: bool,
    prepare: Prepare,
    rule: Rule,
}

/// Makes ready a call with the secret of a number and a message, and returns it. The call returns the length of its
/// response.
type Prepare = for<'a> fn(
    device: &'a Device,
    key: &'a StoredKey,
    number: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a>;

const fn operation(
    name: &'static str,
    spec: KeySpec,
    usage: KeyUsage,
    prepare: Prepare,
) -> Operation {
    Operation { name, spec, usage, many_keys: true, prepare, rule: Rule::Within(BOUND) }
}

const fn signature(name: &'static str, spec: KeySpec, prepare: Prepare) -> Operation {
    operation(name, spec, KeyUsage::SIGN_VERIFY, prepare)
}

const fn ecdsa(name: &'static str, spec: KeySpec, prepare: Prepare) -> Operation {
    Operation { rule: Rule::Within(ECDSA_BOUND), ..signature(name, spec, prepare) }
}

/// No more than the key cache of a board has places, so that each key is always found in the same place.
fn operations() -> Vec<Operation> {
    use SigningAlgorithm as A;
    let aes = |name, prepare: Prepare| {
        operation(name, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT, prepare)
    };
    let hmac = |name, prepare: Prepare| {
        operation(name, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC, prepare)
    };
    let kem = |name, prepare: Prepare| {
        let usage = KeyUsage::ENCAPSULATE_DECAPSULATE;
        operation(name, KeySpec::ML_KEM_768, usage, prepare)
    };
    let one_key = |operation| Operation { many_keys: false, ..operation };
    let with = |rule, operation| Operation { rule, ..operation };
    let matrix = Rule::Told("the matrix is sampled from the public key");
    let mut all = vec![
        ecdsa("Sign ECC_NIST_P256", KeySpec::ECC_NIST_P256, |d, k, _, m| {
            sign(d, k, m, A::ECDSA_SHA_256)
        }),
        ecdsa("Sign ECC_NIST_P384", KeySpec::ECC_NIST_P384, |d, k, _, m| {
            sign(d, k, m, A::ECDSA_SHA_384)
        }),
        ecdsa("Sign ECC_SECG_P256K1", KeySpec::ECC_SECG_P256K1, |d, k, _, m| {
            sign(d, k, m, A::ECDSA_SHA_256)
        }),
        signature("Sign ECC_NIST_EDWARDS25519", KeySpec::ECC_NIST_EDWARDS25519, |d, k, _, m| {
            sign(d, k, m, A::ED25519_SHA_512)
        }),
        operation(
            "DeriveSharedSecret ECC_NIST_P256",
            KeySpec::ECC_NIST_P256,
            KeyUsage::KEY_AGREEMENT,
            agree,
        ),
        aes("Encrypt", encrypt),
        aes("Decrypt", decrypt),
        one_key(aes("Decrypt, one byte of the tag wrong", decrypt_wrong)),
        hmac("GenerateMac HMAC_256", mac),
        one_key(hmac("VerifyMac HMAC_256, one byte wrong", verify_wrong)),
        one_key(kem("Decapsulate ML_KEM_768, right and wrong", decapsulate)),
        with(matrix, kem("Decapsulate ML_KEM_768, many keys", decapsulate_right)),
        with(
            Rule::Told("signatures are drawn until one fits"),
            signature("Sign ML_DSA_44", KeySpec::ML_DSA_44, |d, k, _, m| {
                sign(d, k, m, A::ML_DSA_SHAKE_256)
            }),
        ),
        with(
            Rule::Found,
            one_key(hmac("a loop of a length that is secret", mac_of_a_secret_length)),
        ),
    ];
    // Pairs for it are searched for minutes.
    if programs::nightly().is_ok() {
        let pss = signature("Sign RSA_2048 PSS", KeySpec::RSA_2048, |d, k, _, m| {
            sign(d, k, m, A::RSASSA_PSS_SHA_256)
        });
        all.push(pss);
    }
    all
}

fn sign<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    message: &'a [u8],
    algorithm: SigningAlgorithm,
) -> Box<dyn Fn() -> usize + 'a> {
    let (message_type, message) = (MessageType::RAW, Bytes(message));
    let request = Sign { key: key.by_ref(), algorithm, message_type, message };
    Box::new(move || {
        let reply = device.call_blocking(&request, TAG).expect("signed");
        reply.response().expect("decodes").signature.len()
    })
}

fn agree<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    _: u8,
    _: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let key = key.by_ref();
    let public = device.call_blocking(&ExportPublicKey { key }, TAG).expect("exported");
    let public = public.response().expect("decodes").spki.to_vec();
    Box::new(move || {
        let request = DeriveSharedSecret { key, peer: Bytes(&public) };
        let reply = device.call_blocking(&request, TAG).expect("agreed");
        reply.response().expect("decodes").secret.len()
    })
}

fn encrypt<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    _: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    Box::new(move || calls::encrypt(device, key, &[], message).len())
}

fn decrypt<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    _: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let blob = calls::encrypt(device, key, &[], message);
    Box::new(move || calls::decrypt(device, key, &[], &blob).len())
}

/// The caller learns that the tag is wrong, and not where.
fn decrypt_wrong<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    number: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let mut blob = calls::encrypt(device, key, &[], message);
    let at = blob.len() - 1 - usize::from(number);
    blob[at] ^= 1;
    Box::new(move || {
        let refusal = calls::decrypt_refused(device, key, &[], &blob);
        assert_eq!(refusal, ErrorCode::CIPHERTEXT_INVALID);
        0
    })
}

fn mac<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    _: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    Box::new(move || mac_of(device, key, message).len())
}

/// The caller learns that the MAC is wrong, and not where.
fn verify_wrong<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    number: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let mut mac = mac_of(device, key, message);
    mac[2 * usize::from(number)] ^= 1;
    Box::new(move || {
        let (algorithm, message, mac) = (MacAlgorithm::HMAC_SHA_256, Bytes(message), Bytes(&mac));
        let request = VerifyMac { key: key.by_ref(), algorithm, message, mac };
        assert_eq!(calls::refusal(device, &request), ErrorCode::MAC_INVALID);
        0
    })
}

/// As a device would do whose code has a loop of a secret length: of every second secret one block more.
fn mac_of_a_secret_length<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    number: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let message = message.repeat(1 + 2 * usize::from(number % 2));
    Box::new(move || mac_of(device, key, &message).len())
}

fn mac_of(device: &Device, key: &StoredKey, message: &[u8]) -> Vec<u8> {
    let (algorithm, message) = (MacAlgorithm::HMAC_SHA_256, Bytes(message));
    let request = GenerateMac { key: key.by_ref(), algorithm, message };
    let reply = device.call_blocking(&request, TAG).expect("a MAC");
    reply.response().expect("decodes").mac.to_vec()
}

/// Of every second secret one that was altered: a wrong ciphertext gives another secret, and the caller is not to
/// learn that it is wrong (FIPS 203 6.3).
fn decapsulate<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    number: u8,
    _: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    let key = key.by_ref();
    let made = device.call_blocking(&Encapsulate { key }, TAG).expect("encapsulated");
    let mut ciphertext = made.response().expect("decodes").ciphertext.to_vec();
    ciphertext[0] ^= number % 2;
    Box::new(move || {
        let request = Decapsulate { key, ciphertext: Bytes(&ciphertext) };
        let reply = device.call_blocking(&request, TAG).expect("decapsulated");
        reply.response().expect("decodes").secret.len()
    })
}

fn decapsulate_right<'a>(
    device: &'a Device,
    key: &'a StoredKey,
    _: u8,
    message: &'a [u8],
) -> Box<dyn Fn() -> usize + 'a> {
    decapsulate(device, key, 0, message)
}

on_every_board! { attached: counts_do_not_depend_on_secrets }

fn counts_do_not_depend_on_secrets(board: Attachment) {
    let name = board.board();
    if let (false, Err(reason)) = (name == Attachment::CONSOLE.board(), programs::nightly()) {
        programs::skip(&format!("counts of secrets on {name}"), &reason);
        return;
    }
    let rig = Rig::new(board);
    let mut operations = operations();
    operations.retain(|operation| rig.device.info().specs.contains(&operation.spec));
    let keys: Vec<Vec<StoredKey>> = operations.iter().map(|one| rig.keys(one)).collect();
    let mut counts: Vec<Vec<Vec<Call>>> = operations.iter().map(|_| Vec::new()).collect();
    // Keys that take seconds would have the others leave the cache.
    for (is_slow, number) in
        (0..SECRETS).map(|n| (false, n)).chain((0..FEW_SECRETS).map(|n| (true, n)))
    {
        rig.forget_keys();
        for ((operation, keys), counts) in operations.iter().zip(&keys).zip(&mut counts) {
            if operation.is_slow() == is_slow {
                let key = &keys[usize::from(number) % keys.len()];
                counts.push(rig.calls(operation, key, number));
            }
        }
    }
    println!("\n{name}, instructions of a command");
    println!("{:<42}{:>4} {:>11} {:>11} {:>11} {:>9}", "", "", "least", "median", "most", "spread");
    let mut problems = Vec::new();
    for (operation, counts) in operations.iter().zip(&counts) {
        match Spread::of(counts) {
            Ok(spread) => {
                println!("{:<42}{spread}{}", operation.name, operation.remark());
                problems.extend(operation.problem(spread));
            }
            Err(why) => problems.push(format!("{}: {why}", operation.name)),
        }
    }
    assert!(problems.is_empty(), "on {name}:\n{}", problems.join("\n"));
}

impl Operation {
    /// Whether a call takes seconds.
    fn is_slow(&self) -> bool {
        self.spec.row().is_some_and(|row| row.slow)
    }

    /// What the table says beside the numbers.
    fn remark(&self) -> String {
        match self.rule {
            Rule::Within(bound) => format!("  at most {bound}"),
            Rule::Found => "  planted, and found".to_owned(),
            Rule::Told(reason) => format!("  {reason}"),
        }
    }

    /// What is wrong with a spread.
    fn problem(&self, spread: Spread) -> Option<String> {
        let Self { name, rule, .. } = self;
        let width = spread.width();
        match rule {
            Rule::Within(bound) if width > *bound => Some(format!(
                "{name}: {width} instructions between secrets, at most {bound} are allowed"
            )),
            Rule::Found if width <= BOUND => Some(format!(
                "{name}: only {width} instructions between secrets: the check finds nothing"
            )),
            _ => None,
        }
    }
}

/// A device that counts instructions.
struct Rig {
    hosts: Hosts,
    device: Device,
    _testbed: Testbed,
}

impl Rig {
    fn new(board: Attachment) -> Self {
        let testbed = Testbed::counted(board, SHIFT);
        let hosts = testbed.provision();
        let device = testbed.device_as(&hosts.user);
        let rig = Self { hosts, device, _testbed: testbed };
        let key = calls::mac(&rig.device, 0);
        (0..SETTLED).for_each(|_| drop(mac_of(&rig.device, &key, &[0; MESSAGE])));
        rig
    }

    /// The keys of an operation.
    fn keys(&self, operation: &Operation) -> Vec<StoredKey> {
        let Operation { spec, usage, many_keys, .. } = *operation;
        if operation.is_slow() {
            return self.import(spec, usage);
        }
        // A search in the cache compares tokens, which begin with ids, so the one key has an id of its own.
        let numbers = if many_keys { 0..SECRETS } else { SECRETS..SECRETS + 1 };
        numbers.map(|number| calls::make(&self.device, number, spec, usage)).collect()
    }

    /// Keys that are made here, as the device takes long to find one.
    fn import(&self, spec: KeySpec, usage: KeyUsage) -> Vec<StoredKey> {
        let importer = Importer::new(&self.device);
        let bits = spec.row().expect("a spec of the table").secret_size * 8;
        let import = |number| {
            let id = KeyId::single_region([number; 16]);
            let token = importer.import(id, spec, usage, &rsa_private_key(bits)).expect("imported");
            StoredKey { id, token }
        };
        (0..FEW_SECRETS).map(import).collect()
    }

    /// Has the device forget the keys that it has unwrapped, as it does when a session ends: in the order in which
    /// they are used afterwards, keys get the same places each time.
    fn forget_keys(&self) {
        self.device.call_blocking(&CloseSession, TAG).expect("closed");
        self.device.authenticate(&self.hosts.user).expect("the device knows the host");
        self.device.synchronise_audit(&NoLog).expect("an enrolled host reads the chain");
    }

    /// Calls with a secret. The first call, which unwraps the key, does not count.
    fn calls(&self, operation: &Operation, key: &StoredKey, number: u8) -> Vec<Call> {
        (0..=CALLS).map(|_| self.call(operation, key, number)).skip(1).collect()
    }

    fn call(&self, operation: &Operation, key: &StoredKey, number: u8) -> Call {
        let message: [u8; MESSAGE] = std::array::from_fn(|_| fastrand::u8(..));
        let run = (operation.prepare)(&self.device, key, number, &message);
        let busy_us = || self.device.status().expect("the device answers").busy_us;
        // The first question after a command that went deep into the stack looks how deep.
        busy_us();
        let mut answer = 0;
        let measured = measure(busy_us, || answer = run(), |_| false);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // far below 2^52
        let busy_us = measured.busy_us as u64;
        Call { instructions: (busy_us * 1000) >> SHIFT, answer }
    }
}
