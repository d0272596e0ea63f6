//! Asks external key store proxies how they are, as AWS KMS does every few minutes, so that the metrics tell
//! before a caller notices.

use std::time::Duration;

use host_driver::audit::DeviceReceipt;
use uuid::Uuid;

use crate::app::App;
use crate::proxy::Target;
use kms_base::error::KmsError;
use kms_keys::custom_store::{ConnectionState, CustomKeyStore};
use kms_xks::RequestMetadata;

/// The time between two health checks.
pub(super) const INTERVAL: Duration = Duration::from_secs(180);

/// Asks the proxy of each connected store, and returns how many there are. What a proxy answers is in the
/// metrics; a store stays connected whatever it is.
pub(super) async fn check(app: &App) -> Result<usize, KmsError> {
    let Some(proxies) = app.service.proxies() else { return Ok(0) };
    let mut asked = 0;
    for stores in app.service.catalog().all_custom_key_stores().await? {
        for store in &stores.stores {
            let CustomKeyStore { id, xks_proxy, connection, .. } = store;
            let is_connected = connection.state == ConnectionState::Connected;
            if !is_connected || !app.service.regions().has(&stores.scope.region) {
                continue;
            }
            let request = Uuid::new_v4();
            let mut receipts: Vec<DeviceReceipt> = Vec::new();
            let trace = (request.into_bytes(), &mut receipts);
            let secret = match app.iam.open_proxy_secret(id, xks_proxy, trace).await {
                Ok(secret) => secret,
                Err(error) => {
                    tracing::warn!(store = id, %error, "no device opens the credential of a proxy");
                    continue;
                }
            };
            let target = Target {
                store: id.clone(),
                proxy: xks_proxy.clone(),
                region: stores.scope.region.clone(),
                secret,
            };
            let told = RequestMetadata {
                kms_operation: "KmsHealthCheck".to_owned(),
                kms_request_id: request.to_string(),
                ..RequestMetadata::default()
            };
            // A failure is counted and logged where it happens.
            let _ = proxies.health(&target, &told).await;
            proxies.observe(id, xks_proxy, app.service.now());
            asked += 1;
        }
    }
    Ok(asked)
}
