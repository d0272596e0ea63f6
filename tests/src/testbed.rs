//! A device under test, on any of the ways a host can reach one.
//!
//! A test body is a function of a [`Testbed`]; [`on_every_line!`](crate::on_every_line) makes a
//! test of it for each [`Line`].

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use host_driver::OperatorKey;
use host_driver::audit::NoLog;
use host_driver::ceremony::{self, MemoryLedger};
use host_driver::device::{Device, Options};
use host_driver::host_key::HostKey;
use host_driver::provision::{Goal, Plan, ProvisionError, provision};
use host_driver::transport::loopback::{self, Loopback};
use host_driver::transport::{Connector, Transport, TransportError};
pub use hsm_firmware::board::host::Registry;
use hsm_firmware::board::host::{Config, FlashImage, HostDevice};
use hsm_protocol::domain::{Change, DomainState};
use hsm_protocol::{AuditTag, ModuleState, Role};
use tempfile::TempDir;

use crate::emulator::{Attachment, Emulator};
use crate::patience::PATIENCE;
use crate::pico::{self, Pico};
use crate::wire::Wire;

/// Tag of calls whose audit entries no test looks at.
pub const TAG: AuditTag = AuditTag([0x5a; AuditTag::SIZE]);

/// How long the answer to the first status request is awaited meanwhile; to each further one twice as
/// long, since a slow machine answers, but later.
const STATUS: Duration = Duration::from_millis(300);

/// The ways to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// In this process: the firmware on its host board, with this registry.
    Host(Registry),
    /// QEMU, in one of three ways.
    Emulated(Attachment),
    /// The board `rp2040`, in an emulator of its own.
    Pico,
}

/// A device with its flash.
pub struct Testbed {
    line: Line,
    directory: TempDir,
    device: Running,
}

enum Running {
    Host(Mutex<HostDevice>),
    Emulated(Emulator),
    Pico(Pico),
}

impl Running {
    fn start(line: Line, directory: &Path) -> Self {
        match line {
            Line::Host(registry) => {
                let config = || {
                    let flash = FlashImage::File(directory.join("flash.img"));
                    Config { flash, sealing_key: Some([0x5e; 32].into()), registry }
                };
                // One that was stopped ends after what it is doing, which takes long on a slow machine.
                let by = Instant::now() + PATIENCE;
                let device = loop {
                    match HostDevice::spawn(config()) {
                        Err(error)
                            if error.kind() == ErrorKind::ResourceBusy && Instant::now() < by =>
                        {
                            thread::sleep(Duration::from_millis(20));
                        }
                        started => break started.expect("the host board starts"),
                    }
                };
                Self::Host(Mutex::new(device))
            }
            Line::Emulated(attachment) => Self::Emulated(Emulator::boot(directory, attachment)),
            Line::Pico => Self::Pico(Pico::boot(directory)),
        }
    }
}

/// Who rules and who uses the domain of a provisioned device.
#[derive(Debug)]
pub struct Hosts {
    /// Its one operator.
    pub operator: OperatorKey,
    /// May use keys.
    pub user: HostKey,
    /// May read the audit chain.
    pub auditor: HostKey,
    /// How the domain came to its state.
    pub ballots: MemoryLedger,
}

impl Hosts {
    /// Keys that no device knows yet.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            operator: OperatorKey::generate(),
            user: HostKey::generate(),
            auditor: HostKey::generate(),
            ballots: MemoryLedger::default(),
        }
    }

    /// Changes the domain of a device, which has a session of a host.
    ///
    /// # Panics
    /// If the device does not.
    pub fn change(&self, device: &Device, changes: &[Change<'_>]) -> DomainState {
        ceremony::change(&[device], changes, &self.operator, &self.ballots).expect("changed")
    }

    /// The ballot for a change of a state, signed.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn ballot(&self, state: &DomainState, changes: &[Change<'_>]) -> Vec<u8> {
        crate::ballots::ballot(&self.operator, state, changes).0
    }
}

