//! Names every line, and starts those devices of the daemon's own whose flash exists.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use host_driver::emulator::{Attachment, EmulatorConfig, EmulatorError, Machine};
use host_driver::endpoint::Endpoint;
use host_driver::transport::{Transport, TransportError};

use super::own::{Kind, Own, OwnError};
use super::{DevicesConfig, DevicesError, Line};

/// The board of emulated devices.
const BOARD: &str = "qemu_riscv32";

/// Devices that run inside or below this process; they end when it is dropped.
#[derive(Default)]
pub(super) struct Running(Vec<Arc<Own>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(|own| own.end());
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let emulated = self.0.iter().filter(|own| own.is_emulated()).count();
        write!(f, "{} in-process and {emulated} emulated", self.0.len() - emulated)
    }
}

/// Starts what `endpoints` ask for. Devices of one kind are numbered through all endpoints. One that
/// has no flash is not made here.
pub(super) fn start(
    endpoints: &[Endpoint],
    config: &DevicesConfig,
    dir: &Path,
) -> Result<(Vec<Line>, Running), DevicesError> {
    let (mut lines, mut running) = (Vec::new(), Running::default());
    let (mut soft, mut emulated) = (0, 0);
    let mut names = BTreeSet::new();
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Soft(count) => {
                for _ in 0..count.get() {
                    let own = Own::new(format!("soft-{soft}"), Kind::Soft, dir);
                    lines.push(run(format!("soft-{soft}"), own, &mut running)?);
                    soft += 1;
                }
            }
            Endpoint::Qemu(count) => {
                for _ in 0..count.get() {
                    let name = format!("qemu-{emulated}");
                    let own = Own::new(name.clone(), qemu(dir, &name, config)?, dir);
                    lines.push(run(name, own, &mut running)?);
                    emulated += 1;
                }
            }
            Endpoint::Line(line) => {
                let name = line.to_string();
                if !names.insert(name.clone()) {
                    return Err(DevicesError::Repeated(name));
                }
                lines.push(Line { name, own: None, connector: line.connector() });
            }
        }
    }
    Ok((lines, running))
}

/// Starts a device, if its flash is there. What prevents that now may be over when the pool tries.
fn run(name: String, own: Arc<Own>, running: &mut Running) -> Result<Line, DevicesError> {
    match own.start() {
        Ok(()) | Err(OwnError::Missing(_)) => {}
        Err(OwnError::Emulator(error)) => return Err(error.into()),
        Err(OwnError::Io(error)) => {
            let path = own.flash().display();
            tracing::error!(%error, name, %path, "the in-process device does not start");
        }
    }
    running.0.push(Arc::clone(&own));
    let connector = Arc::clone(&own);
    Ok(Line { name, own: Some(own), connector })
}

/// The names of the lines that `endpoints` ask for, each to a device that is out of reach because of
/// `trouble`.
pub(super) fn unusable(endpoints: &[Endpoint], trouble: &str) -> Result<Vec<Line>, DevicesError> {
    let (mut soft, mut emulated) = (0, 0);
    let mut names = Vec::new();
    let numbered = |kind: &str, next: &mut u32, count: u8| {
        let numbers = *next..*next + u32::from(count);
        *next = numbers.end;
        numbers.map(|number| format!("{kind}-{number}")).collect::<Vec<_>>()
    };
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Soft(count) => names.extend(numbered("soft", &mut soft, count.get())),
            Endpoint::Qemu(count) => names.extend(numbered("qemu", &mut emulated, count.get())),
            Endpoint::Line(line) => names.push(line.to_string()),
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(DevicesError::Repeated(twice.clone()));
    }
    let line = |name: String| {
        let (target, trouble) = (name.clone(), trouble.to_owned());
        let connect = move || -> Result<Box<dyn Transport>, TransportError> {
            Err(TransportError::Open {
                target: target.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, trouble.clone()),
                advice: "nothing is tried before that",
            })
        };
        Line { name, own: None, connector: Arc::new(connect) }
    };
    Ok(names.into_iter().map(line).collect())
}

fn qemu(dir: &Path, name: &str, config: &DevicesConfig) -> Result<Kind, DevicesError> {
    let firmware = config.firmware.clone().ok_or(DevicesError::NoFirmware)?;
    if !firmware.is_file() {
        return Err(EmulatorError::NoFirmware(firmware.display().to_string()).into());
    }
    let machine = Machine::of_board(BOARD).ok().flatten().ok_or(DevicesError::NoMachine(BOARD))?;
    let (link, attachment) = match config.link {
        super::Link::Console => ("console", Attachment::Socket),
        super::Link::Uart => ("uart", Attachment::Pty),
    };
    Ok(Kind::Qemu(Box::new(EmulatorConfig {
        machine,
        firmware,
        directory: dir.join(name),
        link: Some(link.to_owned()),
        attachment,
        arguments: Vec::new(),
    })))
}
