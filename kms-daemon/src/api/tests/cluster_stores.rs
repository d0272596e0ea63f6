//! Keys in tokens, with SoftHSM2 where the machine has it: what ends with a KMS key, and what a store does not become.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Rig;
use super::device::regions;
use super::rig::{ACCOUNT, REGION};
use crate::api::Service;
use crate::cluster::Clusters;
use crate::credentials::Credentials;
use crate::iam::{Iam, Setup};
use crate::job::clusters;
use crate::job::deletion::{DeletionObserver, destroy_due};
use kms_base::clock::{Clock, ManualClock, Timestamp};
use kms_base::hex;
use kms_installation::tls;
use kms_keys::KeyRecord;
use kms_keys::catalog::Update;
use kms_keys::custom_store::Cluster;
use kms_pkcs11::{Fault, Modules, Place, Shares, Token};
use kms_store::{MemoryStore, Store};

/// Where Debian and Ubuntu put SoftHSM2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "kmsuser-1";
const CLUSTER: &str = "cluster-abcdefghijk";
const OTHER: &str = "cluster-kjihgfedcba";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The modules of a test, if there are SoftHSM2 and `kmsd`, which runs them; said where one is missing.
fn modules(dir: &Path) -> Option<Modules> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("kmsd"));
    let program = std::env::var_os("STRONGROOM_KMSD").map(PathBuf::from).or_else(beside)?;
    if !Path::new(MODULE).exists() || !program.exists() {
        // Not by `eprintln!`, which the test harness captures: what is left out is told in the end.
        let text = "\nSKIPPED cluster_stores: SoftHSM2 or kmsd is missing; apt-get install softhsm2, and \
                    cargo build -p kms-daemon";
        let _ = writeln!(std::io::stderr(), "{text}");
        return None;
    }
    let config = dir.join("softhsm2.conf");
    std::fs::create_dir(dir.join("tokens")).unwrap();
    let text = format!("directories.tokendir = {}/tokens\n", dir.display());
    std::fs::write(&config, text).unwrap();
    for label in ["ada", "bea"] {
        let made = Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", &config)
            .args([
                "--init-token",
                "--free",
                "--label",
                label,
                "--so-pin",
                "12345678",
                "--pin",
                PIN,
            ])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    Some(Modules {
        program,
        allowed: vec![MODULE.into()],
        environment: vec![("SOFTHSM2_CONF".into(), config.into())],
        limit: Duration::from_secs(20),
        processes: Shares::new(64),
    })
}

/// A service with two clusters on the same tokens, and its identities.
async fn rig(dir: &TempDir, modules: &Modules) -> (Rig, Arc<Iam>, String) {
    tls::own(dir.path(), vec!["localhost".to_owned()], "anchor").unwrap();
    let anchor = std::fs::read_to_string(dir.path().join("certificate.pem")).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let regions = regions(1);
    let mut roots = Credentials::default();
    roots.insert_root(ACCOUNT, "AKIAEXAMPLE", "secret-access-key".to_owned().into());
    let iam = Iam::open(Setup {
        store: Arc::clone(&store),
        regions: Arc::clone(&regions),
        region: REGION.to_owned(),
        clock: clock.clone(),
        account: ACCOUNT.to_owned(),
        roots,
    });
    let iam = Arc::new(iam.await.unwrap());
    let service = Service::open(store, regions, clock.clone()).await.unwrap();
    let service = service.with_identities(Arc::clone(&iam));
    let service = service.with_clusters(Arc::new(Clusters::new(modules.clone())));
    let rig = Rig { service: Arc::new(service), clock, region: REGION };
    let stores = rig.service.catalog().custom_key_stores(&rig.scope()).await.unwrap();
    let mut changed = stores.value.clone();
    for id in [CLUSTER, OTHER] {
        changed.clusters.push(Cluster {
            id: id.to_owned(),
            module: MODULE.to_owned(),
            tokens: vec!["ada".to_owned(), "bea".to_owned()],
            trust_anchor: anchor.clone(),
            single: false,
            created: Timestamp::from_millis(1),
            serials: BTreeMap::new(),
        });
    }
    let replaced = rig.service.catalog().replace_custom_key_stores(&stores, &changed).await;
    assert_eq!(replaced.unwrap(), Update::Applied);
    (rig, iam, anchor)
}