impl Testbed {
    /// A fresh device.
    #[must_use]
    pub fn new(line: Line) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let device = Running::start(line, directory.path());
        Self { line, directory, device }
    }

    /// A fresh emulated device that can be examined ([`crate::probe`]); its noise is out of a file if
    /// there is one.
    #[must_use]
    pub fn examined(attachment: Attachment, noise: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let emulator = Emulator::boot_examined(directory.path(), attachment, noise);
        Self { line: Line::Emulated(attachment), directory, device: Running::Emulated(emulator) }
    }

    /// A fresh emulated device each of whose instructions takes 2^`shift` ns, at most 10, of the time that it counts.
    #[must_use]
    pub fn counted(attachment: Attachment, shift: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let emulator = Emulator::boot_counted(directory.path(), attachment, shift);
        Self { line: Line::Emulated(attachment), directory, device: Running::Emulated(emulator) }
    }

    /// As [`Testbed::power_cycle`], for a device that can be examined again. `meanwhile` may change
    /// what is in its directory.
    ///
    /// # Panics
    /// If the device is not emulated.
    #[must_use]
    pub fn power_cycle_examined(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { line, directory, device } = self;
        let Line::Emulated(attachment) = line else { panic!("{line:?} cannot be examined") };
        drop(device);
        meanwhile(directory.path());
        let emulator = Emulator::boot_examined(directory.path(), attachment, None);
        Self { line, directory, device: Running::Emulated(emulator) }
    }

    /// Name of the board.
    #[must_use]
    pub fn board(&self) -> &'static str {
        match self.line {
            Line::Host(_) => "host",
            Line::Emulated(attachment) => attachment.board(),
            Line::Pico => pico::BOARD,
        }
    }

    /// The kind of line.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    /// Where the device's flash is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Another device on the same kind of line.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.line)
    }

    /// Cuts the power and restores it. The host board is stopped: it has no power of its own.
    #[must_use]
    pub fn power_cycle(self) -> Self {
        self.power_cycle_with(|_| {})
    }

    /// The same; `meanwhile` may change what is in the device's directory.
    #[must_use]
    pub fn power_cycle_with(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { line, directory, device } = self;
        drop(device);
        meanwhile(directory.path());
        let device = Running::start(line, directory.path());
        Self { line, directory, device }
    }

    /// Waits for the device to be in `state`, while it may be restarting and lose requests.
    ///
    /// # Panics
    /// If it does not get there.
    pub fn await_state(&self, state: ModuleState) {
        let by = Instant::now() + PATIENCE;
        let mut wire = self.wire();
        let mut patience = STATUS;
        loop {
            let found = wire.try_status(patience);
            patience = PATIENCE.min(2 * patience);
            match found {
                Some(status) if status.state == state => return,
                found => assert!(Instant::now() < by, "the device is {found:?}, not {state:?}"),
            }
        }
    }

    /// Opens the line.
    ///
    /// # Panics
    /// If it stays closed.
    #[must_use]
    pub fn connect(&self) -> Box<dyn Transport> {
        match &self.device {
            Running::Host(device) => {
                let (near, far) = loopback::pair();
                let device = device.lock().expect("no test panicked with it");
                let Loopback { mut reader, writer } = far;
                // Gives up now and then, so that the device ends promptly.
                let tick = Duration::from_millis(50);
                let read = move |out: &mut [u8], patience: Duration| {
                    Ok(reader.read_timeout(out, patience.min(tick)))
                };
                device.attach(read, writer).expect("the device runs");
                Box::new(near)
            }
            Running::Emulated(emulator) => emulator.connect(),
            Running::Pico(emulator) => emulator.connect(),
        }
    }

    /// Opens the line without the driver, once the device listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn wire(&self) -> Wire {
        let mut wire = Wire::new(self.connect());
        wire.synchronise();
        wire
    }

    /// Opens the line with the driver; no session yet.
    ///
    /// # Panics
    /// If the device does not say who it is.
    #[must_use]
    pub fn device(&self) -> Device {
        let connector = || -> Result<_, TransportError> { Ok(self.connect()) };
        let options = Options { patience: PATIENCE, deadline: PATIENCE };
        Device::open(&connector, None, options).expect("the device introduces itself")
    }

    /// The device with a session of `host`.
    ///
    /// # Panics
    /// If the device does not know the host.
    #[must_use]
    pub fn device_as(&self, host: &HostKey) -> Device {
        let device = self.device();
        let session = device.authenticate(host).expect("the device knows the host");
        if session.role != Role::Bootstrap {
            device.synchronise_audit(&NoLog).expect("an enrolled host reads the chain");
        }
        device
    }

    /// Provisions a fresh device as the first of a new domain.
    ///
    /// # Panics
    /// If it is not fresh.
    #[must_use]
    pub fn provision(&self) -> Hosts {
        let hosts = Hosts::generate();
        self.enter(&hosts, Goal::Create("tests")).expect("a fresh device");
        hosts
    }

    /// Lets a fresh device join the domain of these devices.
    ///
    /// # Panics
    /// If it is not fresh, or the domain is not ruled by `hosts`.
    pub fn join(&self, hosts: &Hosts, members: &[&Self]) {
        let connectors: Vec<_> = members
            .iter()
            .map(|member| move || -> Result<_, TransportError> { Ok(member.connect()) })
            .collect();
        let connectors: Vec<&dyn Connector> =
            connectors.iter().map(|connector| connector as &dyn Connector).collect();
        self.enter(hosts, Goal::Join(&connectors)).expect("a fresh device");
    }

    fn enter(&self, hosts: &Hosts, goal: Goal<'_>) -> Result<(), ProvisionError> {
        let connector = || -> Result<_, TransportError> { Ok(self.connect()) };
        let plan = Plan {
            operator: &hosts.operator,
            host: &hosts.user,
            hosts: &[
                (hosts.user.public(), Role::CryptoUser),
                (hosts.auditor.public(), Role::Auditor),
            ],
            goal,
            roots: None,
            ledger: &hosts.ballots,
            options: Options { patience: PATIENCE, deadline: PATIENCE },
        };
        provision(&connector, &plan, &mut |_| {}).map(drop)
    }
}

