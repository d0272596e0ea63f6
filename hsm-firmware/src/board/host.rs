//! The firmware in a process of the host: the same core, records and main loop, on a thread.
//!
//! Nothing is simulated but the flash chip, which is a file: a device keeps its identity and its
//! domain keys there, like one with a chip.

mod aws_lc;
mod flash;
mod platform;
mod port;
mod search;

pub use aws_lc::AWS_LC;
pub use flash::FlashImage;
pub use port::{LineReader, tcp_reader};

use std::boxed::Box;
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hsm_core::Hsm;
use hsm_core::memory::Memory;
use hsm_protocol::frame::MAX_ENCODED;
use hsm_protocol::reset::{ResetReason, ResetReport};
use zeroize::Zeroizing;

use crate::chip::thread_stack;
use crate::serve::{Line, LineBuffers, Runtime, serve};
use flash::SharedFlash;
use platform::HostBoard;
use port::StreamPort;

/// Stack of the device's thread, in bytes: as for the chip with room for unoptimised builds.
const STACK: usize = 8 << 20;
/// Bytes of it that are erased before the device waits, from the main loop down.
const USED_STACK: usize = 256 << 10;
/// How long dropping a device waits for its thread.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a device is made of.
pub struct Config {
    /// The flash.
    pub flash: FlashImage,
    /// Key that seals the records in the flash; `None` to store them unsealed. It must be the same
    /// for the life of the image.
    pub sealing_key: Option<Zeroizing<[u8; 32]>>,
    /// Who computes.
    pub registry: Registry,
}

/// The registries that a host may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Registry {
    /// [`AWS_LC`].
    #[default]
    AwsLc,
    /// That of the emulated boards: [`hsm_core::algorithm::PORTABLE`].
    Portable,
}

/// A device on a thread of its own.
///
/// It serves one line at a time, in the order in which they are attached, each until it ends; its
/// sessions live on between them. Dropping the device ends it: after the present request, once the
/// reader of its line returns.
pub struct HostDevice {
    lines: Sender<Ends>,
    stop: Arc<AtomicBool>,
    /// Disconnected when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl HostDevice {
    /// Opens the flash and starts a device on it. A fault that the device itself finds, such as
    /// damaged records, is its error state, not an error here.
    ///
    /// # Errors
    /// If the flash image cannot be opened or the thread not be started.
    pub fn spawn(config: Config) -> io::Result<Self> {
        let Config { flash, sealing_key, registry } = config;
        let flash = flash.open()?;
        let (lines, attached) = channel();
        let (alive, ended) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new().name("hsm".into()).stack_size(STACK).spawn(move || {
            let _alive: Sender<()> = alive;
            let flash = SharedFlash::new(flash);
            let device = Device { flash, sealing_key, registry, stopped };
            device.run(&attached);
        })?;
        Ok(Self { lines, stop, ended: Mutex::new(ended) })
    }

    /// Connects a line: `reader` has what the host sends, `writer` takes what the device answers.
    ///
    /// The line ends when `reader` reads 0 bytes or either fails. A reader that gives up now and then
    /// before its time lets the device end promptly.
    ///
    /// # Errors
    /// If the device has ended.
    pub fn attach(
        &self,
        reader: impl FnMut(&mut [u8], Duration) -> io::Result<Option<usize>> + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> io::Result<()> {
        let ends: Ends = (Box::new(reader), Box::new(writer));
        self.lines.send(ends).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for HostDevice {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes a thread that waits for a line.
        self.lines = channel().0;
        // A thread that waits for its line's reader cannot be woken, and ends with the line.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(FAREWELL);
    }
}

/// The two directions of a line.
type Ends = (LineReader, Box<dyn Write + Send>);

/// What the thread runs.
struct Device {
    flash: SharedFlash,
    sealing_key: Option<Zeroizing<[u8; 32]>>,
    registry: Registry,
    stopped: Arc<AtomicBool>,
}

impl Device {
    /// Boots again after each reset, until the device is dropped.
    fn run(self, attached: &Receiver<Ends>) {
        let mut present = None;
        let patience = Rc::new(Cell::new(Duration::ZERO));
        let mut reason = ResetReason::POWER_ON;
        while !self.stopped.load(Ordering::Relaxed) {
            let reset = Rc::new(Cell::new(false));
            let (flash, sealing_key) = (self.flash.clone(), self.sealing_key.clone());
            let boot = Instant::now();
            let last = ResetReport { reason, failures: 0 };
            let board =
                HostBoard::new(flash, sealing_key, self.registry, boot, Rc::clone(&reset), last);
            reason = ResetReason::SOFTWARE;
            let mut hsm = Box::new(Hsm::new(board, Memory::boxed()));
            hsm.start();
            while !reset.get() {
                let port: &mut StreamPort = match &mut present {
                    Some(port) => port,
                    None => match attached.recv() {
                        Ok((reader, writer)) => {
                            let patience = Rc::clone(&patience);
                            present.insert(StreamPort::new(reader, writer, patience))
                        }
                        Err(_) => return,
                    },
                };
                let ended = port.ended();
                let mut buffers = Box::new(LineBuffers::<MAX_ENCODED>::new());
                let stopped = &self.stopped;
                let mut until =
                    Until { reset: &reset, ended: &ended, stopped, boot, patience: &patience };
                serve(&mut *hsm, &mut [Line::new(port, &mut buffers)], &mut until);
                if ended.load(Ordering::Relaxed) {
                    present = None;
                }
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

/// Overwrites what commands left on the stack. Called as deep as they are, from the main loop.
fn erase_stack() {
    thread_stack::erase::<{ USED_STACK / size_of::<u64>() }>();
}

/// When the main loop ends here.
struct Until<'a> {
    reset: &'a Cell<bool>,
    ended: &'a AtomicBool,
    stopped: &'a AtomicBool,
    boot: Instant,
    /// How long the port may wait.
    patience: &'a Cell<Duration>,
}

impl Runtime for Until<'_> {
    /// The one port waits itself, in its reader.
    fn wait(&mut self, alarm: Option<u64>) {
        let left = |alarm| Duration::from_micros(alarm).saturating_sub(self.boot.elapsed());
        self.patience.set(alarm.map_or(Duration::MAX, left));
    }

    fn should_stop(&mut self) -> bool {
        let [ended, stopped] = [self.ended, self.stopped].map(|flag| flag.load(Ordering::Relaxed));
        self.reset.get() || ended || stopped
    }

    /// There is none: a thread cannot be ended from outside. The host's timeouts notice a device that
    /// hangs, and the program that it is a part of is supervised by the operating system.
    fn feed_watchdog(&mut self) {}
}
