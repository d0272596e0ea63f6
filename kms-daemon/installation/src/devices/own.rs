//! Devices that the daemon runs itself. Each is started once its flash exists, so that a device
//! whose flash is put back comes into service, and a missing flash is not replaced.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use host_driver::emulator::{Emulator, EmulatorConfig, EmulatorError};
use host_driver::transport::loopback::{self, Loopback};
use host_driver::transport::{Connector, Transport, TransportError};
use hsm_firmware::board::host::{Config as SoftConfig, FlashImage, HostDevice, Registry};

use kms_base::durable;

/// A device that the daemon runs.
pub(super) struct Own {
    name: String,
    kind: Kind,
    /// Its flash.
    flash: PathBuf,
    /// Whether it is started without a flash: a new device then.
    may_be_made: AtomicBool,
    /// What is said while its flash is missing.
    missing: Mutex<String>,
    running: Mutex<Option<Device>>,
    /// It is not started any more.
    ended: AtomicBool,
}

/// How it is run.
pub(super) enum Kind {
    /// In this process.
    Soft,
    /// By QEMU.
    Qemu(Box<EmulatorConfig>),
}

enum Device {
    Soft(HostDevice),
    Emulated(Arc<Emulator>),
}

/// Why one does not run.
#[derive(Debug)]
pub(super) enum OwnError {
    /// Its flash is not there.
    Missing(String),
    /// The process or its files.
    Io(io::Error),
    /// The emulator.
    Emulator(EmulatorError),
}

impl Own {
    pub(super) fn new(name: String, kind: Kind, dir: &Path) -> Arc<Self> {
        let flash = flash_of(dir, &name);
        let missing = format!("its flash {} is missing", flash.display());
        Arc::new(Self {
            name,
            kind,
            flash,
            may_be_made: AtomicBool::new(false),
            missing: Mutex::new(missing),
            running: Mutex::new(None),
            ended: AtomicBool::new(false),
        })
    }

    /// Where its flash is, or would be.
    pub(super) fn flash(&self) -> &Path {
        &self.flash
    }

    pub(super) fn is_emulated(&self) -> bool {
        matches!(self.kind, Kind::Qemu(_))
    }

    /// Whether it neither runs nor has a flash to run on.
    pub(super) fn is_absent(&self) -> bool {
        self.lock().is_none() && !self.flash.exists()
    }

    /// Lets a new device be made.
    pub(super) fn may_be_made(&self) {
        self.may_be_made.store(true, Ordering::Release);
    }

    /// Sets what is said while its flash is missing.
    pub(super) fn say(&self, missing: &str) {
        missing.clone_into(&mut self.missing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Starts it, unless it runs or its flash is missing.
    pub(super) fn start(&self) -> Result<(), OwnError> {
        self.running().map(drop)
    }

    fn running(&self) -> Result<MutexGuard<'_, Option<Device>>, OwnError> {
        let mut running = self.lock();
        if running.is_none() {
            if self.ended.load(Ordering::Acquire) {
                return Err(OwnError::Io(io::ErrorKind::BrokenPipe.into()));
            }
            if !self.flash.exists() && !self.may_be_made.load(Ordering::Acquire) {
                let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(OwnError::Missing(missing.clone()));
            }
            if let Some(dir) = self.flash.parent() {
                durable::create_private_dir(dir).map_err(OwnError::Io)?;
            }
            *running = Some(match &self.kind {
                Kind::Soft => Device::Soft(soft(&self.flash).map_err(OwnError::Io)?),
                Kind::Qemu(config) => {
                    Device::Emulated(Emulator::start(config).map_err(OwnError::Emulator)?)
                }
            });
            // What is missing from now on is lost, not new.
            self.may_be_made.store(false, Ordering::Release);
        }
        Ok(running)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Device>> {
        // Set in one step: a panic elsewhere leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the flash of a device of this name is, in the directory of its Region.
pub(super) fn flash_of(dir: &Path, name: &str) -> PathBuf {
    match name.starts_with("soft-") {
        true => dir.join(format!("{name}.flash")),
        false => dir.join(name).join("flash.img"),
    }
}

fn soft(flash: &Path) -> io::Result<HostDevice> {
    // A key beside the flash would protect nothing, so the records are not sealed.
    HostDevice::spawn(SoftConfig {
        flash: FlashImage::File(flash.to_owned()),
        sealing_key: None,
        registry: Registry::default(),
    })
}

impl Connector for Own {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let failed = |source| TransportError::Open {
            target: format!("the device {}", self.name),
            source,
            advice: "it will be tried again",
        };
        let running = self.running().map_err(|error| match error {
            OwnError::Missing(text) => failed(io::Error::new(io::ErrorKind::NotFound, text)),
            OwnError::Io(source) => failed(source),
            OwnError::Emulator(error) => failed(io::Error::other(error)),
        })?;
        match &*running {
            Some(Device::Soft(device)) => {
                let (near, far) = loopback::pair();
                let Loopback { mut reader, writer } = far;
                let read = move |out: &mut [u8], patience| Ok(reader.read_timeout(out, patience));
                device.attach(read, writer).map_err(|source| TransportError::Open {
                    target: "the in-process device".to_owned(),
                    source,
                    advice: "restart the process",
                })?;
                Ok(Box::new(near))
            }
            Some(Device::Emulated(emulator)) => {
                let emulator = Arc::clone(emulator);
                drop(running);
                emulator.connect()
            }
            None => Err(TransportError::Closed),
        }
    }
}

impl Own {
    /// Ends it for good.
    pub(super) fn end(&self) {
        let mut running = self.lock();
        self.ended.store(true, Ordering::Release);
        drop(running.take());
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.flash.display())
    }
}
