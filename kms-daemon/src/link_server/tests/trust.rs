//! Who may say what over the link.

use serde_json::json;

use super::{ACCOUNT, EAST, Identity, PeerAddress, Peers, WEST, multi_region, pair, replicate};
use crate::link::{Place, Synchronise, Wrapped};

#[tokio::test]
async fn only_known_daemons_are_let_in() {
    let (west, east) = pair().await;
    let dir = tempfile::tempdir().unwrap();
    let stranger = Identity::of_data(dir.path()).unwrap();
    let as_west = PeerAddress {
        region: WEST.to_owned(),
        address: west.address.to_string(),
        certificate: west.identity.path().to_owned(),
    };
    // Somebody else's certificate.
    let peers = Peers::new(&stranger, std::slice::from_ref(&as_west)).unwrap();
    assert!(peers.hello(WEST).await.is_err());
    // Somebody else where the daemon should be.
    let impostor = PeerAddress { certificate: stranger.path().to_owned(), ..as_west.clone() };
    let peers = Peers::new(&east.identity, &[impostor]).unwrap();
    assert!(peers.hello(WEST).await.is_err());
    let peers = Peers::new(&east.identity, &[as_west]).unwrap();
    peers.hello(WEST).await.unwrap();
}

#[tokio::test]
async fn a_daemon_speaks_for_its_own_regions_only() {
    let (west, east) = pair().await;
    let id = multi_region(&west, json!({})).await;
    replicate(&west, &east, &id).await;
    let scope = kms_base::identifier::Scope::new(ACCOUNT, WEST);
    let key = kms_base::identifier::KeyId::parse(&id).unwrap();
    let record = west.app.service.catalog().key(&scope, key).await.unwrap().unwrap();
    let mut shared = record.shared().unwrap();
    shared.regions.version += 10;
    // East has the replica: what it says of the key is nothing to the primary.
    let peers = east.app.service.regions().peers();
    let domain = east.app.service.regions().info(EAST).await.unwrap();
    for (from, primary) in [(EAST, WEST), (WEST, WEST), (EAST, EAST)] {
        shared.regions.primary = primary.to_owned();
        let message = Synchronise {
            place: Place { scope: scope.clone(), key },
            from: from.to_owned(),
            domain,
            shared: shared.clone(),
            material: Wrapped::default(),
            ahead: false,
        };
        let refused = peers.synchronise(&message).await;
        assert!(refused.is_err(), "{from} {primary}");
    }
    let configuration = &west.metadata(&id).await["MultiRegionConfiguration"];
    assert_eq!(configuration["PrimaryKey"]["Region"], WEST);
}
