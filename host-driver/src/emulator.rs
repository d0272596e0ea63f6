//! QEMU devices: started from a machine description, supervised, gone with their parent.
//!
//! An emulated device is a directory: its flash image, and a lock that keeps two daemons from
//! sharing it. QEMU runs under `setpriv --pdeathsig`, so that it does not outlive a parent that is
//! killed; if QEMU itself dies it is started again.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::transport::serial::Serial;
use crate::transport::unix::Unix;
use crate::transport::{Connector, Transport, TransportError};

mod machine;

pub use machine::{Machine, MachineError};

/// How long a connection waits for the emulator's end of the line.
const LINE_PATIENCE: Duration = Duration::from_secs(5);
/// How often the supervisor looks after its child.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);
/// A run this long was a success: the next restart is immediate.
const STABLE: Duration = Duration::from_secs(10);
/// Longest pause between restarts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest path of a socket, in bytes (`sun_path` in unix(7)).
const MAX_SOCKET_PATH: usize = 100;

/// How the device is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// virtio-console over a Unix socket: the fast line.
    Console,
    /// UART on a pseudo-terminal: a serial line like any other.
    Uart,
}

/// What an emulated device is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The machine.
    pub machine: Machine,
    /// Linked firmware image (ELF).
    pub firmware: PathBuf,
    /// Directory of the device's flash.
    pub directory: PathBuf,
    /// The line.
    pub attachment: Attachment,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
}

/// Why an emulated device does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// A program is missing.
    #[error("{program} is not installed; on Debian and Ubuntu: apt-get install {package}")]
    Missing {
        /// The program.
        program: String,
        /// The package that has it.
        package: String,
    },
    /// There is no firmware image.
    #[error("no firmware image at {0}; build it with `cargo xtask firmware`")]
    NoFirmware(PathBuf),
    /// Another process uses the device.
    #[error(
        "the device in {0} is in use by another process; stop that one, or use another directory"
    )]
    InUse(PathBuf),
    /// The flash image has been cut or extended.
    #[error("{path} has {found} bytes, the machine's flash has {expected}; restore the image")]
    FlashSize {
        /// The image.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size it must have.
        expected: u64,
    },
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The operating system's reason.
        source: io::Error,
    },
}

/// A supervised QEMU device. Dropping it stops QEMU.
pub struct Emulator {
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    attachment: Attachment,
}

#[derive(Default)]
struct State {
    /// Where the line is, while QEMU runs.
    line: Option<PathBuf>,
    /// QEMU's process id.
    process: Option<u32>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_line(&self, line: Option<PathBuf>, process: Option<u32>) {
        let mut state = self.lock();
        (state.line, state.process) = (line, process);
        self.changed.notify_all();
    }

    /// Waits; true if the emulator is to stop.
    fn pause(&self, time: Duration) -> bool {
        let by = Instant::now() + time;
        let mut state = self.lock();
        while !state.stop {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

impl Emulator {
    /// Starts QEMU; a directory without flash gets a blank one.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn start(options: Options) -> Result<Self, EmulatorError> {
        if !options.firmware.is_file() {
            return Err(EmulatorError::NoFirmware(options.firmware));
        }
        let io = |what: String| move |source| EmulatorError::Io { what, source };
        let directory = &options.directory;
        fs::create_dir_all(directory).map_err(io(format!("make {}", directory.display())))?;
        let lock = lock_directory(directory)?;
        let flash = directory.join("flash.img");
        prepare_flash(&options.machine, &flash)?;

        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            attachment: options.attachment,
        });
        let (started, first) = mpsc::sync_channel(1);
        let supervisor = {
            let shared = Arc::clone(&shared);
            // The thread that starts QEMU must live as long as QEMU: see prctl(2), PR_SET_PDEATHSIG.
            thread::Builder::new()
                .name("emulator".to_owned())
                .spawn(move || supervise(&options, &flash, &shared, &lock, &started))
                .map_err(io("start a thread".to_owned()))?
        };
        let emulator = Self { shared, supervisor: Some(supervisor) };
        match first.recv() {
            Ok(Ok(())) => Ok(emulator),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io("start the emulator".to_owned())(io::Error::other("it vanished"))),
        }
    }

    /// What connects to the device, also after it was started again.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(EmulatorConnector(Arc::clone(&self.shared)))
    }

    /// QEMU's process id, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.shared.lock().process
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(supervisor) = self.supervisor.take() {
            let _ = supervisor.join();
        }
    }
}

struct EmulatorConnector(Arc<Shared>);

impl Connector for EmulatorConnector {
    fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let by = Instant::now() + LINE_PATIENCE;
        loop {
            let line = self.0.lock().line.clone();
            let opened = match (&line, self.0.attachment) {
                (None, _) => Err(TransportError::Open {
                    target: "qemu".to_owned(),
                    source: io::Error::from(io::ErrorKind::NotConnected),
                    advice: "the emulator is not running; the log says why",
                }),
                (Some(path), Attachment::Console) => {
                    Unix::connect(path).map(|line| Box::new(line) as Box<dyn Transport>)
                }
                (Some(path), Attachment::Uart) => {
                    Serial::open(&path.display().to_string(), 115_200)
                        .map(|line| Box::new(line) as Box<dyn Transport>)
                }
            };
            if opened.is_ok() || Instant::now() > by || self.0.pause(Duration::from_millis(5)) {
                return opened;
            }
        }
    }
}

