//! Keeps the devices of this daemon up to date with changes of their domain that were made at other daemons on
//! the same store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::regions::Regions;
use kms_installation::consistency::{EXCHANGE_PREFIX, Exchange};
use kms_store::{Change, Event, Store, StoreError, Watch, WatchError, current_revision};

/// How often it is looked for what no change has told of, such as devices that were away.
const LOOK: Duration = Duration::from_secs(30);
/// The same, after something went wrong or while somebody waits.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until it is dropped; at once and for good where the store is this daemon's alone.
pub(crate) async fn run(store: Arc<dyn Store>, regions: Arc<Regions>) {
    let Some(exchange) = Exchange::of(store) else { return };
    let mut said = BTreeMap::new();
    let mut watch = None;
    loop {
        // From before the look on, so that nothing falls between.
        if watch.is_none() {
            watch = begin(&**exchange.store()).await.ok();
        }
        let mut pause = LOOK;
        for region in regions.names() {
            match regions.keep_up(&region, &exchange).await {
                Ok(is_complete) => {
                    said.remove(&region);
                    if !is_complete {
                        pause = RETRY;
                    }
                }
                Err(error) => {
                    pause = RETRY;
                    let text = error.to_string();
                    if said.get(&region) != Some(&text) {
                        tracing::warn!(
                            region,
                            error = text,
                            "cannot keep the devices up to date with their domain now, will try again"
                        );
                        said.insert(region, text);
                    }
                }
            }
        }
        match &mut watch {
            None => tokio::time::sleep(RETRY).await,
            Some(changes) => {
                let news = timeout(pause, news(&mut **changes)).await;
                if matches!(news, Ok(Err(_))) {
                    watch = None;
                }
            }
        }
    }
}

async fn begin(store: &dyn Store) -> Result<Box<dyn Watch>, StoreError> {
    Ok(store.watch(current_revision(store).await?))
}

/// Waits for a change that is about domains.
async fn news(watch: &mut dyn Watch) -> Result<(), WatchError> {
    loop {
        if is_about_domains(&*watch.next().await?) {
            return Ok(());
        }
    }
}

fn is_about_domains(change: &Change) -> bool {
    change.events.iter().map(Event::key).any(|key| key.starts_with(EXCHANGE_PREFIX.as_bytes()))
}
