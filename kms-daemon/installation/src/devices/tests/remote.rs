//! A device behind a TCP port, for the tests of this crate and of `kmsctl`.

use std::net::TcpListener;

use hsm_firmware::board::host::{
    Config as SoftConfig, FlashImage, HostDevice, Registry, tcp_reader,
};

/// A fresh device behind a TCP port, for as long as the test program runs.
pub(crate) fn remote() -> String {
    let flash = FlashImage::Memory;
    let device =
        HostDevice::spawn(SoftConfig { flash, sealing_key: None, registry: Registry::default() })
            .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let writer = stream.unwrap();
            device.attach(tcp_reader(writer.try_clone().unwrap()), writer).unwrap();
        }
    });
    format!("tcp:{address}")
}
