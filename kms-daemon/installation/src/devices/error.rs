//! Why devices cannot be used, and what would be lost without them.

use std::io;
use std::path::PathBuf;

use host_driver::key_file::KeyFileError;
use hsm_protocol::{DeviceId, DomainId};

use kms_keys::CatalogError;

/// Why devices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// A value of `--hsm` names no device.
    #[error(transparent)]
    Endpoint(#[from] host_driver::endpoint::BadEndpoint),
    /// A Region without devices.
    #[error("no --hsm is for {0}; add one, for example --hsm {0}=soft")]
    NoneFor(String),
    /// Two values of `--hsm` name the same device.
    #[error("--hsm {0} is given twice")]
    Repeated(String),
    /// QEMU devices need a firmware image.
    #[error("--hsm qemu needs --firmware FILE; build one with `cargo xtask firmware`")]
    NoFirmware,
    /// This build has no description of the emulated machine.
    #[error("this build has no machine description of the board {0}")]
    NoMachine(String),
    /// Emulated devices of two boards.
    #[error(
        "{first}, but {second}; the emulated devices of a Region are of one board, as --firmware is one image. \
         Name the board of the flash that is there (--hsm qemu:BOARD), or take another data directory (--data DIR)"
    )]
    Boards {
        /// Where the first board is named.
        first: String,
        /// Where another one is.
        second: String,
    },
    /// An emulator does not start.
    #[error(transparent)]
    Emulator(#[from] host_driver::emulator::EmulatorError),
    /// The flash of a known device is gone.
    #[error(
        "{endpoint} is missing: its flash {path} is not there, which was device {device}. Put it back \
         from a backup; or, if another device of the domain is in service, stop kmsd and let a fresh \
         one take its place: kmsctl hsm forget {endpoint} --region {region}"
    )]
    FlashMissing {
        /// The line.
        endpoint: String,
        /// The device that was there.
        device: DeviceId,
        /// Where its flash was.
        path: PathBuf,
        /// The Region.
        region: String,
    },
    /// The store cannot be read.
    #[error("cannot determine the domain of the keys: {0}")]
    Keys(#[from] CatalogError),
    /// A host key cannot be used.
    #[error(transparent)]
    HostKey(#[from] KeyFileError),
    /// A file cannot be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The registry is damaged.
    #[error(
        "{0} is damaged, so it is not known which devices are the right ones, and none is used. Put it back \
         from a backup (kmsctl restore FILE --data OTHER, and copy it from there), or move it away: then the \
         devices that answer are trusted anew, if they are of the domain that the keys are of. Then restart kmsd"
    )]
    Registry(PathBuf),
    /// A device does not work.
    #[error("{endpoint}: {reason}")]
    Device {
        /// The line.
        endpoint: String,
        /// What the driver said, and what to do.
        reason: String,
    },
    /// A device was never set up.
    #[error("{endpoint} is not provisioned; run: kmsctl hsm provision {endpoint}")]
    NotProvisioned {
        /// The line.
        endpoint: String,
    },
    /// The operators of the domain have not taken a device in.
    #[error(
        "{endpoint} is fresh, and the operators of the domain {domain} have not made it a member; they do \
         so with: kmsctl domain propose --add-device {endpoint}"
    )]
    NotApproved {
        /// The line.
        endpoint: String,
        /// The domain.
        domain: DomainId,
    },
    /// Another device is where a known one was.
    #[error(
        "{endpoint} leads to device {found}, but was device {known}; put that one back, or, if the \
         change is intended, stop kmsd and run: kmsctl hsm forget {endpoint}"
    )]
    AnotherDevice {
        /// The line.
        endpoint: String,
        /// The device that was there.
        known: DeviceId,
        /// The device that is there.
        found: DeviceId,
    },
    /// A device belongs to another domain.
    #[error(
        "{endpoint} is of domain {found}, the keys here are of domain {known}; use another data \
         directory, or let it join after `kmsctl hsm zeroise` and `kmsctl hsm reset`"
    )]
    AnotherDomain {
        /// The line.
        endpoint: String,
        /// The domain of the data directory.
        known: DomainId,
        /// The domain of the device.
        found: DomainId,
    },
    /// A domain is being founded, and not there yet.
    #[error(
        "a domain is being founded for {region} on a device of its own, so no development domain is made: \
         have its operators sign, then run kmsctl domain submit; to give it up remove {path}"
    )]
    BeingFounded {
        /// The Region.
        region: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// No device of the domain is there any more.
    #[error("{}", lost.explain(*domain))]
    DomainLost {
        /// The domain.
        domain: DomainId,
        /// What is missing.
        lost: Box<Lost>,
    },
    /// The operating system gave no threads.
    #[error("cannot start the device pool: {0}")]
    Pool(io::Error),
}

/// What is known of a domain none of whose devices is there.
#[derive(Debug)]
pub struct Lost {
    /// The Region that it is of.
    pub region: String,
    /// The store that has keys of it, if there are any.
    pub store: Option<PathBuf>,
    /// Its devices, as far as they are known.
    pub devices: Vec<String>,
    /// Where they were looked for.
    pub looked: Vec<String>,
}

impl Lost {
    /// What is missing, what that means, and what to do.
    fn explain(&self, domain: DomainId) -> String {
        let Self { region, store, devices, looked } = self;
        let devices = match devices.as_slice() {
            [] => "its devices are not known by name".to_owned(),
            devices => format!("its devices were {}", devices.join(", ")),
        };
        let looked = looked.join(", ");
        match store {
            Some(store) => format!(
                "there is no device of domain {domain}, and the keys of {region} in {} open in no \
                 other domain: without one, every one of them is permanently lost. Looked at: \
                 {looked}; {devices}. Restore the flash from a backup, or connect a device of the \
                 domain (--hsm); to start over without these keys, use a fresh data directory \
                 (--data DIR)",
                store.display()
            ),
            None => format!(
                "there is no device of domain {domain}, with which {region} was set up. Looked at: \
                 {looked}; {devices}. Restore the flash from a backup, or connect a device of the \
                 domain (--hsm); to start over, use a fresh data directory (--data DIR)"
            ),
        }
    }
}
