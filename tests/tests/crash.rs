//! `kmsd` killed with SIGKILL under load: what it acknowledged is still there afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hsm_tests::daemon::Daemon;
use hsm_tests::emulator::{Attachment, Emulator};
use hsm_tests::http::await_devices;
use hsm_tests::model::{Scope, Worker};
use hsm_tests::patience::until;
use hsm_tests::process::children;
use hsm_tests::wire::Wire;
use hsm_tests::{ctl, sdk, seed};
use serde_json::json;
use tokio::task::JoinSet;

/// Clients that work at the same time.
const WORKERS: usize = 8;

/// What all workers do at the same time.
#[derive(Clone, Copy)]
enum Task {
    Work,
    VerifyRecent,
    VerifyEverything,
}

fn start(task: Task, workers: Vec<Worker>, daemon: &Daemon) -> JoinSet<Worker> {
    let kms = sdk::client(daemon);
    let mut running = JoinSet::new();
    for mut worker in workers {
        let kms = kms.clone();
        running.spawn(async move {
            match task {
                Task::Work => {
                    worker.run(&kms).await;
                }
                Task::VerifyRecent => worker.verify(&kms, Scope::Recent).await,
                Task::VerifyEverything => {
                    worker.verify(&kms, Scope::Everything).await;
                    worker.enable_all(&kms).await;
                    worker.verify(&kms, Scope::Everything).await;
                }
            }
            worker
        });
    }
    running
}

/// Kills the daemon `rounds` times and verifies everything after each.
async fn kill_under_load(name: &str, daemon: &mut Daemon, rounds: u32) {
    let mut random = seed::random(name);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::new(random.fork())).collect();
    for round in 0..rounds {
        let counts: Vec<_> =
            workers.iter().map(|worker| Arc::clone(&worker.acknowledged)).collect();
        let total = || counts.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
        let before = total();
        let running = start(Task::Work, workers, daemon);
        // However slow the machine is, something is under way.
        tokio::task::block_in_place(|| until("there is load", || total() > before));
        tokio::time::sleep(Duration::from_millis(random.u64(1..250))).await;
        daemon.kill();
        workers = running.join_all().await;

        assert_audited(daemon, round);
        daemon.restart();
        workers = start(Task::VerifyRecent, workers, daemon).join_all().await;
    }
    workers = start(Task::VerifyEverything, workers, daemon).join_all().await;
    let count = |worker: &Worker| worker.acknowledged.load(Ordering::SeqCst);
    let acknowledged: u64 = workers.iter().map(count).sum();
    eprintln!("{name}: {acknowledged} acknowledged requests over {rounds} kills");
    assert!(acknowledged >= u64::from(rounds), "there was no load");
    assert!(daemon.stop().success());
    assert_audited(daemon, rounds);
}

fn assert_audited(daemon: &Daemon, round: u32) {
    let (intact, report) = ctl::verify(&daemon.data().join("audit"));
    assert!(intact, "round {round}: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_acknowledged() {
    let mut daemon = Daemon::start(&["soft"]);
    kill_under_load("fifty_kills", &mut daemon, 50).await;
}

/// The emulators must not outlive the daemon: the next one needs their flash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emulated_devices_follow_a_killed_daemon() {
    let mut daemon = Daemon::start_with(&["qemu:2"], &["--rsa-stock", "0,0,0"]);
    await_devices(&daemon, 2);
    let emulators = children(daemon.id());
    assert_eq!(emulators.len(), 2, "{emulators:?}");
    kill_under_load("emulated_kills", &mut daemon, 5).await;
}

/// A device that runs on while its daemon is killed has entries that no response carried to the
/// daemon: the next one fetches them, and the log has every one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_outlives_its_daemon_is_audited_without_a_gap() {
    let board = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::boot(board.path(), Attachment::CONSOLE);
    emulator.await_start();
    let line = format!("unix:{}", emulator.line().display());
    let mut daemon = Daemon::start(&["soft"]);
    assert!(daemon.stop().success());
    let data = daemon.data().to_str().expect("UTF-8").to_owned();
    let (code, report) = ctl::run(&["hsm", "provision", "--data", &data, "soft", &line]);
    assert_eq!(code, 0, "{report}");
    daemon.replace_hsms(&[&line]);
    daemon.restart();
    kill_under_load("outliving_device", &mut daemon, 5).await;

    let entries = emulator_entries(&emulator);
    let (_, report) = ctl::verify(&daemon.data().join("audit"));
    let chains = report["devices"].as_array().expect("device chains");
    let recorded = chains.iter().find(|chain| chain["device"] == entries.0.as_str());
    let recorded = recorded.expect("the device's chain");
    assert_eq!(
        (&recorded["entries"], &recorded["lost"]),
        (&json!(entries.1), &json!(0)),
        "{report}"
    );
}

/// A device's id, and the number of its audit entries since it booted.
fn emulator_entries(emulator: &Emulator) -> (String, u64) {
    let mut wire = Wire::new(emulator.connect());
    wire.synchronise();
    let status = wire.status();
    (status.device.to_string(), status.audit_entries)
}
