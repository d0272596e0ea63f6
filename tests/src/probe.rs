//! Looks into an emulated device: all its RAM by QEMU's monitor, registers and breakpoints by its
//! debugger interface. Only a device that a test boots as examined has either.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::emulator::Attachment;
use crate::patience::PATIENCE;

/// An area of a board's RAM, of its machine description. What an emulator maps to the file of the flash
/// is not RAM.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its address for the firmware.
    start: u32,
    /// Its address for the monitor.
    monitor: u32,
    /// Its bytes.
    size: usize,
}

/// RAM of the board.
fn places(attachment: Attachment) -> Vec<Place> {
    let areas = attachment.machine()["ram"].as_array().expect("areas of RAM");
    let place = |area: &toml::Value| {
        let number = |name: &str| area.get(name).map(|value| value.as_integer().expect("a number"));
        let address = |number: i64| u32::try_from(number).expect("an address");
        let start = address(number("start").expect("an address"));
        Place {
            start,
            monitor: number("monitor").map_or(start, address),
            size: usize::try_from(number("bytes").expect("a size")).expect("a size"),
        }
    };
    areas.iter().map(place).collect()
}

/// Arguments of the emulator for a device that will be examined; sockets are made in `directory`.
pub(crate) fn arguments(directory: &Path) -> Vec<String> {
    let socket = |name: &str| {
        let path = directory.join(name);
        format!("socket,id={name},path={},server=on,wait=off", path.display())
    };
    [
        "-chardev",
        &socket("monitor"),
        "-mon",
        "chardev=monitor,mode=readline",
        "-chardev",
        &socket("debugger"),
        "-gdb",
        "chardev:debugger",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// An area of RAM at one moment.
#[derive(Debug)]
pub struct Area {
    /// Its address.
    pub start: u32,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// All RAM of a device at one moment.
#[derive(Debug)]
pub struct Ram(pub Vec<Area>);

impl Ram {
    /// The bytes at an address.
    ///
    /// # Panics
    /// If they are not in one area.
    #[must_use]
    pub fn at(&self, start: u32, length: usize) -> &[u8] {
        let found = self.0.iter().find_map(|area| {
            let from = usize::try_from(start.checked_sub(area.start)?).ok()?;
            area.bytes.get(from..from + length)
        });
        found.expect("addresses of RAM")
    }
}

/// The monitor of an examined device.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    directory: PathBuf,
    attachment: Attachment,
}

impl Monitor {
    /// Connects to the monitor of the device whose flash is in `directory`.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn open(directory: &Path, attachment: Attachment) -> Self {
        let stream = connect(&directory.join("monitor"));
        let mut monitor = Self { stream, directory: directory.to_owned(), attachment };
        monitor.await_prompt();
        monitor
    }

    /// All RAM, while the device stands still.
    ///
    /// # Panics
    /// If the emulator does not write it.
    pub fn ram(&mut self) -> Ram {
        let runs = self.command("info status").contains("running");
        if runs {
            self.command("stop");
        }
        let path = self.directory.join("ram");
        let places = places(self.attachment).into_iter();
        let dump = |Place { start, monitor, size }: Place| {
            self.command(&format!("pmemsave {monitor:#x} {size:#x} \"{}\"", path.display()));
            let bytes = fs::read(&path).expect("the emulator has written it");
            assert_eq!(bytes.len(), size, "RAM at {start:#x}");
            Area { start, bytes }
        };
        let ram = Ram(places.map(dump).collect());
        if runs {
            self.command("cont");
        }
        ram
    }

    fn command(&mut self, line: &str) -> String {
        writeln!(self.stream, "{line}").expect("the monitor listens");
        self.await_prompt()
    }

    fn await_prompt(&mut self) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(b"(qemu) ") {
            self.stream.read_exact(&mut byte).expect("the monitor answers");
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// The debugger interface of an examined device (GDB remote serial protocol). The device stands still
/// until [`Debugger::run`].
#[derive(Debug)]
pub struct Debugger(UnixStream);

impl Debugger {
    /// Connects, and stops the device.
    ///
    /// # Panics
    /// If there is no such interface.
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        let mut debugger = Self(connect(&directory.join("debugger")));
        // Registers are written one by one only once their description was asked for.
        debugger.call("qSupported:xmlRegisters=i386");
        debugger.call("qXfer:features:read:target.xml:0,fff");
        debugger
    }

    /// Sets a register, by its number there.
    ///
    /// # Panics
    /// If it is refused.
    pub fn set_register(&mut self, number: u8, value: u32) {
        self.expect_ok(&format!("P{number:x}={}", hex(&value.to_le_bytes())));
    }

    /// Writes memory, whatever the device itself may do.
    ///
    /// # Panics
    /// If it is refused.
    pub fn write(&mut self, address: u32, bytes: &[u8]) {
        self.expect_ok(&format!("M{address:x},{:x}:{}", bytes.len(), hex(bytes)));
    }

    /// Lets the device run until it comes to an address; false if it does not within `patience`.
    /// Something may be done about it `meanwhile`.
    ///
    /// # Panics
    /// If the emulator is gone.
    pub fn run_to(&mut self, address: u32, patience: Duration, meanwhile: impl FnOnce()) -> bool {
        self.expect_ok(&format!("Z1,{address:x},2"));
        self.run();
        meanwhile();
        self.0.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let stopped = self.try_receive();
        self.0.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let Ok(stopped) = stopped else { return false };
        assert!(stopped.starts_with("T05"), "{stopped}");
        self.expect_ok(&format!("z1,{address:x},2"));
        true
    }

    /// Lets the device run.
    ///
    /// # Panics
    /// If the emulator is gone.
    pub fn run(&mut self) {
        self.send("c");
    }

    fn expect_ok(&mut self, packet: &str) {
        assert_eq!(self.call(packet), "OK", "{packet}");
    }

    fn call(&mut self, packet: &str) -> String {
        self.send(packet);
        loop {
            // That the device stands still is told at some time after connecting.
            let answer = self.receive();
            if !answer.starts_with('T') {
                return answer;
            }
        }
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}").expect("the debugger interface listens");
    }

    fn receive(&mut self) -> String {
        self.try_receive().expect("the debugger interface answers")
    }

    /// The next packet; it is acknowledged.
    fn try_receive(&mut self) -> io::Result<String> {
        let mut byte = || {
            let mut byte = [0];
            self.0.read_exact(&mut byte).map(|()| byte[0])
        };
        let mut packet = || -> io::Result<Vec<u8>> {
            while byte()? != b'$' {}
            let mut packet = Vec::new();
            loop {
                match byte()? {
                    b'#' => break,
                    other => packet.push(other),
                }
            }
            byte()?;
            byte()?;
            Ok(packet)
        };
        let packet = packet()?;
        self.0.write_all(b"+")?;
        String::from_utf8(packet).map_err(io::Error::other)
    }
}

/// Stores that have the time of a board's watchdog be over soon, as its machine description says: addresses and values.
///
/// # Panics
/// If it says nothing of the kind.
#[must_use]
pub fn hurry(board: Attachment) -> Vec<[u32; 2]> {
    let stores = board.machine()["watchdog"]["hurry"].as_array().expect("stores");
    let number =
        |value: &toml::Value| u32::try_from(value.as_integer().expect("a number")).expect("a word");
    stores.iter().map(|pair| [number(&pair[0]), number(&pair[1])]).collect()
}

/// Addresses of a linked image.
#[derive(Debug)]
pub struct Symbols(Vec<(String, u32)>);

impl Symbols {
    /// Reads the symbols of a 32-bit ELF.
    ///
    /// # Panics
    /// If it is malformed.
    #[must_use]
    pub fn read(image: &Path) -> Self {
        const SYMBOLS: u32 = 2;
        let elf = fs::read(image).expect("an image");
        let number = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().expect("4 bytes"));
        let offset = |at: usize| usize::try_from(number(at)).expect("an offset");
        let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
        let (sections, size, count) = (offset(32), half(46), half(48));
        let section = |index: usize| sections + index * size;
        let table = (0..count).map(section).find(|at| number(at + 4) == SYMBOLS);
        let table = table.expect("an image with symbols");
        let names = offset(section(offset(table + 24)) + 16);
        let entries = (offset(table + 16)..offset(table + 16) + offset(table + 20)).step_by(16);
        let symbol = |at: usize| {
            let name = elf[names + offset(at)..].split(|byte| *byte == 0).next().expect("one");
            (String::from_utf8_lossy(name).into_owned(), number(at + 4))
        };
        Self(entries.map(symbol).collect())
    }

    /// The address of a name.
    ///
    /// # Panics
    /// If the image has none of this name.
    #[must_use]
    pub fn address(&self, name: &str) -> u32 {
        self.find(name).unwrap_or_else(|| panic!("no symbol {name}"))
    }

    /// The address of a name, if the image has it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// The address of the function whose mangled name has all of these parts.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[must_use]
    pub fn function(&self, parts: &[&str]) -> u32 {
        let found = self.0.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
        let mut found: Vec<_> = found.map(|(_, address)| address & !1).collect();
        found.dedup();
        assert_eq!(found.len(), 1, "functions with {parts:?} in their names");
        found[0]
    }
}

fn connect(path: &Path) -> UnixStream {
    let by = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
                return stream;
            }
            Err(error) if Instant::now() > by => panic!("{}: {error}", path.display()),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
