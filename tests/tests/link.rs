//! A key of two Regions that two daemons serve, with AWS's SDK, while the daemons come and go.

use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeyState, MultiRegionKeyType};
use hsm_tests::ctl;
use hsm_tests::daemon::{Daemon, reserved_address};
use hsm_tests::patience::PATIENCE;
use hsm_tests::sdk::{client_in, code};

const WEST: &str = "us-west-2";
const EAST: &str = "us-east-1";

/// Two daemons, each the other's peer.
fn pair(hsm: &str) -> (Daemon, Daemon) {
    let (mut west, mut east) = (Daemon::stopped(&[hsm]), Daemon::stopped(&[hsm]));
    let ports = [(); 2].map(|()| reserved_address().to_string());
    for daemon in [&west, &east] {
        let data = daemon.data().to_str().expect("UTF-8");
        let (status, output) = ctl::run(&["link", "certificate", "--data", data]);
        assert_eq!(status, 0, "{output}");
        let pem = output["pem"].as_str().expect("a certificate");
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{output}");
    }
    let certificates = [&west, &east].map(|daemon| {
        let path = daemon.data().join("link/certificate.pem");
        path.to_str().expect("UTF-8").to_owned()
    });
    for (own, daemon, region, peer) in [(0, &mut west, WEST, EAST), (1, &mut east, EAST, WEST)] {
        let (port, certificate) = (&ports[1 - own], &certificates[1 - own]);
        let arguments = [
            "--region",
            region,
            "--link-listen",
            &ports[own],
            "--peer",
            &format!("{peer}={port},{certificate}"),
        ];
        daemon.replace_arguments(&arguments.map(str::to_owned));
        daemon.restart();
    }
    (west, east)
}

async fn metadata(client: &Client, id: &str) -> KeyMetadata {
    let described = client.describe_key().key_id(id).send().await.expect("the key is there");
    described.key_metadata.expect("metadata")
}

/// Waits until the metadata of a key are as they should be.
async fn until(client: &Client, id: &str, right: impl Fn(&KeyMetadata) -> bool) {
    let by = Instant::now() + PATIENCE;
    loop {
        let metadata = metadata(client, id).await;
        if right(&metadata) {
            return;
        }
        assert!(Instant::now() < by, "{metadata:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn encrypt(client: &Client, id: &str) -> Blob {
    let made = client.encrypt().key_id(id).plaintext(Blob::new("x")).send().await;
    made.expect("encrypted").ciphertext_blob.expect("a ciphertext")
}

async fn decrypts(client: &Client, blob: &Blob) {
    let opened = client.decrypt().ciphertext_blob(blob.clone()).send().await.expect("decrypted");
    assert_eq!(opened.plaintext.expect("a plaintext").as_ref(), b"x");
}

async fn life_of_a_key(hsm: &str) {
    let (mut west, mut east) = pair(hsm);
    let (here, there) = (client_in(WEST, &west), client_in(EAST, &east));
    let made = here.create_key().multi_region(true).send().await.expect("made");
    let id = made.key_metadata.expect("metadata").key_id;
    let before = encrypt(&here, &id).await;
    let made = here.replicate_key().key_id(&id).replica_region(EAST).send().await;
    let replica = made.expect("replicated").replica_key_metadata.expect("metadata");
    assert_eq!(replica, metadata(&there, &id).await);
    decrypts(&there, &before).await;

    // While the other daemon is down, the key works, but does not rotate.
    east.kill();
    decrypts(&here, &encrypt(&here, &id).await).await;
    let refused = code(here.rotate_key_on_demand().key_id(&id).send().await);
    assert_eq!(refused, "DependencyTimeoutException");
    here.enable_key_rotation().key_id(&id).rotation_period_in_days(90).send().await.expect("set");
    // Nor does it forget what it has to tell when it is killed itself.
    west.kill();
    west.restart();
    east.restart();
    let (here, there) = (client_in(WEST, &west), client_in(EAST, &east));
    let by = Instant::now() + PATIENCE;
    loop {
        let status = there.get_key_rotation_status().key_id(&id).send().await.expect("a status");
        if status.rotation_period_in_days == Some(90) {
            break;
        }
        assert!(Instant::now() < by, "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    here.rotate_key_on_demand().key_id(&id).send().await.expect("rotated");
    let rotated = encrypt(&here, &id).await;
    decrypts(&there, &rotated).await;
    let current = metadata(&here, &id).await.current_key_material_id;
    until(&there, &id, |metadata| metadata.current_key_material_id == current).await;

    // The primary moves, and the deletion of the former one is told.
    here.update_primary_region().key_id(&id).primary_region(EAST).send().await.expect("moves");
    for client in [&here, &there] {
        let is = |metadata: &KeyMetadata| {
            let regions = metadata.multi_region_configuration.as_ref().expect("Regions");
            let primary = regions.primary_key.as_ref().and_then(|key| key.region.as_deref());
            primary == Some(EAST) && metadata.key_state == Some(KeyState::Enabled)
        };
        until(client, &id, is).await;
    }
    there.rotate_key_on_demand().key_id(&id).send().await.expect("rotated");
    decrypts(&here, &encrypt(&there, &id).await).await;
    let moved = metadata(&here, &id).await.multi_region_configuration.expect("Regions");
    assert_eq!(moved.multi_region_key_type, Some(MultiRegionKeyType::Replica));
    there.schedule_key_deletion().key_id(&id).send().await.expect("scheduled");
    until(&there, &id, |m| m.key_state == Some(KeyState::PendingReplicaDeletion)).await;

    for daemon in [&mut west, &mut east] {
        assert!(daemon.stop().success());
        let audit = daemon.data().join("audit");
        let (intact, output) = ctl::verify(&audit);
        assert!(intact, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_devices_in_the_daemons() {
    life_of_a_key("soft").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_emulated_devices() {
    life_of_a_key("qemu").await;
}
