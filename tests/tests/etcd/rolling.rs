//! Both daemons are restarted in turn while clients call: no request is lost.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{BehaviorVersion, Config, Region};
use aws_sdk_kms::primitives::Blob;
use hsm_tests::ctl;
use hsm_tests::daemon::{Daemon, REGION};
use hsm_tests::http::get;
use hsm_tests::patience::until;

use super::{BOUND, Pair};

/// One address for several daemons, as a load balancer on layer 4 is: a connection goes to one that can be
/// connected to.
struct Balancer {
    url: String,
    behind: Arc<Mutex<Vec<String>>>,
}

impl Balancer {
    fn start(daemons: &[&Daemon]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let behind: Vec<String> =
            daemons.iter().map(|daemon| daemon.address().to_owned()).collect();
        let behind = Arc::new(Mutex::new(behind));
        let known = Arc::clone(&behind);
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let daemons = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let turn = daemons.iter().cycle().skip(number % daemons.len()).take(daemons.len());
                if let Some(server) = turn.filter_map(|to| TcpStream::connect(to).ok()).next() {
                    forward(client, server);
                }
            }
        });
        Self { url, behind }
    }

    /// A daemon has another address since its restart.
    fn replace(&self, number: usize, daemon: &Daemon) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        daemon.address().clone_into(&mut behind[number]);
    }
}

fn forward(client: TcpStream, server: TcpStream) {
    let halves = |from: &TcpStream, to: &TcpStream| (from.try_clone(), to.try_clone());
    for (from, to) in [halves(&client, &server), halves(&server, &client)] {
        let (Ok(mut from), Ok(mut to)) = (from, to) else { return };
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

#[test]
fn a_rolling_restart_loses_no_request() {
    let mut pair = Pair::start();
    pair.await_ready();
    roll(&mut pair, &[None, None, None, None]);
}

/// Restarts the daemons of a pair in turn while clients call, each with the next one of the programs; `None` is that of
/// this tree. No request is lost.
pub(super) fn roll(pair: &mut Pair, programs: &[Option<PathBuf>]) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let balancer = Balancer::start(&[&pair.one, &pair.two]);
    // Of an account in the cluster: the root of the first one is each daemon's own.
    let file = pair.one.credentials_file();
    let root = ["--url", pair.one.url(), "--credentials", file.to_str().expect("UTF-8")];
    let (code, account) = ctl::run(&[&["account", "create"], &root[..]].concat());
    assert_eq!(code, 0, "{account}");
    let text = |member: &str| account["AccessKey"][member].as_str().expect("a text").to_owned();
    let (id, secret) = (text("AccessKeyId"), text("SecretAccessKey"));
    let credentials = aws_sdk_kms::config::Credentials::new(id, secret, None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&balancer.url)
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        // The default of SDKs: three attempts in all.
        .retry_config(RetryConfig::standard())
        .build();
    let client = Client::from_conf(config);
    let made = runtime.block_on(client.create_key().send()).expect("a key");
    let key = made.key_metadata.expect("metadata").key_id;
    // What one daemon has made is known to the other one within a second.
    std::thread::sleep(BOUND);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..6)
        .map(|number: u64| {
            let (client, key) = (client.clone(), key.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            runtime.spawn(async move {
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = Blob::new(format!("{number} {round}"));
                    let call = client.encrypt().key_id(&key).plaintext(text.clone()).send();
                    let blob = call.await.expect("encrypts").ciphertext_blob.expect("a blob");
                    let call = client.decrypt().ciphertext_blob(blob).send();
                    assert_eq!(call.await.expect("decrypts").plaintext, Some(text));
                    done.fetch_add(2, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let failed = || callers.iter().any(tokio::task::JoinHandle::is_finished);
    for (round, program) in programs.iter().enumerate() {
        let before = done.load(Ordering::Relaxed);
        until("the clients are served", || done.load(Ordering::Relaxed) > before + 100 || failed());
        assert!(!failed(), "{}\n{}", pair.one.output(), pair.two.output());
        let daemon = if round % 2 == 0 { &mut pair.one } else { &mut pair.two };
        // It drains, and does not take long to.
        let (status, output) = daemon.stop_and_read();
        assert!(status.success(), "{output}");
        assert!(!output.contains("stopping although requests are under way"), "{output}");
        let during = done.load(Ordering::Relaxed);
        until("the other one serves", || done.load(Ordering::Relaxed) > during + 100 || failed());
        daemon.set_program(program.clone());
        daemon.restart();
        balancer.replace(round % 2, daemon);
        until("it is ready", || get(daemon, "/readyz").status == 200);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        runtime.block_on(caller).expect("no request was lost");
    }
    println!("{} requests in {} restarts", done.load(Ordering::Relaxed), programs.len());
}
