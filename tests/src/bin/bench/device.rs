//! What a command costs the device: bytes on the wire and firmware instructions.
//!
//! QEMU runs with `-icount shift=0`, one instruction a nanosecond of virtual time, so the time
//! that the firmware counts as busy is instructions, exactly, whatever else the machine does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use host_driver::device::{Device, Options as DeviceOptions};
use host_driver::emulator::{Attachment, Emulator, EmulatorConfig, Machine};
use host_driver::host_key::HostKey;
use host_driver::provision::{Goal, Plan, provision};
use host_driver::transport::Connector;
use host_driver::transport::trace::{Direction, TraceConnector};
use hsm_protocol::command::{Command, cipher, key, mac, random, session, sign, system};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{AuditTag, Bytes, KeyId, Role};
use hsm_tests::environment;
use serde_json::{Value, json};

/// Calls over which a cost is averaged.
const CALLS: u32 = 50;

/// Cost of one command.
pub(crate) struct Cost {
    name: &'static str,
    instructions: f64,
    to_device: u64,
    to_host: u64,
}

/// All costs, and what the device says of itself at the end.
pub(crate) struct Costs {
    rows: Vec<Cost>,
    self_test_us: u32,
    stack_peak: u32,
    storage_used: u32,
}

impl Costs {
    pub(crate) fn to_json(&self) -> Value {
        let row = |cost: &Cost| {
            json!({
                "command": cost.name,
                "instructions": cost.instructions.round(),
                "bytes_to_device": cost.to_device,
                "bytes_to_host": cost.to_host,
            })
        };
        json!({
            "commands": self.rows.iter().map(row).collect::<Vec<_>>(),
            // One instruction a nanosecond.
            "power_up_self_test_instructions": u64::from(self.self_test_us) * 1000,
            "stack_peak_bytes": self.stack_peak,
            "storage_used_bytes": self.storage_used,
        })
    }
}

#[derive(Default)]
struct Traffic {
    to_device: AtomicU64,
    to_host: AtomicU64,
}

impl Traffic {
    fn read(&self) -> (u64, u64) {
        (self.to_device.load(Ordering::Relaxed), self.to_host.load(Ordering::Relaxed))
    }
}

struct Meter {
    device: Device,
    traffic: Arc<Traffic>,
    rows: Vec<Cost>,
}

impl Meter {
    /// Measures a command; the first call, which may test the algorithm, is not counted.
    fn measure<C: Command>(&mut self, name: &'static str, command: &C) {
        self.call(command);
        let (busy, traffic) = (self.busy(), self.traffic.read());
        for _ in 0..CALLS {
            self.call(command);
        }
        let after = self.traffic.read();
        let spent = self.busy() - busy;
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let instructions = spent as f64 * 1000.0 / f64::from(CALLS);
        self.rows.push(Cost {
            name,
            instructions,
            to_device: (after.0 - traffic.0) / u64::from(CALLS),
            to_host: (after.1 - traffic.1) / u64::from(CALLS),
        });
    }

    fn call<C: Command>(&self, command: &C) -> host_driver::Reply<C> {
        self.device.call_blocking(command, AuditTag([7; 16])).expect("the device answers")
    }

    /// Microseconds of virtual time spent on requests, the question itself not included.
    fn busy(&self) -> u64 {
        self.device.status().expect("the device answers").busy_us
    }

    fn generate(&self, spec: KeySpec, usage: KeyUsage) -> Vec<u8> {
        let reply = self.call(&key::GenerateKey { id: ID, spec, usage });
        reply.response().expect("a new key").token.to_vec()
    }
}

const ID: KeyId = KeyId::single_region([0x42; 16]);

