//! The AWS SDK for Rust, pointed at a daemon.

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kms::error::ProvideErrorMetadata;

use crate::daemon::{Daemon, REGION};
use crate::patience::PATIENCE;

/// A client that never retries, so that no failed request goes unseen.
#[must_use]
pub fn client(daemon: &Daemon) -> Client {
    client_in(REGION, daemon)
}

/// The same, for another Region of the daemon.
#[must_use]
pub fn client_in(region: &'static str, daemon: &Daemon) -> Client {
    let credentials = daemon.credentials();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(daemon.url())
        .credentials_provider(Credentials::new(
            credentials.id,
            credentials.secret,
            None,
            None,
            "test",
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder().operation_timeout(PATIENCE).connect_timeout(PATIENCE).build(),
        )
        .build();
    Client::from_conf(config)
}

/// The error code of a call that must fail.
///
/// # Panics
/// If it succeeded, or failed without an answer of the service.
#[must_use]
pub fn code<T, E>(result: Result<T, E>) -> String
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    match result {
        Ok(_) => panic!("the call succeeded"),
        Err(error) => error.code().unwrap_or_else(|| panic!("no code: {error:?}")).to_owned(),
    }
}
