//! What a command costs the device: bytes on the wire and firmware instructions.
//!
//! QEMU runs with `-icount shift=0`, one instruction a nanosecond of virtual time, so the time
//! that the firmware counts as busy is instructions, exactly, whatever else the machine does.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use host_driver::audit::NoLog;
use host_driver::device::{Device, Options as DeviceOptions};
use host_driver::emulator::{Attachment, Emulator, EmulatorConfig, Machine};
use host_driver::provision::{Goal, Plan, provision};
use host_driver::transport::Connector;
use host_driver::transport::trace::{Direction, TraceConnector};
use hsm_protocol::command::system::MemoryUse;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::{AuditTag, Role};
use hsm_tests::enclave::Enclave;
use hsm_tests::environment;
use hsm_tests::instructions::{self, Measured};
use hsm_tests::testbed::Hosts;
use hsm_tests::workload::{Visitor, Workload};
use serde_json::{Value, json};

/// Cost of one command.
pub(crate) struct Cost {
    name: String,
    instructions: f64,
    to_device: u64,
    to_host: u64,
}

/// All costs, and what the device says of itself at the end.
pub(crate) struct Costs {
    board: String,
    rows: Vec<Cost>,
    boot_us: u64,
    self_test_us: u32,
    stack_peak: u32,
    storage_used: u32,
}

impl Costs {
    /// Appends a line to the history: one JSON object with the instructions of each command.
    pub(crate) fn record(&self, history: &Path) -> io::Result<()> {
        let instructions: serde_json::Map<String, Value> = self
            .rows
            .iter()
            .map(|row| (row.name.clone(), json!(row.instructions.round())))
            .collect();
        let line = json!({
            "version": env!("CARGO_PKG_VERSION"),
            // Without it, a share of one Status is in each number: the history says how much.
            "without_status": true,
            "board": self.board,
            "boot": self.boot_us * 1000,
            "self_test": u64::from(self.self_test_us) * 1000,
            "instructions": instructions,
        });
        let mut file = OpenOptions::new().create(true).append(true).open(history)?;
        writeln!(file, "{line}")
    }

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
            "board": self.board,
            "commands": self.rows.iter().map(row).collect::<Vec<_>>(),
            // One instruction a nanosecond.
            "boot_instructions": self.boot_us * 1000,
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

/// Calls over which a cost is averaged, for the time they may take.
const CALLS: u32 = 50;
const TIME: Duration = Duration::from_secs(2);

/// Measures a command; the first call, which may test the algorithm, is not counted.
fn measure_one(device: &Device, traffic: &Traffic, name: &str, run: &dyn Fn()) -> Cost {
    run();
    let begin = Instant::now();
    // Microseconds of virtual time spent on requests.
    let busy = || device.status().expect("the device answers").busy_us;
    let more = |calls| calls < CALLS && begin.elapsed() < TIME;
    let wire = Cell::new((0, 0));
    let counted = || {
        let before = traffic.read();
        run();
        let after = traffic.read();
        let (to_device, to_host) = wire.get();
        wire.set((to_device + after.0 - before.0, to_host + after.1 - before.1));
    };
    let Measured { calls, busy_us } = instructions::measure(busy, counted, more);
    let (to_device, to_host) = wire.get();
    Cost {
        name: name.to_owned(),
        instructions: busy_us * 1000.0,
        to_device: to_device / u64::from(calls),
        to_host: to_host / u64::from(calls),
    }
}

/// For an emulator that may be slow.
const OPTIONS: DeviceOptions =
    DeviceOptions { patience: Duration::from_secs(120), deadline: Duration::from_secs(300) };

/// Starts the emulator of a board, whose device is kept in `directory`; QEMU gets further `arguments`.
fn start(board: &str, directory: &Path, arguments: &[String]) -> Arc<Emulator> {
    let machine = Machine::of_board(board).expect("the description parses");
    Emulator::start(&EmulatorConfig {
        machine: machine.expect("the board has a description"),
        firmware: environment::firmware_of(board),
        directory: directory.join("device"),
        link: None,
        attachment: Attachment::Socket,
        arguments: arguments.to_vec(),
    })
    .expect("the emulator starts")
}

/// Microseconds, each of a thousand instructions, from the start of a device that has its identity until it has
/// answered `Info`. The question is there before the device can answer it.
fn boot_us(board: &str, arguments: &[String]) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let uptime = || {
        let emulator = start(board, directory.path(), arguments);
        let connector = Arc::clone(&emulator);
        let connect = move || connector.connect();
        let device = Device::open(&connect, None, OPTIONS).expect("the device answers");
        device.status().expect("the device answers").uptime_us
    };
    uptime();
    uptime()
}

