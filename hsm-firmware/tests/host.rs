//! The in-process device: the firmware behind a socket pair.
#![allow(clippy::cast_possible_truncation)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsm_firmware::board::host::{Config, FlashImage, HostDevice, Registry};
use hsm_protocol::command::system::{DeviceInfo, Info, ModuleStatus, Reset, Status};
use hsm_protocol::frame::{Decoder, FrameKind, Header, MAX_ENCODED, encode};
use hsm_protocol::request::{RequestHead, ResponseHead};
use hsm_protocol::{Command, DeviceId, ErrorCode, ModuleState};

/// The host's end of a connection.
struct Line {
    stream: UnixStream,
    decoder: Box<Decoder<MAX_ENCODED>>,
}

/// Returns a function that reads from a socket and gives up after `limit` at the latest.
fn reader(
    socket: &UnixStream,
    limit: Duration,
) -> impl FnMut(&mut [u8], Duration) -> io::Result<Option<usize>> + Send + use<> {
    let mut socket = socket.try_clone().unwrap();
    move |out, patience| {
        socket.set_read_timeout(Some(patience.clamp(Duration::from_millis(1), limit)))?;
        socket.read(out).map(Some)
    }
}

impl Line {
    fn attach(device: &HostDevice) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        device.attach(reader(&far, Duration::from_secs(3600)), far).unwrap();
        Self { stream: near, decoder: Box::new(Decoder::new()) }
    }

    /// Sends a command outside the secure channel, and returns the body of the response.
    fn call<C: Command>(&mut self, command: &C) -> Result<Vec<u8>, ErrorCode> {
        let mut request = [0; 64];
        let head = RequestHead { opcode: C::OPCODE, id: 77, note: None };
        let head = head.write(&mut request).unwrap();
        let body = postcard::to_slice(command, &mut request[head..]).unwrap().len();
        let header = Header { kind: FrameKind::PlainRequest, session: 0, sequence: 9 };
        let mut encoded = vec![0; MAX_ENCODED];
        let len = encode(header, &request[..head + body], &mut encoded).unwrap();
        self.stream.write_all(&encoded[..len]).unwrap();

        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            if let Some(frame) = self.decoder.next(&mut &byte[..]) {
                assert_eq!(frame.header, Header { kind: FrameKind::PlainResponse, ..header });
                let (head, body) = ResponseHead::split(frame.payload).unwrap();
                assert_eq!(head.id, 77);
                return head.status.map_or(Ok(body.to_vec()), Err);
            }
        }
    }

    fn status(&mut self) -> ModuleStatus {
        postcard::from_bytes(&self.call(&Status).unwrap()).unwrap()
    }

    fn device(&mut self) -> DeviceId {
        self.status().device
    }
}

fn spawn(flash: FlashImage) -> HostDevice {
    HostDevice::spawn(Config { flash, sealing_key: None, registry: Registry::default() }).unwrap()
}

