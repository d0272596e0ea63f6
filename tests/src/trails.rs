//! The CloudTrail service of a daemon.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::http::{Answer, Request};

const TARGET: &str = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.";

/// What the service answers to root.
///
/// # Panics
/// If there is no answer.
pub fn trail(daemon: &Daemon, operation: &str, body: &Value) -> Answer {
    let request = Request::new(operation, body.to_string());
    let request = request.header("x-amz-target", &format!("{TARGET}{operation}"));
    request.signed_for("cloudtrail", &daemon.credentials(), daemon).send(daemon)
}

/// The document of an answer.
///
/// # Panics
/// If it is an error.
pub fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Makes a trail and starts it.
///
/// # Panics
/// If it is refused.
pub fn begin(daemon: &Daemon, bucket: &str) {
    let settings =
        json!({ "Name": "main", "S3BucketName": bucket, "EnableLogFileValidation": true });
    let made = done(&trail(daemon, "CreateTrail", &settings));
    assert_eq!(made["TrailARN"], "arn:aws:cloudtrail:us-east-1:000000000000:trail/main");
    done(&trail(daemon, "StartLogging", &json!({ "Name": "main" })));
}