/// An emulated device with a session, and what goes over its wire.
pub(crate) struct Rig {
    /// The firmware.
    pub(crate) image: PathBuf,
    device: Device,
    traffic: Arc<Traffic>,
    hosts: Hosts,
    enclave: Enclave,
    _emulator: Arc<Emulator>,
}

impl Rig {
    /// Boots and provisions a device in `directory`; QEMU gets further `arguments`.
    pub(crate) fn boot(board: &str, directory: &Path, arguments: &[String]) -> Self {
        let image = environment::firmware_of(board);
        let emulator = start(board, directory, arguments);
        let hosts = Hosts::generate();
        let options = OPTIONS;
        let enclave = Enclave::new(2048);
        let plan = Plan {
            operator: &hosts.operator,
            host: &hosts.user,
            hosts: &[(hosts.user.public(), Role::CryptoUser)],
            goal: Goal::Create("bench"),
            roots: Some(&[enclave.root()]),
            ledger: &hosts.ballots,
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
        device.authenticate(&hosts.user).expect("a session");
        device.synchronise_audit(&NoLog).expect("it is in a domain");
        Self { image, device, traffic, hosts, enclave, _emulator: emulator }
    }

    /// The key specs that the device has.
    pub(crate) fn specs(&self) -> Vec<KeySpec> {
        self.device.info().specs.clone()
    }

    /// Visits every command for keys of these specs.
    pub(crate) fn visit(&self, specs: &[KeySpec], visitor: Visitor<'_>) {
        Workload::new(&self.device, &self.hosts, &self.enclave).visit(specs, visitor);
    }
}

/// Boots a device and measures every kind of command, for those of its key specs whose names are in `wanted`, or
/// for all.
pub(crate) fn measure(board: &str, wanted: Option<&str>) -> Costs {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["-icount".to_owned(), "shift=0".to_owned()];
    let boot_us = boot_us(board, &arguments);
    let rig = Rig::boot(board, directory.path(), &arguments);
    let is_wanted = |spec: &KeySpec| {
        let named = |wanted: &str| wanted.split(',').any(|name| Some(name) == spec.aws_name());
        wanted.is_none_or(named)
    };
    let specs: Vec<_> = rig.specs().into_iter().filter(is_wanted).collect();
    let mut rows = Vec::new();
    let visitor: Visitor<'_> = &mut |name, run| {
        eprint!("\r  {name:<60}");
        rows.push(measure_one(&rig.device, &rig.traffic, name, run));
    };
    rig.visit(&specs, visitor);
    // Not in the workload, which is of commands within a session.
    visitor("Status", &|| {
        rig.device.status().expect("the device answers");
    });
    // With the question before it and the one after it, which take two hundredths of a million.
    visitor("Handshake", &|| {
        rig.device.authenticate(&rig.hosts.user).expect("a session");
    });
    eprintln!("\r{:62}\r", "");
    // Has the device look how deep its stack went.
    rig.device.call_blocking(&MemoryUse, AuditTag::default()).expect("an enrolled host may");
    let status = rig.device.status().expect("the device answers");
    Costs {
        board: board.to_owned(),
        rows,
        boot_us,
        self_test_us: status.self_test_us,
        stack_peak: status.stack_peak,
        storage_used: status.storage_used,
    }
}

/// The table.
pub(crate) fn print(costs: &Costs) {
    println!(
        "\n{}: cost of a command, channel and audit included, keys unwrapped before",
        costs.board
    );
    println!("{:<44}{:>14}{:>10}{:>10}", "command", "instructions", "bytes in", "bytes out");
    for Cost { name, instructions, to_device, to_host } in &costs.rows {
        println!("{name:<44}{instructions:>14.0}{to_device:>10}{to_host:>10}");
    }
    let self_tests = f64::from(costs.self_test_us) / 1000.0;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let boot = costs.boot_us as f64 / 1000.0;
    println!("\nstart, to first Info {boot:.1} million instructions");
    println!("power-up self-tests  {self_tests:.1} million instructions");
    println!("worst stack          {} bytes", costs.stack_peak);
    println!("flash used by records {} bytes", costs.storage_used);
}
