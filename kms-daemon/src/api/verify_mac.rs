//! `VerifyMac`: verifies a MAC. A wrong one is an exception, never `false`.

use serde::Deserialize;
use serde_json::json;

use super::checks::{BLOB, Checks};
use super::generate_mac::{self, MacRequest};
use super::input::Blob;
use super::{Answer, Call};
use crate::error::KmsError;
use crate::policy::Action;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    message: Option<Blob>,
    key_id: Option<String>,
    mac_algorithm: Option<String>,
    mac: Option<Blob>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    let mac = checks.blob("mac", input.mac, BLOB);
    let authenticated = generate_mac::Input {
        message: input.message,
        key_id: input.key_id,
        mac_algorithm: input.mac_algorithm,
        grant_tokens: input.grant_tokens,
        dry_run: input.dry_run,
    };
    let request = MacRequest::check(checks, authenticated)?;
    let (key, algorithm) = request.authorize(call, Action::VerifyMac).await?;
    call.devices().verify_mac(&key, algorithm, &request.message, &mac).await?;
    Answer::json(&json!({
        "KeyId": key.arn(),
        "MacValid": true,
        "MacAlgorithm": request.algorithm,
    }))
}
