//! Starts the emulator's process, watches it, and starts it again when it ends.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An emulator that ran for so long is started again at once when it ends.
const STABLE: Duration = Duration::from_secs(10);
/// Longest line of output that is kept, in bytes.
const MAX_LINE: u64 = 1024;

/// A parent that dies before the kernel is told what to do then leaves no signal: by then this shell has
/// another one. Its first argument is the parent, the rest what it becomes.
pub(super) const ORPHAN: &str = r#"[ "$PPID" = "$1" ] || exit 1; shift; exec "$@""#;

/// How the emulator is started.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// `setpriv`, which has the kernel kill the emulator when its parent dies.
    pub(super) guard: Option<PathBuf>,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

impl CommandLine {
    fn spawn(&self) -> io::Result<(Child, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = match &self.guard {
            Some(guard) => {
                let mut command = Command::new(guard);
                command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", ORPHAN, "sh"]);
                command.arg(std::process::id().to_string()).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let child = command
            .args(&self.arguments)
            .process_group(0) // a Ctrl-C at the terminal is for this process alone
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?;
        Ok((child, reader))
    }
}

/// Keeps the emulator running until dropped.
///
/// The kernel sends the death signal when the *thread* that started the child ends, so the
/// thread lives as long as the supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    pty: Option<String>,
    last_output: String,
    starts: u64,
    stopping: bool,
}

impl Supervisor {
    pub(super) fn start(command: CommandLine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let supervised = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("hsm-emulator".to_owned())
            .spawn(move || supervised.run(&command))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.shared.lock().child.as_ref().map(Child::id)
    }

    pub(super) fn starts(&self) -> u64 {
        self.shared.lock().starts
    }

    /// The pseudo-terminal that the emulator has made.
    pub(super) fn pty(&self) -> Option<String> {
        self.shared.lock().pty.clone()
    }

    /// The last line that the emulator wrote, or why it could not be started.
    pub(super) fn last_output(&self) -> String {
        self.shared.lock().last_output.clone()
    }

    pub(super) fn kill(&self) {
        self.shared.lock().kill();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.kill();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported on standard error.
            let _ = thread.join();
        }
    }
}

impl State {
    fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only if it has ended already.
            let _ = child.kill();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, command: &CommandLine) {
        let mut pause = SHORTEST_PAUSE;
        while !self.lock().stopping {
            let start = Instant::now();
            match self.run_once(command) {
                Ok(status) => self.report(status),
                Err(error) => {
                    tracing::error!(%error, program = %command.program.display(), "no emulator");
                    self.lock().last_output = error.to_string();
                }
            }
            if start.elapsed() > STABLE {
                pause = SHORTEST_PAUSE;
            }
            self.wait(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Starts the emulator and follows its output until it ends.
    fn run_once(&self, command: &CommandLine) -> io::Result<ExitStatus> {
        let (child, output) = {
            let mut state = self.lock();
            let (child, output) = command.spawn()?;
            state.starts += 1;
            (state.child.insert(child).id(), output)
        };
        tracing::info!(pid = child, "emulator started");
        if self.lock().stopping {
            self.lock().kill();
        }
        self.follow(output);
        // The pipe is closed, so the process has ended or is about to.
        let child = {
            let mut state = self.lock();
            state.pty = None;
            state.child.take()
        };
        match child {
            Some(mut child) => {
                child.kill()?;
                child.wait()
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn follow(&self, output: PipeReader) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            match output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => self.heard(String::from_utf8_lossy(&line).trim_end()),
            }
        }
    }

    fn heard(&self, line: &str) {
        // "char device redirected to /dev/pts/5 (label uart)"
        let pty = line.strip_prefix("char device redirected to ");
        let pty = pty.and_then(|rest| rest.split_once(" (label")).map(|(path, _)| path);
        let mut state = self.lock();
        match pty {
            Some(path) => state.pty = Some(path.to_owned()),
            None => {
                tracing::warn!(line, "emulator");
                state.last_output = line.to_owned();
            }
        }
    }

    /// The firmware resets the machine within the emulator, so only what is outside ends it.
    fn report(&self, status: ExitStatus) {
        if !self.lock().stopping {
            tracing::warn!(%status, "the emulator ended");
        }
    }

    fn wait(&self, pause: Duration) {
        let stopping = |state: &mut State| !state.stopping;
        let waited = self.changed.wait_timeout_while(self.lock(), pause, stopping);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
