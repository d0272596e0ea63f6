//! A token, as the daemon sees it: an actor that owns the process of the module.
//!
//! Requests wait in a short queue. One is under way at a time, and has a limit; a process that does not answer
//! within it is killed, and what waits is answered by the next process, or refused while none may be started yet.
//! Nobody who goes away in the middle of a request leaves half of an answer in the pipe.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::Fault;
use crate::message::{Answer, MAX_RANDOM, Pin, Presence, Reply, Request};
use crate::reply::{Sealed, exchange};
use crate::settings::{Modules, WORKER};
use crate::shares::Share;
use crate::watch::Watch;

/// Requests that may wait.
const QUEUE: usize = 64;
/// How much longer logins may take than uses of keys, and what makes keys.
const SLOW: u32 = 5;
/// The pause before the first new start, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The module.
    pub module: PathBuf,
    /// The label.
    pub label: String,
    /// The serial number that the token has to have; `None` if nobody knows it yet.
    pub serial: Option<String>,
    /// Whose share of the processes its process is counted to.
    pub owner: String,
}

impl Place {
    /// Whether a token has another serial number than it has to have.
    fn is_another(&self, presence: &Presence) -> bool {
        self.serial.as_ref().is_some_and(|serial| *serial != presence.serial)
    }
}

/// How a token does.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests so far.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Times that a process was started.
    pub starts: u64,
    /// The serial number: the one that the token has to have, or the one that it had when it was logged in to first.
    pub serial: Option<String>,
    /// The process that runs now, if one does.
    pub process: Option<u32>,
    /// Whether the last request was answered.
    pub answers: bool,
    /// How the last one failed that did.
    pub last_fault: Option<Fault>,
    /// How long the last one took.
    pub took: Duration,
}

/// A token. When the last clone is dropped, its process ends.
#[derive(Debug, Clone)]
pub struct Token {
    label: Arc<str>,
    requests: mpsc::Sender<Job>,
    report: Arc<Mutex<Report>>,
    watch: Arc<dyn Watch>,
    limit: Duration,
}

struct Job {
    request: Work,
    answer: oneshot::Sender<Answer>,
}

enum Work {
    /// Starts a process if none runs, even if the last one ended a moment ago, and logs in.
    Connect,
    /// Starts a process if none runs and one may be started, and asks it.
    Ask(Request),
}

impl Token {
    /// A token that is logged in to with this PIN once it is used. Nothing is started yet.
    #[must_use]
    pub fn new(modules: &Modules, place: Place, pin: Zeroizing<String>) -> Self {
        Self::watched(modules, place, pin, Arc::new(()))
    }