/// Boots a device and measures every kind of command.
pub(crate) fn measure() -> Costs {
    let directory = tempfile::tempdir().expect("a directory");
    let emulator = boot(directory.path());
    let (provisioner, user) = (HostKey::generate(), HostKey::generate());
    let options =
        DeviceOptions { patience: Duration::from_secs(60), deadline: Duration::from_secs(120) };
    let plan = Plan {
        provisioner: &provisioner,
        hosts: &[(user.public(), Role::CryptoUser)],
        goal: Goal::Create,
        options,
    };
    provision(&*emulator, &plan, &mut |_| {}).expect("the device is provisioned");

    let traffic = Arc::new(Traffic::default());
    let observer = {
        let traffic = Arc::clone(&traffic);
        move |direction, _: Duration, bytes: &[u8]| {
            let counter = match direction {
                Direction::ToDevice => &traffic.to_device,
                Direction::ToHost => &traffic.to_host,
            };
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    };
    let connector = Arc::clone(&emulator);
    let traced =
        TraceConnector { inner: move || connector.connect(), observer: Arc::new(observer) };
    let device = Device::open(&traced, None, options).expect("the device answers");
    device.authenticate(&user).expect("a session");
    let mut meter = Meter { device, traffic, rows: Vec::new() };
    commands(&mut meter);
    let status = meter.device.status().expect("the device answers");
    Costs {
        rows: meter.rows,
        self_test_us: status.self_test_us,
        stack_peak: status.stack_peak,
        storage_used: status.storage_used,
    }
}

fn boot(directory: &Path) -> Arc<Emulator> {
    let machine = Machine::of_board("qemu_riscv32").expect("the description parses");
    Emulator::start(&EmulatorConfig {
        machine: machine.expect("the board has a description"),
        firmware: environment::firmware(),
        directory: directory.join("device"),
        link: None,
        attachment: Attachment::Socket,
        arguments: vec!["-icount".to_owned(), "shift=0".to_owned()],
    })
    .expect("the emulator starts")
}

fn commands(meter: &mut Meter) {
    let aes = meter.generate(KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    let ecc = meter.generate(KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY);
    let hmac = meter.generate(KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC);
    let key = |token| key::KeyRef { id: ID, token: Bytes(token) };
    let (short, long) = ([0x61; 32], [0x61; 4096]);
    let context = Bytes(b"");

    meter.measure("SessionInfo", &session::SessionInfo);
    meter.measure("Random 32 B", &random::Random { length: 32 });
    let (spec, usage) = (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    meter.measure("GenerateKey AES", &key::GenerateKey { id: ID, spec, usage });
    let (spec, usage) = (KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY);
    meter.measure("GenerateKey P-256", &key::GenerateKey { id: ID, spec, usage });

    let encrypt = |plaintext| cipher::Encrypt { key: key(&aes), context, plaintext };
    meter.measure("Encrypt 32 B", &encrypt(Bytes(&short)));
    meter.measure("Encrypt 4 KiB", &encrypt(Bytes(&long)));
    let reply = meter.call(&encrypt(Bytes(&short)));
    let blob = reply.response().expect("a blob").blob.to_vec();
    let decrypt = cipher::Decrypt { key: key(&aes), context, blob: Bytes(&blob) };
    meter.measure("Decrypt 32 B", &decrypt);
    let re_encrypt = cipher::ReEncrypt {
        source: key(&aes),
        source_context: context,
        blob: Bytes(&blob),
        destination: key(&aes),
        destination_context: context,
    };
    meter.measure("ReEncrypt 32 B", &re_encrypt);
    let data_key = cipher::GenerateDataKey { key: key(&aes), context, length: 32 };
    meter.measure("GenerateDataKey", &data_key);

    let (algorithm, message_type) = (SigningAlgorithm::ECDSA_SHA_256, MessageType::RAW);
    let message = Bytes(&short);
    let request = sign::Sign { key: key(&ecc), algorithm, message_type, message };
    meter.measure("Sign P-256", &request);
    let reply = meter.call(&request);
    let signature = reply.response().expect("a signature").signature.to_vec();
    let signature = Bytes(&signature);
    let verify = sign::Verify { key: key(&ecc), algorithm, message_type, message, signature };
    meter.measure("Verify P-256", &verify);
    let algorithm = MacAlgorithm::HMAC_SHA_256;
    meter.measure("GenerateMac", &mac::GenerateMac { key: key(&hmac), algorithm, message });
    meter.measure("SelfTest", &system::SelfTest);
}

/// The table.
pub(crate) fn print(costs: &Costs) {
    println!(
        "\nqemu_riscv32: cost of a command, channel and audit included, keys unwrapped before"
    );
    println!("{:<20}{:>16}{:>12}{:>12}", "command", "instructions", "bytes in", "bytes out");
    for Cost { name, instructions, to_device, to_host } in &costs.rows {
        println!("{name:<20}{instructions:>16.0}{to_device:>12}{to_host:>12}");
    }
    let self_tests = f64::from(costs.self_test_us) / 1000.0;
    println!("\npower-up self-tests  {self_tests:.1} million instructions");
    println!("worst stack          {} bytes", costs.stack_peak);
    println!("flash used by records {} bytes", costs.storage_used);
}
