//! Two emulated devices under load, one of which fails: no request does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MacAlgorithmSpec, SigningAlgorithmSpec};
use hsm_tests::daemon::Daemon;
use hsm_tests::http::{await_devices, devices_in_service};
use hsm_tests::patience::{PATIENCE, until};
use hsm_tests::process::{children, signal_process};
use hsm_tests::sdk;
use rustix::process::Signal;
use tokio::task::JoinSet;

/// Clients that work at the same time.
const CLIENTS: usize = 8;
/// Requests that must succeed after each event before the test goes on.
const ENOUGH: u64 = 400;

/// Clients that call until they are told to stop. A request that fails ends the test.
struct Load {
    running: JoinSet<()>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Load {
    async fn start(daemon: &Daemon) -> Self {
        let kms = sdk::client(daemon);
        let keys = Arc::new(Keys::make(&kms).await);
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut running = JoinSet::new();
        for _ in 0..CLIENTS {
            let (kms, keys) = (kms.clone(), Arc::clone(&keys));
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            running.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    keys.use_all(&kms).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { running, stop, done }
    }

    /// Waits until enough more requests have succeeded.
    async fn prove(&mut self) {
        let enough = self.done.load(Ordering::Relaxed) + ENOUGH / 4;
        while self.done.load(Ordering::Relaxed) < enough {
            tokio::select! {
                ended = self.running.join_next() => ended.expect("clients").expect("no failure"),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join_all().await;
    }
}

/// One key of each kind.
struct Keys {
    symmetric: String,
    signing: String,
    mac: String,
}

impl Keys {
    async fn make(kms: &Client) -> Self {
        let make = async |spec: KeySpec, usage: KeyUsageType| {
            let made = kms.create_key().key_spec(spec).key_usage(usage).send().await;
            made.expect("a key").key_metadata.expect("metadata").key_id
        };
        Self {
            symmetric: make(KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await,
            signing: make(KeySpec::EccNistP256, KeyUsageType::SignVerify).await,
            mac: make(KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await,
        }
    }

    /// Four requests, each of which must succeed.
    async fn use_all(&self, kms: &Client) {
        // Equal requests of one second have one signature, which is refused when one of them is held up.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let message = Blob::new(format!("message {number}"));
        let call = kms.encrypt().key_id(&self.symmetric).plaintext(message.clone());
        let blob = call.send().await.expect("encrypts").ciphertext_blob.expect("a blob");
        let opened = kms.decrypt().ciphertext_blob(blob).send().await.expect("decrypts");
        assert_eq!(opened.plaintext, Some(message.clone()));
        let algorithm = SigningAlgorithmSpec::EcdsaSha256;
        let call = kms.sign().key_id(&self.signing).message(message.clone());
        call.signing_algorithm(algorithm).send().await.expect("signs");
        let call = kms.generate_mac().key_id(&self.mac).message(message);
        call.mac_algorithm(MacAlgorithmSpec::HmacSha256).send().await.expect("authenticates");
    }
}

fn emulators(daemon: &Daemon) -> Vec<u32> {
    let children = children(daemon.id());
    children.into_iter().filter(|(_, name)| name.starts_with("qemu")).map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_device_fails_no_request() {
    let daemon = Daemon::start_with(&["qemu:2"], &["--rsa-stock", "0,0,0"]);
    let mut load = Load::start(&daemon).await;
    await_devices(&daemon, 2);
    // Each device in turn: the second kill shows that the first one came back to work.
    for _ in 0..2 {
        load.prove().await;
        let before: BTreeSet<u32> = emulators(&daemon).into_iter().collect();
        assert_eq!(before.len(), 2);
        let victim = *before.first().expect("two");
        signal_process(victim, Signal::KILL);
        load.prove().await;
        let by = Instant::now() + PATIENCE;
        while emulators(&daemon).len() < 2 || emulators(&daemon).contains(&victim) {
            assert!(Instant::now() < by, "the emulator was not started again\n{}", daemon.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        await_devices(&daemon, 2);
    }
    load.prove().await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_device_fails_no_request() {
    let daemon = Daemon::start_with(&["qemu:2"], &["--rsa-stock", "0,0,0"]);
    let mut load = Load::start(&daemon).await;
    await_devices(&daemon, 2);
    load.prove().await;
    let stopped = emulators(&daemon)[0];
    signal_process(stopped, Signal::STOP);
    // It is out of service, or was even replaced by another one, which may have been too quick to see.
    tokio::task::block_in_place(|| {
        until("the stopped device is noticed", || {
            devices_in_service(&daemon) == 1 || !emulators(&daemon).contains(&stopped)
        });
    });
    load.prove().await;
    if emulators(&daemon).contains(&stopped) {
        signal_process(stopped, Signal::CONT);
    }
    await_devices(&daemon, 2);
    load.prove().await;
    load.finish().await;
}
