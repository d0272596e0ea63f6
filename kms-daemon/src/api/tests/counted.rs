//! The numbers of keys by state, which operators monitor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Rig;
use super::rig::REGION;
use crate::counting::Counting;
use kms_keys::Counted;
use kms_model::state::KeyState;
use kms_store::Store;

fn of(states: &[(KeyState, u64)]) -> Counted {
    let states = states.iter().map(|(state, count)| ((REGION.to_owned(), *state), *count));
    states.collect::<BTreeMap<_, _>>()
}

/// Waits until the counts have these values.
async fn until(rig: &Rig, states: &[(KeyState, u64)]) {
    let by = Instant::now() + Duration::from_secs(600);
    loop {
        let counted = rig.service.catalog().counted();
        if counted == Some(of(states)) {
            return;
        }
        assert!(Instant::now() < by, "{counted:?}, not {states:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn counts_follow_every_change_and_cost_nothing() {
    let store = Arc::new(Counting::default());
    let rig = Rig::on(Arc::clone(&store) as Arc<dyn Store>).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(rig.create("SYMMETRIC_DEFAULT").await);
    }
    until(&rig, &[(KeyState::Enabled, 5)]).await;
    let calls = store.calls();
    for _ in 0..1000 {
        assert_eq!(rig.service.catalog().counted(), Some(of(&[(KeyState::Enabled, 5)])));
    }
    assert_eq!(store.calls(), calls, "nothing is read from the store");

    rig.ok("DisableKey", json!({ "KeyId": ids[0] })).await;
    rig.ok("ScheduleKeyDeletion", json!({ "KeyId": ids[1] })).await;
    rig.ok("UpdateKeyDescription", json!({ "KeyId": ids[2], "Description": "d" })).await;
    let states = [(KeyState::Enabled, 3), (KeyState::Disabled, 1), (KeyState::PendingDeletion, 1)];
    until(&rig, &states).await;
    rig.ok("EnableKey", json!({ "KeyId": ids[0] })).await;
    rig.ok("CreateKey", json!({ "Origin": "EXTERNAL" })).await;
    let states = [
        (KeyState::Enabled, 4),
        (KeyState::Disabled, 0),
        (KeyState::PendingDeletion, 1),
        (KeyState::PendingImport, 1),
    ];
    until(&rig, &states).await;
    assert_eq!(rig.service.catalog().remove_all().await.unwrap(), 6);
    let none = states.map(|(state, _)| (state, 0));
    until(&rig, &none).await;
}
