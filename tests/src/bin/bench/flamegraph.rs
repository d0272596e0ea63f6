//! Where the daemon's processor time goes: `cargo xtask bench -- --flamegraph Encrypt`.
//!
//! `perf` samples the stacks of `kmsd` while clients send requests of one row. What comes of it is a picture to open
//! in a browser, and the functions that most samples were in.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use hsm_tests::daemon::Daemon;
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};
use inferno::flamegraph;

use crate::load;

/// Samples of each thread in a second: not a divisor of the rates of timers.
const RATE: &str = "997";
/// Bytes of stack that are kept with a sample. The program has no frame pointers.
const STACK: &str = "dwarf,16384";
/// Functions shown.
const ROWS: usize = 30;

/// Samples the daemon for `time` while `connections` clients send requests of `row`, and writes the picture into
/// `directory`.
///
/// # Errors
/// A message if the row is unknown or `perf` is not there or may not sample.
pub(crate) fn run(
    hsm: &str,
    row: &str,
    connections: usize,
    time: Duration,
    directory: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let daemon = Daemon::start_with(&[hsm], &["--rsa-stock", "0,0,0"]);
    let operations = load::operations(&daemon, true);
    let Some((name, body)) = operations.iter().find(|(name, _)| *name == row) else {
        let names: Vec<_> = operations.iter().map(|(name, _)| *name).collect();
        return Err(format!("--flamegraph takes one of {}", names.join(", ")).into());
    };
    load::settle(&daemon);
    fs::create_dir_all(directory)?;
    let name = name.replace(' ', "-");
    let samples = Samples(directory.join(format!("{name}.perf")));
    let request = load::request(row, body);
    let sign = || request.clone().signed(&daemon).to_bytes(daemon.address());
    eprintln!("sampling kmsd: {row}, {connections} connections …");
    let sampled = thread::scope(|scope| {
        let perf = scope.spawn(|| samples.record(daemon.id(), time));
        load::run((daemon.address(), daemon.id()), &sign, connections, time);
        perf.join().expect("no panic")
    });
    sampled?;
    let folded = samples.fold()?;
    let picture = directory.join(format!("{name}.svg"));
    let title = format!("kmsd: {row}, {connections} connections");
    draw(&folded, title, &picture)?;
    print(&folded)?;
    println!("\n{}", picture.display());
    Ok(())
}

/// The file of `perf record`, removed at the end: it has pieces of the daemon's stack in it.
struct Samples(PathBuf);

impl Samples {
    fn record(&self, process: u32, time: Duration) -> Result<(), String> {
        let output = Command::new("perf")
            .args(["record", "--quiet", "-F", RATE, "--call-graph", STACK, "-p"])
            .arg(process.to_string())
            .arg("-o")
            .arg(&self.0)
            .args(["--", "sleep", &time.as_secs().to_string()])
            .output()
            .map_err(|error| format!("perf: {error}; install it (Debian: linux-perf)"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "perf record: {}; it may need root, or kernel.perf_event_paranoid of at most 1",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    /// One line for each stack: thread and functions from the outside in, and the number of samples.
    fn fold(&self) -> io::Result<Vec<u8>> {
        let mut script = Command::new("perf")
            .args(["script", "--no-inline", "-i"])
            .arg(&self.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stacks = script.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut folded = Vec::new();
        let mut options = Options::default();
        options.nthreads = 1;
        Folder::from(options).collapse(BufReader::new(stacks), &mut folded)?;
        match script.wait()?.success() {
            true => Ok(folded),
            false => Err(io::Error::other("perf script failed: run it by hand to see why")),
        }
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn draw(folded: &[u8], title: String, picture: &Path) -> io::Result<()> {
    let mut options = flamegraph::Options::default();
    options.title = title;
    options.count_name = "samples".to_owned();
    options.deterministic = true;
    let mut file = File::create(picture)?;
    flamegraph::from_reader(&mut options, folded, &mut file)?;
    file.flush()
}

/// Prints shares of the samples: of threads, and of functions themselves.
fn print(folded: &[u8]) -> io::Result<()> {
    let text = std::str::from_utf8(folded).map_err(io::Error::other)?;
    let (mut threads, mut functions) = (HashMap::<&str, u64>::new(), HashMap::<&str, u64>::new());
    let mut total = 0;
    for line in text.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let count: u64 = count.parse().map_err(io::Error::other)?;
        let mut frames = stack.split(';');
        *threads.entry(frames.next().unwrap_or(stack)).or_default() += count;
        *functions.entry(frames.next_back().unwrap_or("?")).or_default() += count;
        total += count;
    }
    if total == 0 {
        return Err(io::Error::other("perf took no sample: measure for longer (--seconds)"));
    }
    for (title, counts) in [("thread", threads), ("function itself", functions)] {
        println!("\n{:>6}  {title}", "%");
        let mut rows: Vec<_> = counts.into_iter().collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        for (name, count) in rows.into_iter().take(ROWS) {
            #[allow(clippy::cast_precision_loss)] // far below 2^52 samples
            let share = 100.0 * count as f64 / total as f64;
            println!("{share:>6.1}  {name:.100}");
        }
    }
    Ok(())
}
