//! Starts the devices that the daemon runs itself, and names every line.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use host_driver::emulator::{Attachment, Emulator, EmulatorConfig, Machine};
use host_driver::endpoint::Endpoint;
use host_driver::transport::Connector;
use host_driver::transport::loopback::{Loopback, LoopbackConnector};
use hsm_firmware::board::host::{Config as SoftConfig, FlashImage, HostDevice, Registry};

use super::{DevicesConfig, DevicesError, Line};
use crate::config::Link;

/// The board of emulated devices.
const BOARD: &str = "qemu_riscv32";

/// Devices that run inside or below this process; they end when it is dropped.
#[derive(Default)]
pub(super) struct Running {
    soft: Vec<Arc<Mutex<HostDevice>>>,
    emulated: Vec<Arc<Emulator>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in-process and {} emulated", self.soft.len(), self.emulated.len())
    }
}

/// Starts what `endpoints` ask for. Devices of one kind are numbered through all endpoints.
pub(super) fn start(
    endpoints: &[Endpoint],
    config: &DevicesConfig,
    dir: &Path,
) -> Result<(Vec<Line>, Running), DevicesError> {
    let (mut lines, mut running) = (Vec::new(), Running::default());
    let mut names = BTreeSet::new();
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Soft(count) => {
                for _ in 0..count.get() {
                    lines.push(soft(dir, &mut running)?);
                }
            }
            Endpoint::Qemu(count) => {
                for _ in 0..count.get() {
                    lines.push(qemu(dir, config, &mut running)?);
                }
            }
            Endpoint::Line(line) => {
                let name = line.to_string();
                if !names.insert(name.clone()) {
                    return Err(DevicesError::Repeated(name));
                }
                lines.push(Line { name, own: false, connector: line.connector() });
            }
        }
    }
    Ok((lines, running))
}

fn soft(dir: &Path, running: &mut Running) -> Result<Line, DevicesError> {
    let name = format!("soft-{}", running.soft.len());
    let path = dir.join(format!("{name}.flash"));
    // A key beside the flash would protect nothing, so the records are not sealed.
    let config = SoftConfig {
        flash: FlashImage::File(path.clone()),
        sealing_key: None,
        registry: Registry::default(),
    };
    let device = HostDevice::spawn(config).map_err(|source| DevicesError::Soft { path, source })?;
    let device = Arc::new(Mutex::new(device));
    running.soft.push(Arc::clone(&device));
    let attach = move |far: Loopback| {
        let device = device.lock().unwrap_or_else(PoisonError::into_inner);
        let Loopback { mut reader, writer } = far;
        device
            .attach(move |out: &mut [u8], patience| Ok(reader.read_timeout(out, patience)), writer)
    };
    Ok(Line { name, own: true, connector: Arc::new(LoopbackConnector(attach)) })
}

fn qemu(dir: &Path, config: &DevicesConfig, running: &mut Running) -> Result<Line, DevicesError> {
    let name = format!("qemu-{}", running.emulated.len());
    let firmware = config.firmware.clone().ok_or(DevicesError::NoFirmware)?;
    let machine = Machine::of_board(BOARD).ok().flatten().ok_or(DevicesError::NoMachine(BOARD))?;
    let (link, attachment) = match config.link {
        Link::Console => ("console", Attachment::Socket),
        Link::Uart => ("uart", Attachment::Pty),
    };
    let emulator = Emulator::start(&EmulatorConfig {
        machine,
        firmware,
        directory: dir.join(&name),
        link: Some(link.to_owned()),
        attachment,
        arguments: Vec::new(),
    })?;
    running.emulated.push(Arc::clone(&emulator));
    let connector: Arc<dyn Connector> = emulator;
    Ok(Line { name, own: true, connector })
}
