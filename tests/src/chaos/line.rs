//! Lines that can be in trouble: a proxy between a daemon and a device, or between a daemon and a member of the store.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a thread that waits looks whether anything is different.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes that are passed on in one piece.
const CHUNK: usize = 512;

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The plug is out.
    Cut,
    /// Bytes are held back until it is over.
    Held,
    /// Now and then, a bit is another one.
    Flipped,
    /// Now and then, bytes are missing.
    Lost,
    /// Now and then, bytes come twice.
    Doubled,
    /// Everything takes longer.
    Slow,
}

impl Trouble {
    /// What can be wrong with a link of a network.
    pub(super) fn random_on_link(random: &mut fastrand::Rng) -> Self {
        [Self::Cut, Self::Held, Self::Slow, Self::Slow, Self::Doubled, Self::Lost]
            [random.usize(..6)]
    }
}

/// What is passed on in [`Trouble::Slow`] waits as long as that.
const DELAY: Duration = Duration::from_millis(40);

/// An end of a line.
trait Socket: Sized + Send + 'static {
    fn another(&self) -> io::Result<Self>;
    fn wait_for(&self, time: Duration) -> io::Result<()>;
    fn end(&self);
    fn take(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn give(&self, bytes: &[u8]) -> io::Result<()>;
}

macro_rules! sockets {
    ($($stream:ty)*) => {$(
        impl Socket for $stream {
            fn another(&self) -> io::Result<Self> {
                self.try_clone()
            }

            fn wait_for(&self, time: Duration) -> io::Result<()> {
                self.set_nonblocking(false)?;
                self.set_read_timeout(Some(time))
            }

            fn end(&self) {
                let _ = self.shutdown(Shutdown::Both);
            }

            fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let mut from = self;
                from.read(buffer)
            }

            fn give(&self, bytes: &[u8]) -> io::Result<()> {
                let mut to = self;
                to.write_all(bytes)
            }
        }
    )*};
}

sockets! { UnixStream TcpStream }

/// A line to a device whose own line is another socket.
#[derive(Debug)]
pub(super) struct Line {
    path: PathBuf,
    state: Shared,
}

/// A connection of a daemon to a member of the store, on a port of its own.
#[derive(Debug)]
pub(super) struct Link {
    port: u16,
    state: Shared,
}

/// What threads of a line look at; they end with it.
#[derive(Debug, Default)]
struct Shared(Arc<State>);

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

impl Link {
    /// A link to a port of this machine.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub(super) fn new(member: u16, random: fastrand::Rng) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let state = Shared::default();
        let shared = Arc::clone(&state.0);
        thread::spawn(move || {
            let near = || listener.accept().map(|(near, _)| near);
            serve(near, || TcpStream::connect((Ipv4Addr::LOCALHOST, member)), &shared, random);
        });
        Self { port, state }
    }

    /// Where the daemon finds it.
    #[must_use]
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Begins or ends trouble.
    pub(super) fn set(&self, trouble: Option<Trouble>) {
        self.state.0.set(trouble);
    }
}

#[derive(Debug, Default)]
struct State {
    trouble: Mutex<Option<Trouble>>,
    closed: AtomicBool,
}

impl Line {
    /// A line at `path` to the socket `device`.
    ///
    /// # Panics
    /// If there cannot be a socket at `path`.
    #[must_use]
    pub(super) fn new(path: PathBuf, device: PathBuf, random: fastrand::Rng) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let state = Shared::default();
        let shared = Arc::clone(&state.0);
        thread::spawn(move || {
            let near = || listener.accept().map(|(near, _)| near);
            serve(near, || UnixStream::connect(&device), &shared, random);
        });
        Self { path, state }
    }

    /// Where the daemon finds it.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins or ends trouble.
    pub(super) fn set(&self, trouble: Option<Trouble>) {
        self.state.0.set(trouble);
    }
}

impl State {
    fn set(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn serve<S: Socket>(
    near: impl Fn() -> io::Result<S>,
    far: impl Fn() -> io::Result<S>,
    state: &Arc<State>,
    mut random: fastrand::Rng,
) {
    while !state.is_closed() {
        let Ok(near) = near() else {
            thread::sleep(LOOK);
            continue;
        };
        // A line that is cut, or whose device is away, is one that ends at once.
        if state.trouble() == Some(Trouble::Cut) {
            continue;
        }
        let Ok(far) = far() else { continue };
        for (from, to) in [(&near, &far), (&far, &near)] {
            let both = (from.another(), to.another());
            let (Ok(from), Ok(to)) = both else { continue };
            let (state, random) = (Arc::clone(state), random.fork());
            thread::spawn(move || {
                let _ = pass(&from, &to, &state, random);
                from.end();
                to.end();
            });
        }
    }
}

/// Passes bytes on, with what trouble there is, until an end is gone or the line is cut.
fn pass<S: Socket>(from: &S, to: &S, state: &State, mut random: fastrand::Rng) -> io::Result<()> {
    from.wait_for(LOOK)?;
    let mut buffer = [0; CHUNK];
    while !state.is_closed() && state.trouble() != Some(Trouble::Cut) {
        let count = match from.take(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        if state.trouble() == Some(Trouble::Slow) {
            thread::sleep(DELAY);
        }
        while state.trouble() == Some(Trouble::Held) && !state.is_closed() {
            thread::sleep(LOOK);
        }
        let bytes = &mut buffer[..count];
        let hit = random.u8(..3) == 0;
        match state.trouble().filter(|_| hit) {
            Some(Trouble::Flipped) => {
                bytes[random.usize(..count)] ^= 1 << random.u8(..8);
                to.give(bytes)?;
            }
            Some(Trouble::Lost) => to.give(&bytes[..random.usize(..count)])?,
            Some(Trouble::Doubled) => {
                to.give(bytes)?;
                to.give(&bytes[random.usize(..count)..])?;
            }
            _ => to.give(bytes)?,
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_good_as_its_trouble_says() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("device");
        let listener = UnixListener::bind(&device).unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = io::copy(&mut from, &mut to);
            }
        });
        let random = fastrand::Rng::with_seed(1);
        let line = Line::new(directory.path().join("line"), device, random);
        let mut host = UnixStream::connect(line.path()).unwrap();
        host.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut echo = [0; 5];
        host.write_all(b"hello").unwrap();
        host.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hello");

        line.set(Some(Trouble::Flipped));
        let mut differs = false;
        for _ in 0..100 {
            host.write_all(b"hello").unwrap();
            host.read_exact(&mut echo).unwrap();
            differs |= &echo != b"hello";
        }
        assert!(differs, "no bit was another one");

        line.set(Some(Trouble::Cut));
        assert_eq!(host.read(&mut echo).unwrap(), 0, "the line is there yet");
    }
}
