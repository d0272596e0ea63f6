//! Records of what the service does by itself.

use std::time::SystemTime;

use serde_json::{Value, json};
use uuid::Uuid;

use super::record::event_time;
use super::{AuditLog, Kind};
use crate::key::KeyRecord;
use crate::key::deletion::DeletionObserver;

/// A key is destroyed only after the record of it is durable.
impl DeletionObserver for AuditLog {
    async fn destroying(&self, key: &KeyRecord) -> Result<(), String> {
        let record = delete_key(key, SystemTime::now());
        let written = self.append(Kind::ServiceEvent, &record, &[]).await;
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// CloudTrail's `DeleteKey` event.
fn delete_key(key: &KeyRecord, time: SystemTime) -> Value {
    let account = &key.scope.account;
    json!({
        "eventVersion": "1.08",
        "userIdentity": { "accountId": account, "invokedBy": "AWS Internal" },
        "eventTime": event_time(time),
        "eventSource": "kms.amazonaws.com",
        "eventName": "DeleteKey",
        "awsRegion": key.scope.region,
        "sourceIPAddress": "AWS Internal",
        "userAgent": "AWS Internal",
        "requestParameters": null,
        "responseElements": null,
        "eventID": Uuid::new_v4().to_string(),
        "readOnly": false,
        "resources": [{ "accountId": account, "type": "AWS::KMS::Key", "ARN": key.arn() }],
        "eventType": "AwsServiceEvent",
        "managementEvent": true,
        "eventCategory": "Management",
        "recipientAccountId": account,
        "serviceEventDetails": { "keyId": key.id },
    })
}
