//! Removes partial output when a signal ends `kmsctl` half-way.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, thread};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// What is there for as long as the command runs.
pub(super) struct Leftovers(Arc<Mutex<Vec<PathBuf>>>);

impl Leftovers {
    /// From here on SIGINT, SIGTERM and SIGHUP remove what is noted and end the process, with 128 and
    /// the number of the signal. A second one does not wait for that.
    pub(super) fn watch() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _within = runtime.enter();
            Signals::listen()?
        };
        let noted = Arc::new(Mutex::new(Vec::new()));
        let leftovers = Self(Arc::clone(&noted));
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let number = signals.next().await;
                eprintln!("interrupted; the partial output is removed");
                let removal = tokio::task::spawn_blocking(move || {
                    let paths = lock(&noted);
                    paths.iter().for_each(|path| remove(path));
                    // Who comes to its end meanwhile waits for the process's.
                    std::mem::forget(paths);
                });
                tokio::select! {
                    _ = removal => {}
                    _ = signals.next() => {}
                }
                std::process::exit(128 + number)
            });
        })?;
        Ok(leftovers)
    }

    /// What is noted, while something more is made: a signal waits until that is noted, too.
    pub(super) fn making(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        lock(&self.0)
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        lock(&self.0).clear();
    }
}

fn lock(noted: &Mutex<Vec<PathBuf>>) -> MutexGuard<'_, Vec<PathBuf>> {
    // A list of paths is whole after a panic, too.
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(path: &Path) {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
    let _ = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if is_dir && let Some(parent) = path.parent() {
        // Only if there is nothing else in it.
        let _ = fs::remove_dir(parent);
    }
}

/// The signals that end a process, each with its number.
struct Signals([(Signal, i32); 3]);

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let of = |kind: SignalKind| Ok::<_, Failure>((signal(kind)?, kind.as_raw_value()));
        let kinds = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        Ok(Self([of(kinds.0)?, of(kinds.1)?, of(kinds.2)?]))
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        let [(interrupt, one), (terminate, two), (hangup, three)] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => *one,
            _ = terminate.recv() => *two,
            _ = hangup.recv() => *three,
        }
    }
}
