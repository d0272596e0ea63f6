//! What the operating system knows of this process, under the names that all Prometheus clients use.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Gauges of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    begin: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("process");
        registry.register_with_unit(
            "cpu",
            "Time of processors, of users and of the system",
            Unit::Seconds,
            self.cpu.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Memory that is in RAM",
            Unit::Bytes,
            self.resident.clone(),
        );
        registry.register_with_unit(
            "virtual_memory",
            "Memory that has addresses",
            Unit::Bytes,
            self.virtual_memory.clone(),
        );
        registry.register("open_fds", "Open files and connections", self.open_files.clone());
        registry.register("max_fds", "How many may be open", self.most_files.clone());
        registry.register_with_unit(
            "start_time",
            "When the process began, since the epoch",
            Unit::Seconds,
            self.begin.clone(),
        );
    }

    /// Asks the operating system. What it does not tell stays as it was.
    pub(super) fn observe(&self) {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(stat) {
            #[allow(clippy::cast_precision_loss, reason = "ticks are few")]
            let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
            self.cpu.inner().store(seconds(stat.ticks).to_bits(), Ordering::Relaxed);
            self.virtual_memory.set(count(stat.virtual_bytes));
            self.resident.set(count(stat.resident_pages * page_size() as u64));
            if let Some(boot) = boot_time() {
                #[allow(clippy::cast_precision_loss, reason = "seconds since 1970")]
                self.begin.set(boot as f64 + seconds(stat.begin));
            }
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory.
            self.open_files.set(count(files.count().saturating_sub(1) as u64));
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            self.most_files.set(count(most));
        }
    }
}

/// What is taken of `/proc/self/stat`, see proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// In user and kernel mode.
    ticks: u64,
    /// When it began, in ticks since the machine did.
    begin: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

fn stat(text: &str) -> Option<Stat> {
    // The name of the program may have spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        ticks: field(14)? + field(15)?,
        begin: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

/// When the machine began, in seconds since the epoch.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn fields_are_counted_behind_any_name() {
        let text = "7 (a ) (b) S 1 7 7 0 -1 0 10 0 0 0 250 50 0 0 20 0 5 0 1234 4096000 100 0";
        let expected =
            Stat { ticks: 300, begin: 1234, virtual_bytes: 4_096_000, resident_pages: 100 };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("7 (a"), None);
        assert_eq!(stat("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::default();
        process.observe();
        assert!(process.resident.get() > 1 << 20, "{:?}", process.resident);
        assert!(process.open_files.get() >= 3 && process.most_files.get() > 0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.begin.get();
        assert!((-2.0..24.0 * 60.0 * 60.0).contains(&age), "{age}");
    }
}
