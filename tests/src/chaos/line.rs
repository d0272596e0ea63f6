//! A serial line that can be in trouble: a proxy between a daemon and a device.

use std::io::{self, Read, Write};
use std::net::Shutdown;
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
}

/// A line to a device whose own line is another socket.
#[derive(Debug)]
pub(super) struct Line {
    path: PathBuf,
    state: Arc<State>,
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
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || serve(&listener, &device, &shared, random));
        Self { path, state }
    }

    /// Where the daemon finds it.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins or ends trouble.
    pub(super) fn set(&self, trouble: Option<Trouble>) {
        *self.state.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
    }
}

impl State {
    fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

fn serve(listener: &UnixListener, device: &Path, state: &Arc<State>, mut random: fastrand::Rng) {
    while !state.is_closed() {
        let Ok((near, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        // A line that is cut, or whose device is away, is one that ends at once.
        if state.trouble() == Some(Trouble::Cut) {
            continue;
        }
        let Ok(far) = UnixStream::connect(device) else { continue };
        for (from, to) in [(&near, &far), (&far, &near)] {
            let both = (from.try_clone(), to.try_clone());
            let (Ok(from), Ok(to)) = both else { continue };
            let (state, random) = (Arc::clone(state), random.fork());
            thread::spawn(move || {
                let _ = pass(&from, &to, &state, random);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Passes bytes on, with what trouble there is, until an end is gone or the line is cut.
fn pass(
    mut from: &UnixStream,
    mut to: &UnixStream,
    state: &State,
    mut random: fastrand::Rng,
) -> io::Result<()> {
    from.set_nonblocking(false)?;
    from.set_read_timeout(Some(LOOK))?;
    let mut buffer = [0; CHUNK];
    while !state.is_closed() && state.trouble() != Some(Trouble::Cut) {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        while state.trouble() == Some(Trouble::Held) && !state.is_closed() {
            thread::sleep(LOOK);
        }
        let bytes = &mut buffer[..count];
        let hit = random.u8(..3) == 0;
        match state.trouble().filter(|_| hit) {
            Some(Trouble::Flipped) => {
                bytes[random.usize(..count)] ^= 1 << random.u8(..8);
                to.write_all(bytes)?;
            }
            Some(Trouble::Lost) => to.write_all(&bytes[..random.usize(..count)])?,
            Some(Trouble::Doubled) => {
                to.write_all(bytes)?;
                to.write_all(&bytes[random.usize(..count)..])?;
            }
            _ => to.write_all(bytes)?,
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