    /// The same, of whose calls `watch` is told.
    #[must_use]
    pub fn watched(
        modules: &Modules,
        place: Place,
        pin: Zeroizing<String>,
        watch: Arc<dyn Watch>,
    ) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let report = Report { serial: place.serial.clone(), ..Report::default() };
        let report = Arc::new(Mutex::new(report));
        let label = place.label.as_str().into();
        let actor = Actor {
            modules: modules.clone(),
            place,
            pin,
            report: Arc::clone(&report),
            watch: Arc::clone(&watch),
            running: None,
            not_before: None,
            resting: Fault::Resting,
            pause: FIRST_PAUSE,
            refused: None,
        };
        tokio::spawn(actor.run(queue));
        Self { label, requests, report, watch, limit: modules.limit }
    }

    /// The label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How it does.
    #[must_use]
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Whether a token of this label is there, and has the serial number if one is given, without logging in.
    ///
    /// # Errors
    /// [`Fault::Replaced`] if it has another one, or another fault.
    pub async fn look(modules: &Modules, place: &Place) -> Result<Presence, Fault> {
        let limit = modules.limit * SLOW;
        let mut running = Running::start(modules, place)?;
        let presence = running.open(place, limit).await;
        running.end(limit).await;
        presence
    }

    /// Starts the process and logs in, now.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn connect(&self) -> Result<(), Fault> {
        self.send(Work::Connect, SLOW * 2).await?.present(&self.label).map(drop)
    }

    /// Whether the token is there and the user logged in.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn probe(&self) -> Result<(), Fault> {
        self.ask(Request::Probe, 1).await?.present(&self.label).map(drop)
    }

    /// Makes an AES-256 key.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn make(&self, key: &[u8], label: &str, extractable: bool) -> Result<(), Fault> {
        let (key, label) = (key.to_vec(), label.to_owned());
        self.ask(Request::MakeKey { key, label, extractable }, SLOW).await?.done()
    }

    /// Copies a key of this token, which is extractable yet, to another one, where it never is.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn copy_to(&self, other: &Self, key: &[u8], label: &str) -> Result<(), Fault> {
        let (modulus, exponent) = other.ask(Request::Transport, SLOW).await?.public()?;
        let request = Request::Export { key: key.to_vec(), modulus, exponent };
        let wrapped = self.ask(request, SLOW).await?.wrapped()?;
        let (key, label) = (key.to_vec(), label.to_owned());
        other.ask(Request::Import { key, label, wrapped }, SLOW).await?.done()
    }

    /// Makes a key not extractable. PKCS #11 has no way back.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn close(&self, key: &[u8]) -> Result<(), Fault> {
        self.ask(Request::Close { key: key.to_vec() }, SLOW).await?.done()
    }

    /// Checks that a key is there and cannot be taken from the token.
    ///
    /// # Errors
    /// [`Fault::NoKey`], [`Fault::WrongKey`], or another one.
    pub async fn check(&self, key: &[u8]) -> Result<(), Fault> {
        self.ask(Request::Check { key: key.to_vec() }, 1).await?.done()
    }

    /// Encrypts at most [`MAX_DATA`](crate::MAX_DATA) bytes.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn encrypt(
        &self,
        key: &[u8],
        iv: [u8; 12],
        (plaintext, aad): (&[u8], &[u8]),
    ) -> Result<Sealed, Fault> {
        let (key, aad) = (key.to_vec(), aad.to_vec());
        let plaintext = plaintext.to_vec();
        let length = plaintext.len();
        let request = Request::Encrypt { key, iv, aad, plaintext };
        self.ask(request, 1).await?.sealed(length)
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`Fault::Ciphertext`] if it is not one of this key and this additional data, or another one.
    pub async fn decrypt(&self, key: &[u8], sealed: &Sealed, aad: &[u8]) -> Result<Vec<u8>, Fault> {
        let (key, aad, iv) = (key.to_vec(), aad.to_vec(), sealed.iv);
        let ciphertext = [&sealed.ciphertext[..], &sealed.tag].concat();
        let request = Request::Decrypt { key, iv, aad, ciphertext };
        self.ask(request, 1).await?.opened(sealed.ciphertext.len())
    }

    /// Returns 1 to [`MAX_RANDOM`] random bytes.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn random(&self, length: u16) -> Result<Zeroizing<Vec<u8>>, Fault> {
        if !(1..=MAX_RANDOM).contains(&length) {
            return Err(Fault::Malformed);
        }
        self.ask(Request::Random { length }, 1).await?.random(length)
    }

    /// Destroys a key, which need not be there.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn destroy(&self, key: &[u8]) -> Result<(), Fault> {
        self.ask(Request::Destroy { key: key.to_vec() }, SLOW).await?.done()
    }

    async fn ask(&self, request: Request, slower: u32) -> Answer {
        self.send(Work::Ask(request), slower).await
    }

    async fn send(&self, request: Work, slower: u32) -> Answer {
        let (answer, comes) = oneshot::channel();
        self.requests.try_send(Job { request, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.watch.called(Duration::ZERO, Some(&Fault::Busy));
                Fault::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Fault::Ended,
        })?;
        // As long as one that is under way may take, with a login before it, and then this one.
        let whole = self.limit * slower + self.limit * SLOW;
        match tokio::time::timeout(whole, comes).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Ended),
            Err(_) => Err(Fault::TimedOut),
        }
    }
}