/// Makes a test of each function for each line to a device.
#[macro_export]
macro_rules! on_every_line {
    ($($name:ident),+ $(,)?) => {
        $crate::on_every_line! { @ testbed: $($name),+ }
    };
    // Those that wait for devices that look for RSA key pairs, which takes minutes.
    (pairs: $($name:ident),+ $(,)?) => {
        $crate::on_every_line! { @ pairs: $($name),+ }
    };
    (@ $what:ident: $($name:ident),+) => {
        $crate::tests_in! { host, Testbed::new(Line::Host(Registry::default())); $($name),+ }
        $crate::on_every_board! { $what: $($name),+ }
        $crate::tests_in! { uart, Testbed::new(Line::Emulated(Attachment::UART)); $($name),+ }
        $crate::tests_in! { uart_pty, Testbed::new(Line::Emulated(Attachment::UART_PTY)); $($name),+ }
    };
    // Those over which a board with the real firmware is reached as a real one would be.
    (serial: $($name:ident),+ $(,)?) => {
        $crate::on_every_board! { serial: $($name),+ }
    };
}

// `on_every_board! { what: names }`, written by the build script: `on_board!` for each emulated board.
include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// Makes a test of each function for a board: what it is given is the board's name, how it is attached, or
/// a testbed.
#[macro_export]
macro_rules! on_board {
    ($board:ident named: $($name:ident),+) => {
        $crate::tests_in! { $board, stringify!($board); $($name),+ }
    };
    ($board:ident attached: $($name:ident),+) => {
        $crate::tests_in! { $board, Attachment::of(stringify!($board)); $($name),+ }
    };
    ($board:ident testbed: $($name:ident),+) => {
        $crate::tests_in! {
            $board, Testbed::new(Line::Emulated(Attachment::of(stringify!($board)))); $($name),+
        }
    };
    ($board:ident pairs: $($name:ident),+) => {
        $crate::tests_in! {
            $board, {
                if $crate::emulator::is_left_out(stringify!($board)) {
                    return;
                }
                Testbed::new(Line::Emulated(Attachment::of(stringify!($board))))
            };
            $($name),+
        }
    };
    ($board:ident serial: $($name:ident),+) => {
        $crate::tests_in! {
            $board, Testbed::new(Line::Emulated(Attachment::uart_of(stringify!($board)))); $($name),+
        }
    };
}

/// Makes a module with a test of each function, which is given the same.
#[macro_export]
macro_rules! tests_in {
    ($module:ident, $given:expr; $($name:ident),+) => {
        mod $module {
            #[allow(unused_imports)]
            use $crate::{emulator::Attachment, testbed::{Line, Registry, Testbed}};

            $(#[test]
            fn $name() {
                super::$name($given);
            })+
        }
    };
}
