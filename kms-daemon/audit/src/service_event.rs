//! Records of what the service does by itself.

use std::time::SystemTime;

use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::KEY;
use super::record::{EVENT_VERSION, event_time};
use super::{AuditError, AuditLog, KeyEvent, Kind};
use host_driver::audit::DeviceReceipt;
use kms_base::identifier::Scope;

impl AuditLog {
    /// Records what the service does by itself to a key: its account and Region, its ARN, the details, the
    /// response elements if there are any, and the receipts of devices.
    ///
    /// # Errors
    /// A text.
    pub async fn service_event(
        &self,
        name: &str,
        (scope, arn): (&Scope, &str),
        details: &Value,
        answer: Option<&Value>,
        receipts: &[DeviceReceipt],
    ) -> Result<(), String> {
        let resources = json!([{ "accountId": scope.account, "type": KEY, "ARN": arn }]);
        let place = (&*scope.account, &*scope.region);
        let mut record = record(name, place, SystemTime::now(), &resources, details);
        if let Some(answer) = answer {
            record["responseElements"] = answer.clone();
        }
        let written = self.append(Kind::ServiceEvent, &record, receipts).await;
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Records what devices did without a request of a client.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub async fn device_entries(&self, receipts: &[DeviceReceipt]) -> Result<(), AuditError> {
        let written = self.append(Kind::DeviceEntries, &json!({}), receipts).await;
        written.map(drop)
    }

    /// Records what the service did by itself in the course of a request.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`].
    pub async fn key_event(&self, event: &KeyEvent) -> Result<(), AuditError> {
        let KeyEvent { name, key, scope, arn, details } = event;
        let resources = json!([{ "accountId": scope.account, "type": KEY, "ARN": arn }]);
        let place = (&*scope.account, &*scope.region);
        let mut details = json!(details);
        details["keyId"] = json!(key);
        let record = record(name, place, SystemTime::now(), &resources, &details);
        let written = self.append(Kind::ServiceEvent, &record, &[]).await;
        written.map(drop)
    }

    /// Records something of the installation as a whole that no request has asked for.
    ///
    /// # Errors
    /// A text.
    pub async fn installation_event(&self, name: &str, details: &Value) -> Result<(), String> {
        let record = record(name, self.place(), SystemTime::now(), &json!([]), details);
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
