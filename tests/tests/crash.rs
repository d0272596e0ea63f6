//! `kmsd` killed with SIGKILL under load: what it acknowledged is still there afterwards.

use std::time::Duration;

use hsm_tests::daemon::Daemon;
use hsm_tests::model::{Scope, Worker};
use hsm_tests::process::children;
use hsm_tests::{ctl, sdk, seed};
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
        let running = start(Task::Work, workers, daemon);
        tokio::time::sleep(Duration::from_millis(random.u64(1..250))).await;
        daemon.kill();
        workers = running.join_all().await;

        assert_audited(daemon, round);
        daemon.restart();
        workers = start(Task::VerifyRecent, workers, daemon).join_all().await;
    }
    workers = start(Task::VerifyEverything, workers, daemon).join_all().await;
    let acknowledged: u64 = workers.iter().map(|worker| worker.acknowledged).sum();
    eprintln!("{name}: {acknowledged} acknowledged requests over {rounds} kills");
    assert!(acknowledged > u64::from(rounds), "there was no load");
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
    let mut daemon = Daemon::start(&["qemu:2"]);
    let emulators = children(daemon.id());
    assert_eq!(emulators.len(), 2, "{emulators:?}");
    kill_under_load("emulated_kills", &mut daemon, 5).await;
}
