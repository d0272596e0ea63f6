//! Records of what the service does by itself.

use std::time::SystemTime;

use hsm_protocol::MaterialId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::KEY;
use super::record::{EVENT_VERSION, event_time};
use super::{AuditLog, DeviceReceipt, KeyEvent, Kind};
use crate::key::KeyRecord;
use crate::key::deletion::DeletionObserver;
use crate::key::import::ExpiryObserver;
use crate::key::rotation::RotationObserver;

/// A key is destroyed only after the record of it is durable.
impl DeletionObserver for AuditLog {
    async fn destroying(&self, key: &KeyRecord) -> Result<(), String> {
        let mut record = event("DeleteKey", key, SystemTime::now(), &json!({ "keyId": key.id }));
        record["responseElements"] = json!({ "keyId": key.arn() });
        let written = self.append(Kind::ServiceEvent, &record, &[]).await;
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// A key rotates by itself only after the record of it is durable.
impl RotationObserver for AuditLog {
    async fn rotating(
        &self,
        key: &KeyRecord,
        material: MaterialId,
        receipts: &[DeviceReceipt],
    ) -> Result<(), String> {
        let previous = key.current_material().map(|material| material.id.to_string());
        let details = json!({
            "keyId": key.id,
            "rotationType": "AUTOMATIC",
            "keyOrigin": key.origin.aws_name(),
            "previousKeyMaterialId": previous,
            "currentKeyMaterialId": material.to_string(),
        });
        let record = event("RotateKey", key, SystemTime::now(), &details);
        let written = self.append(Kind::ServiceEvent, &record, receipts).await;
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// Expired material is destroyed only after the record of it is durable: one for each, as AWS has it.
impl ExpiryObserver for AuditLog {
    async fn expiring(&self, key: &KeyRecord, materials: &[MaterialId]) -> Result<(), String> {
        for material in materials {
            let details = json!({ "keyId": key.id, "keyMaterialId": material.to_string() });
            let record = event("DeleteExpiredKeyMaterial", key, SystemTime::now(), &details);
            let written = self.append(Kind::ServiceEvent, &record, &[]).await;
            written.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl AuditLog {
    /// Records what devices did without a request of a client.
    ///
    /// # Errors
    /// A text.
    pub async fn device_entries(&self, receipts: &[DeviceReceipt]) -> Result<(), String> {
        let written = self.append(Kind::DeviceEntries, &json!({}), receipts).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Records what the service did by itself in the course of a request.
    ///
    /// # Errors
    /// A text.
    pub async fn key_event(&self, event: &KeyEvent) -> Result<(), String> {
        let KeyEvent { name, key, scope, arn, details } = event;
        let resources = json!([{ "accountId": scope.account, "type": KEY, "ARN": arn }]);
        let place = (&*scope.account, &*scope.region);
        let mut details = json!(details);
        details["keyId"] = json!(key);
        let record = record(name, place, SystemTime::now(), &resources, &details);
        let written = self.append(Kind::ServiceEvent, &record, &[]).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Records that a development daemon is about to lose all its keys.
    ///
    /// # Errors
    /// A text.
    pub async fn resetting(&self, account: &str, region: &str) -> Result<(), String> {
        let time = SystemTime::now();
        let record = record("Reset", (account, region), time, &json!([]), &json!({}));
        let written = self.append(Kind::ServiceEvent, &record, &[]).await;
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// What the service does to a key.
fn event(name: &str, key: &KeyRecord, time: SystemTime, details: &Value) -> Value {
    let account = &key.scope.account;
    let resources = json!([{ "accountId": account, "type": KEY, "ARN": key.arn() }]);
    record(name, (account, &key.scope.region), time, &resources, details)
}

/// CloudTrail's form of what the service does by itself.
pub(super) fn record(
    name: &str,
    (account, region): (&str, &str),
    time: SystemTime,
    resources: &Value,
    details: &Value,
) -> Value {
    json!({
        "eventVersion": EVENT_VERSION,
        "userIdentity": { "accountId": account, "invokedBy": "AWS Internal" },
        "eventTime": event_time(time),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "AWS Internal",
        "userAgent": "AWS Internal",
        "requestParameters": null,
        "responseElements": null,
        "eventID": Uuid::new_v4().to_string(),
        "readOnly": false,
        "resources": resources,
        "eventType": "AwsServiceEvent",
        "managementEvent": true,
        "eventCategory": "Management",
        "recipientAccountId": account,
        "serviceEventDetails": details,
    })
}