/// What owns the process.
struct Actor {
    modules: Modules,
    place: Place,
    pin: Zeroizing<String>,
    report: Arc<Mutex<Report>>,
    watch: Arc<dyn Watch>,
    running: Option<Running>,
    not_before: Option<Instant>,
    /// What is said until then: that a token is another one, or that it is left alone.
    resting: Fault,
    pause: Duration,
    /// Why the PIN is not tried again.
    refused: Option<Fault>,
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(Job { request, answer }) = queue.recv().await {
            // Whoever has asked has given up.
            if answer.is_closed() {
                continue;
            }
            let begin = Instant::now();
            let made = self.serve(request).await;
            self.note(begin.elapsed(), made.as_ref().err());
            let _ = answer.send(made);
        }
    }

    async fn serve(&mut self, request: Work) -> Answer {
        let request = match request {
            Work::Connect => {
                self.ready(true).await?;
                Request::Probe
            }
            Work::Ask(request) => {
                self.ready(false).await?;
                request
            }
        };
        let limit = self.modules.limit * slowness(&request);
        let Some(mut running) = self.running.take() else { return Err(Fault::Ended) };
        let answer = match running.ask(&request, limit).await {
            Ok(Reply::Present(presence)) if self.place.is_another(&presence) => {
                Err(Fault::Replaced)
            }
            answer => answer,
        };
        match &answer {
            Err(fault) if !fault.is_answer() => {
                // What the module holds may be of a token that is gone, or in any state: the next process begins anew.
                tracing::warn!(token = self.place.label, %fault, "a PKCS#11 token does not serve");
                self.rest(fault);
            }
            _ => {
                self.running = Some(running);
                self.pause = FIRST_PAUSE;
            }
        }
        answer
    }

    /// Starts a process and logs in, unless that is done, or is not to be done again yet.
    async fn ready(&mut self, asked: bool) -> Result<(), Fault> {
        if self.running.as_mut().is_some_and(Running::is_alive) {
            return Ok(());
        }
        self.running = None;
        if let Some(fault) = self.refused.as_ref().filter(|_| !asked) {
            return Err(fault.clone());
        }
        if self.not_before.is_some_and(|time| !asked && Instant::now() < time) {
            return Err(self.resting.clone());
        }
        lock(&self.report).starts += 1;
        match self.start(asked).await {
            Ok((running, serial)) => {
                (self.refused, self.not_before) = (None, None);
                {
                    let mut report = lock(&self.report);
                    report.process = running.id();
                    report.serial = Some(serial.clone());
                }
                // From now on, it is this one.
                self.place.serial = Some(serial);
                self.watch.opened();
                self.running = Some(running);
                Ok(())
            }
            Err(fault) => {
                tracing::warn!(token = self.place.label, %fault, "a PKCS#11 token does not open");
                if fault.is_about_pin() {
                    self.refused = Some(fault.clone());
                }
                self.rest(&fault);
                Err(fault)
            }
        }
    }

    /// A process that is logged in, and the serial number of its token. A token that is not the right one does not
    /// get the PIN.
    async fn start(&self, asked: bool) -> Result<(Running, String), Fault> {
        let limit = self.modules.limit * SLOW;
        let mut running = Running::start(&self.modules, &self.place)?;
        let presence = running.open(&self.place, limit).await?;
        let pin = Pin(self.pin.as_str().to_owned());
        running.ask(&Request::Login { pin, asked }, limit).await?.done()?;
        Ok((running, presence.serial))
    }

    fn rest(&mut self, why: &Fault) {
        self.running = None;
        self.resting = match why {
            Fault::Replaced => Fault::Replaced,
            _ => Fault::Resting,
        };
        lock(&self.report).process = None;
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn note(&self, took: Duration, fault: Option<&Fault>) {
        let mut report = lock(&self.report);
        report.calls += 1;
        report.took = took;
        // That a ciphertext is wrong says nothing against the token.
        let failed = fault.filter(|fault| **fault != Fault::Ciphertext);
        self.watch.called(took, failed);
        report.failed += u64::from(failed.is_some());
        report.answers = failed.is_none();
        // What was not asked would hide why.
        if let Some(fault) = failed.filter(|fault| **fault != Fault::Resting) {
            report.last_fault = Some(fault.clone());
        }
    }
}

/// A process, with its pipes. It is killed when this is dropped.
struct Running {
    process: Option<Process>,
    input: ChildStdin,
    output: ChildStdout,
}

/// The process itself, and its share of all that may run.
struct Process {
    child: Child,
    share: Share,
}

impl Running {
    fn start(modules: &Modules, place: &Place) -> Result<Self, Fault> {
        let share = modules.processes.take(&place.owner).ok_or(Fault::Crowded)?;
        let mut command = Command::new(&modules.program);
        command
            .arg(WORKER)
            .env_clear()
            .envs(modules.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            tracing::error!(%error, "cannot start the process for a PKCS#11 module");
            Fault::Ended
        })?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or(Fault::Ended)?;
        Ok(Self { process: Some(Process { child, share }), input, output })
    }

    fn id(&self) -> Option<u32> {
        self.process.as_ref()?.child.id()
    }

    fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| matches!(it.child.try_wait(), Ok(None)))
    }

    /// Ends the process, and waits for its end at most so long.
    async fn end(mut self, limit: Duration) {
        let Some(process) = &mut self.process else { return };
        if tokio::time::timeout(limit, process.child.kill()).await.is_ok() {
            self.process = None;
        }
    }

    async fn open(&mut self, place: &Place, limit: Duration) -> Result<Presence, Fault> {
        let module = place.module.to_str().ok_or(Fault::Module)?.to_owned();
        let (token, serial) = (place.label.clone(), place.serial.clone());
        let request = Request::Open { module, token, serial };
        let presence = self.ask(&request, limit).await?.present(&place.label)?;
        if place.is_another(&presence) { Err(Fault::Replaced) } else { Ok(presence) }
    }

    async fn ask(&mut self, request: &Request, limit: Duration) -> Answer {
        let exchange = exchange(&mut self.input, &mut self.output, request);
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Fault::TimedOut))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(Process { mut child, share }) = self.process.take() else { return };
        // One that the kernel cannot end yet, as a driver holds it, counts until it has ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = child.kill().await;
                drop(share);
            });
        }
    }
}

/// How much longer a request may take than a use of a key.
const fn slowness(request: &Request) -> u32 {
    match request {
        Request::MakeKey { .. }
        | Request::Transport
        | Request::Export { .. }
        | Request::Import { .. }
        | Request::Close { .. }
        | Request::Destroy { .. } => SLOW,
        _ => 1,
    }
}

fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    // It is whole between any two statements.
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
