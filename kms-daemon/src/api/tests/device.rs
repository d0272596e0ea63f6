//! The HSM of these tests: the real core, in this process, behind the real link and channel.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};
use std::thread;

use host_driver::device::{Device, Options};
use host_driver::transport::loopback::{Loopback, LoopbackConnector};
use host_driver::{HostKey, block_on};
use hsm_core::Hsm;
use hsm_core::testing::MemoryPlatform;
use hsm_protocol::command::domain::{CreateDomain, EnrolHost, Initialise};
use hsm_protocol::frame::{Decoder, MAX_ENCODED};
use hsm_protocol::{AuditTag, Role};

use crate::engine::Engine;

/// One device serves all tests: it keeps no keys, so they cannot meet in it.
static DEVICE: LazyLock<Arc<Device>> = LazyLock::new(|| Arc::new(provision()));

pub(super) fn engine() -> Engine {
    Engine::new(DEVICE.clone())
}

fn provision() -> Device {
    let (provisioner, user) = (HostKey::generate(), HostKey::generate());
    let (requests, lines) = std::sync::mpsc::channel::<Loopback>();
    thread::spawn(move || serve(&lines));
    let requests = std::sync::Mutex::new(requests);
    let connector = LoopbackConnector(move |line| {
        requests.lock().unwrap().send(line).map_err(std::io::Error::other)
    });
    let tag = AuditTag::default();
    let device = Device::open(&connector, None, Options::default()).unwrap();
    device.authenticate(&provisioner).unwrap();
    block_on(device.call(&Initialise, tag)).unwrap();
    device.authenticate(&provisioner).unwrap();
    block_on(device.call(&CreateDomain, tag)).unwrap();
    let enrol = EnrolHost { key: user.public(), role: Role::CryptoUser };
    block_on(device.call(&enrol, tag)).unwrap();
    device.authenticate(&user).unwrap();
    device
}

fn serve(lines: &std::sync::mpsc::Receiver<Loopback>) {
    let mut hsm = Box::new(Hsm::boot(MemoryPlatform::new()));
    let mut decoder = Box::new(Decoder::<MAX_ENCODED>::new());
    let (mut input, mut reply) = (vec![0; 4096], vec![0; MAX_ENCODED]);
    for mut line in lines {
        while let Ok(length @ 1..) = line.reader.read(&mut input) {
            let mut bytes = &input[..length];
            while let Some(frame) = decoder.next(&mut bytes) {
                let length = hsm.process(frame, &mut reply);
                if line.writer.write_all(&reply[..length]).is_err() {
                    break;
                }
            }
        }
    }
}
