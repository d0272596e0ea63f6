//! A device in this process behind a TCP port, which can be exchanged like one that is plugged in.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hsm_firmware::board::host::{Config, FlashImage, HostDevice, Registry};

/// A port with a device behind it, or none.
pub struct Plug {
    line: String,
    device: Arc<Mutex<Option<HostDevice>>>,
}

impl Plug {
    /// A port without a device. It stays open as long as the test program runs.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let line = format!("tcp:{}", listener.local_addr().expect("an address"));
        let device = Arc::new(Mutex::new(None::<HostDevice>));
        let plugged = Arc::clone(&device);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let device = plugged.lock().unwrap_or_else(PoisonError::into_inner);
                // Without a device the connection ends at once.
                if let (Some(device), Ok(writer)) = (&*device, stream.try_clone()) {
                    let _ = device.attach(stream, writer);
                }
            }
        });
        Self { line, device }
    }

    /// Plugs in the device whose flash is this file; a fresh one if there is no such file.
    ///
    /// # Panics
    /// If the device does not start.
    pub fn plug(&self, flash: &Path) {
        let flash = FlashImage::File(flash.to_owned());
        let registry = Registry::default();
        let device = HostDevice::spawn(Config { flash, sealing_key: None, registry });
        let device = device.expect("the host board starts");
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
    }

    /// Unplugs it.
    pub fn unplug(&self) {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The line to it, in the form of `--hsm`.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}