/// Keeps QEMU running until it is told to stop. `_lock` is held for that time.
fn supervise(
    options: &Options,
    flash: &Path,
    shared: &Shared,
    _lock: &File,
    started: &mpsc::SyncSender<Result<(), EmulatorError>>,
) {
    let mut pause = Duration::ZERO;
    let mut first = true;
    while !shared.pause(pause) {
        let begin = Instant::now();
        match run(options, flash, shared, &mut || drop(started.try_send(Ok(())))) {
            Ok(()) if shared.lock().stop => break,
            Ok(()) => tracing::warn!(flash = %flash.display(), "the emulator ended; restarting it"),
            Err(error) if first => {
                let _ = started.try_send(Err(error));
                return;
            }
            Err(error) => tracing::error!(%error, "the emulator does not start"),
        }
        first = false;
        pause = match begin.elapsed() > STABLE {
            true => Duration::ZERO,
            false => (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE),
        };
    }
}

/// Runs QEMU once, until it ends or is to stop.
fn run(
    options: &Options,
    flash: &Path,
    shared: &Shared,
    running: &mut dyn FnMut(),
) -> Result<(), EmulatorError> {
    let (socket, _keep) = socket_path(&options.directory)?;
    let _ = fs::remove_file(&socket);
    let mut child = spawn(options, flash, &socket)?;
    let said = listen(&mut child);
    running();
    let line = match options.attachment {
        Attachment::Console => Some(socket.clone()),
        Attachment::Uart => said.recv_timeout(LINE_PATIENCE).ok(),
    };
    shared.set_line(line, Some(child.id()));
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if shared.pause(WATCH_INTERVAL) => break None,
            Ok(None) => {}
            Err(_) => break None,
        }
    };
    shared.set_line(None, None);
    match ended {
        Some(status) => tracing::warn!(%status, "the emulator ended"),
        None => {
            // Flash writes are durable when the device says so, so killing it loses nothing.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    let _ = fs::remove_file(&socket);
    Ok(())
}

fn spawn(options: &Options, flash: &Path, socket: &Path) -> Result<Child, EmulatorError> {
    let machine = &options.machine;
    let attached = match options.attachment {
        Attachment::Console => ("console", "socket"),
        Attachment::Uart => ("uart", "pty"),
    };
    let arguments = machine.arguments(&options.firmware, flash, socket, attached);
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", &machine.emulator])
        .args(arguments)
        .args(&options.extra)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !on_path(&machine.emulator) {
        let (program, package) = (machine.emulator.clone(), machine.debian_package.clone());
        return Err(EmulatorError::Missing { program, package });
    }
    command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => EmulatorError::Missing {
            program: "setpriv".to_owned(),
            package: "util-linux".to_owned(),
        },
        _ => EmulatorError::Io { what: format!("start {}", machine.emulator), source },
    })
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Reads what QEMU says: the path of its pseudo-terminal, and complaints for the log.
fn listen(child: &mut Child) -> mpsc::Receiver<PathBuf> {
    let (found, pty) = mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(path) = pty_path(&line) {
                    let _ = found.try_send(path);
                }
            }
        });
    }
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                tracing::warn!(%line, "emulator");
            }
        });
    }
    pty
}

/// `char device redirected to /dev/pts/N (label uart)`.
fn pty_path(line: &str) -> Option<PathBuf> {
    let rest = line.strip_prefix("char device redirected to ")?;
    Some(PathBuf::from(rest.split(' ').next()?))
}

fn lock_directory(directory: &Path) -> Result<File, EmulatorError> {
    let io = |source| EmulatorError::Io { what: format!("lock {}", directory.display()), source };
    let lock = File::create(directory.join("lock")).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(EmulatorError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Makes a blank image, all at once, or checks the one that is there.
fn prepare_flash(machine: &Machine, path: &Path) -> Result<(), EmulatorError> {
    let io = |source| EmulatorError::Io { what: format!("make {}", path.display()), source };
    if let Ok(metadata) = fs::metadata(path) {
        let (found, expected) = (metadata.len(), machine.flash_bytes);
        return match found == expected {
            true => Ok(()),
            false => Err(EmulatorError::FlashSize { path: path.to_owned(), found, expected }),
        };
    }
    let unfinished = path.with_extension("new");
    let mut file = private_file(&unfinished).map_err(io)?;
    let block = vec![machine.flash_erased; 1 << 20];
    let mut left = machine.flash_bytes;
    while left > 0 {
        let count = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        file.write_all(&block[..count]).map_err(io)?;
        left -= count as u64;
    }
    file.sync_all().map_err(io)?;
    fs::rename(&unfinished, path).map_err(io)
}

/// The image holds the device's keys: only its owner may read it.
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A path for the line's socket, short enough for the operating system; what keeps the
/// directory of a path elsewhere alive comes along.
fn socket_path(directory: &Path) -> Result<(PathBuf, Option<tempfile::TempDir>), EmulatorError> {
    let path = directory.join("line.sock");
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok((path, None));
    }
    let io =
        |source| EmulatorError::Io { what: "make a directory for a socket".to_owned(), source };
    let short = tempfile::Builder::new().prefix("strongroom-").tempdir().map_err(io)?;
    Ok((short.path().join("line.sock"), Some(short)))
}

#[cfg(test)]
mod tests;
