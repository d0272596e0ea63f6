//! Asks the other sides of connected custom key stores how they are, as AWS KMS does every few minutes: proxies, so
//! that the metrics tell before a caller notices; tokens, so that they are logged in to after a start.

use std::sync::Arc;
use std::time::Duration;

use host_driver::audit::DeviceReceipt;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::clusters;
use crate::app::App;
use crate::proxy::Target;
use kms_base::error::KmsError;
use kms_base::identifier::Scope;
use kms_keys::custom_store::{Backend, CloudHsm, ConnectionState, CustomKeyStores, XksProxy};
use kms_xks::RequestMetadata;

/// The time between two health checks.
pub(super) const INTERVAL: Duration = Duration::from_secs(180);

/// Asks the other side of each connected store, and returns how many there are. What a proxy answers is in the
/// metrics; a store stays connected whatever it is. But a password that tokens refuse would be locked in the end,
/// so then the store has failed.
pub(super) async fn check(app: &Arc<App>) -> Result<usize, KmsError> {
    let mut asked = 0;
    if let Some(proxies) = app.service.proxies() {
        proxies.sweep();
    }
    // Tokens that do not answer take their time, which is not that of other stores.
    let mut tokens = JoinSet::new();
    for stores in app.service.catalog().all_custom_key_stores().await? {
        for store in &stores.stores {
            let is_connected = store.connection.state == ConnectionState::Connected;
            if !is_connected || !app.service.regions().has(&stores.scope.region) {
                continue;
            }
            match &store.backend {
                Backend::Xks(proxy) => {
                    let was_asked = ask_proxy(app, &stores.scope, (&store.id, proxy)).await;
                    asked += usize::from(was_asked);
                }
                Backend::CloudHsm(login) => {
                    let (app, stores) = (Arc::clone(app), stores.clone());
                    let (id, login) = (store.id.clone(), login.clone());
                    tokens.spawn(async move { ask_cluster(&app, &stores, (&id, &login)).await });
                }
            }
        }
    }
    // All of them are asked, whatever becomes of one.
    for was_asked in tokens.join_all().await {
        asked += usize::from(was_asked?);
    }
    Ok(asked)
}

async fn ask_proxy(app: &App, scope: &Scope, (id, proxy): (&str, &XksProxy)) -> bool {
    let Some(proxies) = app.service.proxies() else { return false };
    let request = Uuid::new_v4();
    let mut receipts: Vec<DeviceReceipt> = Vec::new();
    let trace = (request.into_bytes(), &mut receipts);
    let secret = match app.iam.open_proxy_secret(id, proxy, trace).await {
        Ok(secret) => secret,
        Err(error) => {
            tracing::warn!(store = id, %error, "no device opens the credential of a proxy");
            return false;
        }
    };
    let (store, scope) = (id.to_owned(), scope.clone());
    let target = Target { store, proxy: proxy.clone(), scope, secret };
    let told = RequestMetadata {
        kms_operation: "KmsHealthCheck".to_owned(),
        kms_request_id: request.to_string(),
        ..RequestMetadata::default()
    };
    // A failure is counted and logged where it happens.
    let _ = proxies.health(&target, &told).await;
    proxies.observe(id, proxy, app.service.now());
    true
}

async fn ask_cluster(
    app: &App,
    stores: &CustomKeyStores,
    (id, login): (&str, &CloudHsm),
) -> Result<bool, KmsError> {
    let Some(clusters) = app.service.clusters() else { return Ok(false) };
    let Some(target) = clusters::target(&app.iam, stores, (id, login)).await else {
        return Ok(false);
    };
    if let Err(failure) = clusters.probe(&target).await {
        tracing::error!(store = id, %failure, "a custom key store has failed");
        clusters.forget(id);
        clusters::fail(&app.service, &stores.scope, (id, login), failure.of_connection()).await?;
    } else {
        // Those of tokens that were away when the store was connected.
        clusters.learn(app.service.catalog(), &stores.scope, (id, login.cluster.as_str())).await?;
    }
    Ok(true)
}
