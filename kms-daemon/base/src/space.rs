//! Room on the disk: how much there is, and a reserve for when there is none.
//!
//! The reserve is a file, `DIR/reserve`, whose blocks are taken from the file system beforehand. While
//! it is there, requests of everybody are served. Once less than a quarter of its size is free beside
//! it, it is given back to the file system, and only administration is served: that has the room
//! which the file had, even if another program fills the disk. When there is enough room again, the
//! file is made anew, and everybody is served.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// How old a look at the disk may be.
const FRESH: Duration = Duration::from_millis(20);
/// What a commit of the store may take, in bytes: pages of some hundred changes.
const STORE: u64 = 1 << 20;
/// Name of the reserve in the data directory.
const RESERVE: &str = "reserve";

/// What is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPolicy {
    /// Size of the reserve, in bytes; with 0 there is none.
    pub reserve: u64,
    /// Below this many free bytes, or a quarter of the file system if that is less, room is low.
    pub warn: u64,
}

impl Default for DiskPolicy {
    fn default() -> Self {
        Self { reserve: 16 << 20, warn: 512 << 20 }
    }
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Enough.
    #[default]
    Enough,
    /// It runs out: requests are served, and somebody must act.
    Low,
    /// Only administration is served.
    Reserve,
}

/// What a look at the disk has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// How much there is.
    pub level: Level,
    /// Free bytes of the file system, the reserve aside.
    pub free: u64,
    /// How many of them can be used until only administration is served.
    pub until_reserve: u64,
    /// How often only administration was served, up to now.
    pub times: u64,
}

/// The room of a data directory.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    policy: DiskPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    room: Room,
    held: bool,
    looked: Option<Instant>,
    /// The file system cannot be asked; said once.
    blind: bool,
}

impl Space {
    /// Looks at the file system of `dir` and takes the reserve, if there is room for it.
    #[must_use]
    pub fn new(dir: &Path, policy: DiskPolicy) -> Self {
        let state = State { room: Room::default(), held: false, looked: None, blind: false };
        let space = Self { dir: dir.to_owned(), policy, state: Mutex::new(state) };
        {
            let mut state = space.state.lock().unwrap_or_else(PoisonError::into_inner);
            let length = fs::metadata(space.path()).map_or(0, |data| data.len());
            state.held = policy.reserve > 0 && length == policy.reserve;
            if length != policy.reserve {
                // Of another size, or given back before: what is left is room again.
                let _ = fs::remove_file(space.path());
            }
        }
        space.look();
        space
    }

    /// How much room there is, or was a moment ago.
    pub fn look(&self) -> Room {
        self.look_since(FRESH)
    }

    /// Whether so much can be written to the store that none of it fails half-way.
    #[must_use]
    pub fn has_room_for_store(&self) -> bool {
        let free = self.look_since(Duration::ZERO).free;
        self.policy.reserve == 0 || free >= STORE.min(self.policy.reserve / 4)
    }

    fn look_since(&self, age: Duration) -> Room {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.looked.is_some_and(|looked| looked.elapsed() < age);
        if !fresh {
            match statvfs(&self.dir) {
                Ok(fs) => {
                    state.blind = false;
                    let (free, total) = (fs.f_bavail * fs.f_frsize, fs.f_blocks * fs.f_frsize);
                    self.judge(&mut state, free, total);
                }
                Err(error) if !state.blind => {
                    state.blind = true;
                    tracing::error!(%error, "cannot ask how much room is on the disk");
                }
                Err(_) => {}
            }
            state.looked = Some(Instant::now());
        }
        state.room
    }

    fn judge(&self, state: &mut State, free: u64, total: u64) {
        let DiskPolicy { reserve, warn } = self.policy;
        let margin = reserve / 4;
        let before = state.room.level;
        let mut free = free;
        if reserve > 0 && !state.held && free >= reserve + 2 * margin {
            match self.take() {
                Ok(()) => {
                    state.held = true;
                    free = statvfs(&self.dir).map_or(free, |fs| fs.f_bavail * fs.f_frsize);
                }
                Err(error) => tracing::error!(%error, "cannot take the reserve on the disk"),
            }
        }
        if state.held && free < margin {
            match fs::remove_file(self.path()) {
                Ok(()) => {
                    state.held = false;
                    free = statvfs(&self.dir).map_or(free, |fs| fs.f_bavail * fs.f_frsize);
                }
                Err(error) => tracing::error!(%error, "cannot give back the reserve on the disk"),
            }
        }
        let level = match state.held || reserve == 0 {
            false => Level::Reserve,
            true if free < warn.min(total / 4) => Level::Low,
            true => Level::Enough,
        };
        let until_reserve = if state.held { free.saturating_sub(margin) } else { 0 };
        let dir = self.dir.display();
        match level {
            _ if level == before => {}
            Level::Enough => tracing::info!(free, %dir, "there is room on the disk again"),
            Level::Low => tracing::warn!(
                free, until_reserve, %dir,
                "the disk is filling up; free some room, or keep the audit log for fewer days"
            ),
            Level::Reserve => tracing::error!(
                free, %dir,
                "the disk is full: only administration is served, out of the reserve, until there \
                 is room; free some"
            ),
        }
        let times = state.room.times + u64::from(level == Level::Reserve && before != level);
        state.room = Room { level, free, until_reserve, times };
    }

    /// Takes the blocks of the reserve.
    fn take(&self) -> io::Result<()> {
        let path = self.path();
        let file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let taken = match fallocate(&file, FallocateFlags::empty(), 0, self.policy.reserve) {
            Err(Errno::OPNOTSUPP) => {
                io::copy(&mut io::repeat(0).take(self.policy.reserve), &mut &file).map(drop)
            }
            taken => taken.map_err(io::Error::from),
        };
        let taken = taken.and_then(|()| file.sync_all());
        if taken.is_err() {
            let _ = fs::remove_file(&path);
        }
        taken
    }

    fn path(&self) -> PathBuf {
        self.dir.join(RESERVE)
    }
}
