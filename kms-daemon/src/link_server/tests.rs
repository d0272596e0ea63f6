//! Two daemons, each with a Region, and a line between them that can be cut.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

mod keys;
mod trust;

use super::LinkServer;
use crate::api::{Service, testing};
use crate::app::App;
use crate::credentials::Credentials;
use crate::iam::{Iam, Setup};
use crate::job::outbox::send_all;
use crate::link::{PeerAddress, Peers};
use crate::management::Management;
use crate::metrics::Metrics;
use crate::regions::Regions;
use kms_audit::{AuditFacts, AuditLog, verify};
use kms_base::clock::{ManualClock, Timestamp};
use kms_base::context::RequestContext;
use kms_base::error::KmsError;
use kms_base::principal::Principal;
use kms_installation::link_identity::Identity;
use kms_model::Operation;
use kms_sigv4::Verifier;
use kms_store::{MemoryStore, Store};

const ACCOUNT: &str = "000000000000";
const WEST: &str = "us-west-2";
const EAST: &str = "us-east-1";

/// A daemon with one Region.
struct Daemon {
    region: &'static str,
    app: Arc<App>,
    identity: Arc<Identity>,
    clock: Arc<ManualClock>,
    link: Option<JoinHandle<()>>,
    address: SocketAddr,
    dir: TempDir,
}

/// Two daemons that know each other.
async fn pair() -> (Daemon, Daemon) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let identities: Vec<_> =
        dirs.iter().map(|dir| Arc::new(Identity::of_data(dir.path()).unwrap())).collect();
    let ports = [free_port(), free_port()];
    let [west_dir, east_dir] = dirs;
    let west = Daemon::start(0, WEST, west_dir, &identities, ports, EAST).await;
    let east = Daemon::start(1, EAST, east_dir, &identities, ports, WEST).await;
    (west, east)
}

/// An address that nobody else listens on: of the loopback network it is this process's, and the system
/// does not choose the port for others, as it might between two times that the line is plugged in.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);

    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    // Process ids have 22 bits.
    SocketAddr::from(([127, 0x40 | (high & 0x3f), middle, low], port))
}

impl Daemon {
    async fn start(
        own: usize,
        region: &'static str,
        dir: TempDir,
        identities: &[Arc<Identity>],
        ports: [SocketAddr; 2],
        other: &str,
    ) -> Self {
        let peer = PeerAddress {
            region: other.to_owned(),
            address: ports[1 - own].to_string(),
            certificate: identities[1 - own].path().to_owned(),
        };
        let peers = Peers::new(&identities[own], &[peer]).unwrap();
        let pool = testing::pool(own);
        let regions = Regions::new([(region.to_owned(), pool)], testing::ruler()).with_peers(peers);
        let regions = Arc::new(regions);
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let store = Arc::new(MemoryStore::new());
        let iam = Iam::open(Setup {
            store: Arc::clone(&store) as Arc<dyn Store>,
            regions: Arc::clone(&regions),
            region: region.to_owned(),
            clock: clock.clone(),
            account: ACCOUNT.to_owned(),
            roots: Credentials::default(),
        })
        .await
        .unwrap();
        let iam = Arc::new(iam);
        let service = Service::open(store, Arc::clone(&regions), clock.clone()).await.unwrap();
        let service = service.with_identities(Arc::clone(&iam));
        let (audit, _) = AuditLog::open(&dir.path().join("audit"), json!({})).await.unwrap();
        let served = Arc::clone(&regions);
        let app = Arc::new(App {
            service,
            verifier: Verifier::new(
                Arc::new(move |region| served.has(region)),
                std::time::Duration::from_secs(300),
            ),
            management: Management::new(Arc::clone(&iam)),
            iam,
            audit: Arc::new(audit),
            admission: crate::admission::Admission::default(),
            metrics: Metrics::new(),
            region: region.to_owned(),
            account: ACCOUNT.to_owned(),
        });
        let (identity, address) = (Arc::clone(&identities[own]), ports[own]);
        let mut daemon = Self { region, app, identity, clock, link: None, address, dir };
        daemon.plug().await;
        daemon
    }

    /// Lets the other daemon in.
    async fn plug(&mut self) {
        let peers = self.app.service.regions().peers();
        let port = tokio::net::TcpListener::bind(self.address).await.unwrap();
        let server = LinkServer::new(port, &self.identity, peers).unwrap();
        self.link = Some(tokio::spawn(server.run(Arc::clone(&self.app))));
    }

    /// Cuts the line.
    async fn cut(&mut self) {
        let link = self.link.take().unwrap();
        link.abort();
        let _ = link.await;
    }

    /// Does what other Regions are to be told; how much is left.
    async fn outbox(&self) -> usize {
        send_all(&self.app).await.unwrap()
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, KmsError> {
        let request = RequestContext {
            request_id: Uuid::new_v4(),
            event_id: Uuid::new_v4(),
            principal: Principal::root(ACCOUNT, "AKIAEXAMPLE"),
            region: self.region.to_owned(),
            source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            is_encrypted: false,
            user_agent: None,
            invocation: None,
            referer: None,
            received: SystemTime::now(),
        };
        let operation = Operation::from_name(operation).unwrap();
        let mut facts = AuditFacts::default();
        let body = input.to_string();
        let answer =
            self.app.service.call(operation, &request, body.as_bytes(), &mut facts).await?;
        Ok(match answer.as_bytes() {
            b"" => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        })
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn refused(&self, operation: &str, input: Value) -> &'static str {
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation}: {answer}"),
            Err(error) => error.code(),
        }
    }

    async fn metadata(&self, id: &str) -> Value {
        self.ok("DescribeKey", json!({ "KeyId": id })).await["KeyMetadata"].clone()
    }

    async fn encrypt(&self, id: &str) -> Value {
        self.ok("Encrypt", json!({ "KeyId": id, "Plaintext": "eA==" })).await["CiphertextBlob"]
            .clone()
    }

    async fn decrypts(&self, blob: &Value) {
        let opened = self.ok("Decrypt", json!({ "CiphertextBlob": blob })).await;
        assert_eq!(opened["Plaintext"], "eA==");
    }

    /// Checks the audit log, the devices' own chains included.
    async fn audited(self) -> Vec<String> {
        let Self { app, dir, .. } = self;
        drop(app);
        let path = dir.path().join("audit");
        let names = std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path());
        let lines: Vec<_> = names
            .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
            .flat_map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        assert!(verify(&path).is_ok());
        lines
    }
}

async fn multi_region(daemon: &Daemon, more: Value) -> String {
    let mut input = more;
    input["MultiRegion"] = json!(true);
    let made = daemon.ok("CreateKey", input).await;
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn replicate(from: &Daemon, to: &Daemon, id: &str) -> Value {
    let input = json!({ "KeyId": id, "ReplicaRegion": to.region });
    from.ok("ReplicateKey", input).await["ReplicaKeyMetadata"].clone()
}
