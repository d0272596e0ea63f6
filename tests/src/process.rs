//! Child processes: signals, captured output, and no orphan when a test fails.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long what an ended program wrote may take to be read, where a child that it left behind keeps its
/// streams open. Without one they end, and so does the waiting.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// A running program. Dropped, it is killed; what it wrote is shown if the test failed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Mutex<Receiver<String>>,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        collect(child.stdout.take().expect("piped"), &output, move |line| {
            let _ = sender.send(line.to_owned());
        });
        collect(child.stderr.take().expect("piped"), &output, |_| {});
        Self { name, child, lines: Mutex::new(lines), output }
    }

    /// Waits for a line on standard output that starts with `prefix` and returns its rest.
    ///
    /// # Panics
    /// If the program ends or `patience` passes without it.
    #[must_use]
    pub fn expect_line(&mut self, prefix: &str, patience: Duration) -> String {
        self.line_or_end(prefix, patience).unwrap_or_else(|| {
            panic!("{} ended ({:?}) without `{prefix}`", self.name, self.child.wait())
        })
    }

    /// The same; `None` if the program ends without it.
    ///
    /// # Panics
    /// If `patience` passes.
    #[must_use]
    pub fn line_or_end(&mut self, prefix: &str, patience: Duration) -> Option<String> {
        let by = Instant::now() + patience;
        loop {
            let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            match lines.recv_timeout(by.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Some(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not say `{prefix}` in {patience:?}", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.id(), signal);
    }

    /// Ends the program as a power cut would, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the program's own end.
    ///
    /// # Panics
    /// If `patience` passes.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let by = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.await_last_words();
                return status;
            }
            assert!(Instant::now() < by, "{} did not end in {patience:?}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets the reading threads come to the end of both streams, unless a child of the program
    /// keeps them open.
    fn await_last_words(&self) {
        let by = Instant::now() + LAST_WORDS;
        while Arc::strong_count(&self.output) > 1 && Instant::now() < by {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the program wrote so far, on both streams.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.lock().map(|output| output.clone()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- output of {}\n{}---", self.name, self.output());
        }
    }
}

/// Sends a signal to a process that this test started, directly or not.
///
/// # Panics
/// If there is no such process.
pub fn signal_process(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, signal).expect("the process exists");
}

/// The children of a process, by their command names: `(id, name)`.
#[must_use]
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let id = entry.file_name().to_str()?.parse().ok()?;
            // proc(5): "pid (name) state ppid …"; the name may itself contain parentheses.
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let name = head.split_once('(')?.1.to_owned();
            let of: u32 = tail.split_whitespace().nth(1)?.parse().ok()?;
            (of == parent).then_some((id, name))
        })
        .collect()
}

fn collect(
    stream: impl Read + Send + 'static,
    output: &Arc<Mutex<String>>,
    mut each: impl FnMut(&str) + Send + 'static,
) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(read_line(&mut stream, &mut line), Ok(true)) {
            let text = String::from_utf8_lossy(&line);
            each(text.trim_end());
            if let Ok(mut output) = output.lock() {
                output.push_str(&text);
            }
        }
    });
}

fn read_line(stream: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    Ok(stream.read_until(b'\n', line)? > 0)
}