/// Does what the daemon's own observer does once a key is destroyed.
struct Observer(Arc<Service>, Arc<Iam>);

impl DeletionObserver for Observer {
    async fn destroying(&self, _: &KeyRecord) -> Result<(), String> {
        Ok(())
    }

    async fn destroyed(&self, key: &KeyRecord) {
        let external = key.external.as_ref().unwrap();
        clusters::destroy((&self.0, &self.1), key, external).await;
    }
}

#[tokio::test]
async fn the_key_in_tokens_ends_with_the_kms_key() {
    let dir = TempDir::new().unwrap();
    let Some(modules) = modules(dir.path()) else { return };
    let (rig, iam, anchor) = rig(&dir, &modules).await;
    let create = json!({
        "CustomKeyStoreName": "own", "CloudHsmClusterId": CLUSTER,
        "KeyStorePassword": PIN, "TrustAnchorCertificate": anchor,
    });
    let mut mixed = create.clone();
    mixed["XksProxyConnectivity"] = json!("PUBLIC_ENDPOINT");
    assert_eq!(rig.refused("CreateCustomKeyStore", mixed).await, "ValidationException");
    let made = rig.ok("CreateCustomKeyStore", create).await;
    let store = json!({ "CustomKeyStoreId": made["CustomKeyStoreId"] });
    let update = |name: &str, value: Value| {
        let mut body = store.clone();
        body[name] = value;
        body
    };
    let moved =
        rig.refused("UpdateCustomKeyStore", update("CloudHsmClusterId", json!(OTHER))).await;
    assert_eq!(moved, "CloudHsmClusterNotRelatedException");
    let nowhere = update("CloudHsmClusterId", json!("cluster-22222222222"));
    let nowhere = rig.refused("UpdateCustomKeyStore", nowhere).await;
    assert_eq!(nowhere, "CloudHsmClusterNotFoundException");
    let proxied = update("XksProxyUriPath", json!("/kms/xks/v1"));
    assert_eq!(rig.refused("UpdateCustomKeyStore", proxied).await, "ValidationException");
    let empty = rig.refused("UpdateCustomKeyStore", store.clone()).await;
    assert_eq!(empty, "ValidationException");

    rig.ok("ConnectCustomKeyStore", store.clone()).await;
    let mut state = Value::Null;
    for _ in 0..10_000 {
        let found = rig.ok("DescribeCustomKeyStores", store.clone()).await;
        state = found["CustomKeyStores"][0]["ConnectionState"].clone();
        if state != "CONNECTING" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(state, "CONNECTED");
    rig.ok("UpdateCustomKeyStore", update("NewCustomKeyStoreName", json!("renamed"))).await;
    let mut body = store.clone();
    body["Origin"] = json!("AWS_CLOUDHSM");
    let made = rig.ok("CreateKey", body).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let external = rig.record(&id).await.unwrap().external.clone().unwrap();
    let key: [u8; 16] = hex::decode(&external.id).unwrap();
    let token = |label: &str| {
        let place = Place {
            module: MODULE.into(),
            label: label.to_owned(),
            serial: None,
            owner: "test".to_owned(),
        };
        Token::new(&modules, place, PIN.to_owned().into())
    };
    let tokens = [token("ada"), token("bea")];
    for token in &tokens {
        token.check(&key).await.unwrap();
    }
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": id })).await;
    let observer = Observer(Arc::clone(&rig.service), iam);
    let due = || destroy_due(rig.service.catalog(), rig.clock.now(), &observer);
    assert_eq!(due().await.unwrap(), 0);
    tokens[0].check(&key).await.unwrap();
    rig.clock.advance(30 * DAY);
    assert_eq!(due().await.unwrap(), 1);
    for token in &tokens {
        assert_eq!(token.check(&key).await, Err(Fault::NoKey), "{}", token.label());
    }
    rig.ok("DisconnectCustomKeyStore", store.clone()).await;
    rig.ok("DeleteCustomKeyStore", store).await;
}