/// A directory for one test, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn flash(&self) -> FlashImage {
        FlashImage::File(self.0.join("flash.img"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn info_and_status() {
    let device = spawn(FlashImage::Memory);
    let mut line = Line::attach(&device);
    let info = line.call(&Info).unwrap();
    let info: DeviceInfo<'_> = postcard::from_bytes(&info).unwrap();
    assert_eq!(info.board, "host");
    assert_eq!(info.firmware, env!("CARGO_PKG_VERSION"));
    let status = line.status();
    assert_eq!(status.state, ModuleState::Uninitialised);
    assert_eq!(status.error, None);
    assert!(status.storage_used > 0 && status.storage_used < status.storage_size);
}

#[test]
fn a_device_keeps_its_identity_in_its_file() {
    let directory = Directory::new("identity");
    let mut seen = Vec::new();
    for epoch in 0..4 {
        let device = spawn(directory.flash());
        let status = Line::attach(&device).status();
        seen.push(status.device);
        assert_eq!(status.epoch, epoch + 1);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1);
    let new = Line::attach(&spawn(FlashImage::Memory)).device();
    assert_ne!(seen[0], new);
}

#[test]
fn lines_come_and_go() {
    let device = spawn(FlashImage::Memory);
    let id = Line::attach(&device).device();
    // A host that disconnects in the middle of a frame.
    let half = Line::attach(&device);
    (&half.stream).write_all(&[5, 1, 2]).unwrap();
    drop(half);
    // A host that disconnects before it reads its response.
    let mut deaf = Line::attach(&device);
    deaf.stream.write_all(&[1, 2, 0]).unwrap();
    drop(deaf);
    for _ in 0..20 {
        assert_eq!(Line::attach(&device).device(), id);
    }
}

#[test]
fn garbage_on_the_line() {
    let device = spawn(FlashImage::Memory);
    let mut line = Line::attach(&device);
    let id = line.device();
    for seed in 0..200u32 {
        let noise: Vec<u8> = (0..seed * 7).map(|n| (n * n + seed) as u8).collect();
        line.stream.write_all(&noise).unwrap();
        line.stream.write_all(&[0]).unwrap();
        assert_eq!(line.device(), id);
    }
}

#[test]
fn one_device_for_an_image() {
    let directory = Directory::new("lock");
    let first = spawn(directory.flash());
    let config =
        || Config { flash: directory.flash(), sealing_key: None, registry: Registry::default() };
    let error = HostDevice::spawn(config()).err().unwrap();
    assert!(error.to_string().contains("another device is running on it"), "{error}");
    drop(first);
    HostDevice::spawn(config()).unwrap();
}

#[test]
fn a_wrong_image_is_refused() {
    let directory = Directory::new("wrong");
    fs::write(directory.0.join("flash.img"), b"no flash").unwrap();
    let config =
        Config { flash: directory.flash(), sealing_key: None, registry: Registry::default() };
    let error = HostDevice::spawn(config).err().unwrap();
    assert!(error.to_string().contains("it must have 262144 bytes"), "{error}");
}

#[test]
fn damaged_records_are_the_error_state_and_reset_is_possible() {
    let directory = Directory::new("damaged");
    Line::attach(&spawn(directory.flash())).status();
    let path = directory.0.join("flash.img");
    let mut cells = fs::read(&path).unwrap();
    let header = cells.windows(4).position(|cells| cells == b"SRNV").unwrap();
    cells[header + 60] = 0;
    fs::write(&path, &cells).unwrap();

    let device = spawn(directory.flash());
    let mut line = Line::attach(&device);
    let status = line.status();
    assert_eq!((status.state, status.error), (ModuleState::Error, Some(ErrorCode::STORAGE_FAILED)));
    std::thread::sleep(Duration::from_millis(50));
    line.status();
    let begin = Instant::now();
    line.call(&Reset).unwrap();
    let after = line.status();
    // If the device had gone on without a restart, its uptime would include the time before the
    // reset.
    assert!(u128::from(after.uptime_us) < begin.elapsed().as_micros());
    assert_eq!(after.state, ModuleState::Error);
    assert_eq!(fs::read(&path).unwrap(), cells, "evidence was changed");
}

/// Long enough for everything that ends at all to end, on a machine of any speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Starts a device on this flash once the one before has ended.
fn next(directory: &Directory) -> HostDevice {
    let by = Instant::now() + PATIENCE;
    let config =
        || Config { flash: directory.flash(), sealing_key: None, registry: Registry::default() };
    loop {
        match HostDevice::spawn(config()) {
            Ok(device) => return device,
            Err(error) => assert!(Instant::now() < by, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether dropping a device takes less than a second. Other load only lengthens a drop, and not
/// every one: if dropping can be quick, it is so for one of many devices. `attach` may first open a
/// connection.
fn ends_promptly<T>(directory: &Directory, attach: impl Fn(&HostDevice) -> T) -> bool {
    (0..50).any(|_| {
        let device = next(directory);
        let _line = attach(&device);
        let begin = Instant::now();
        drop(device);
        begin.elapsed() < Duration::from_secs(1)
    })
}

#[test]
fn dropping_ends_the_thread() {
    let directory = Directory::new("drop");
    assert!(ends_promptly(&directory, |_| ()));
    assert!(ends_promptly(&directory, |device| drop(Line::attach(device))));
    assert!(ends_promptly(&directory, |device| {
        let (near, far) = UnixStream::pair().unwrap();
        device.attach(reader(&far, Duration::from_millis(20)), far).unwrap();
        near
    }));

    // Dropping waits only briefly for a reader that does not return; the device ends with its
    // connection.
    let device = next(&directory);
    let mut line = Line::attach(&device);
    line.status();
    drop(device);
    drop(line);
    drop(next(&directory));
}

#[test]
fn a_device_can_be_shared() {
    fn is_sync<T: Send + Sync>() {}
    is_sync::<HostDevice>();
}
