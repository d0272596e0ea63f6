//! Copies of the store on another medium.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, value};
use kms_installation::settings::Settings;

/// Seconds between copies, if nothing is given.
const DEFAULT: u64 = 30;
/// Limits of it.
const LIMITS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Where copies of the store are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// The directory.
    pub dir: PathBuf,
    /// The file with their passphrase.
    pub passphrase: PathBuf,
    /// The time between copies of a store that changes.
    pub interval: Duration,
}

/// Reads the settings; `None` if no directory is named.
pub(super) fn resolve(given: &Settings) -> Result<Option<ReplicaSettings>, ConfigError> {
    let interval = given.replica_interval.unwrap_or(DEFAULT);
    match (&given.replica, &given.replica_passphrase_file) {
        (Some(_), Some(_)) if !LIMITS.contains(&interval) => {
            Err(value("replica-interval must be 1 to 86400 seconds"))
        }
        (Some(dir), Some(passphrase)) => Ok(Some(ReplicaSettings {
            dir: dir.clone(),
            passphrase: passphrase.clone(),
            interval: Duration::from_secs(interval),
        })),
        (None, None) if given.replica_interval.is_none() => Ok(None),
        (None, None) => Err(value("replica-interval is for copies of the store; give replica")),
        _ => Err(value("replica and replica-passphrase-file belong together: give both or none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_needs_a_passphrase() {
        let given = |dir: bool, file: bool, interval| {
            resolve(&Settings {
                replica: dir.then(|| "/copies".into()),
                replica_passphrase_file: file.then(|| "/passphrase".into()),
                replica_interval: interval,
                ..Settings::default()
            })
        };
        assert_eq!(given(false, false, None).unwrap(), None);
        let found = given(true, true, None).unwrap().unwrap();
        assert_eq!(found.interval, Duration::from_secs(30));
        for refused in [
            given(true, false, None),
            given(false, true, None),
            given(false, false, Some(3)),
            given(true, true, Some(0)),
        ] {
            assert!(refused.unwrap_err().to_string().contains("replica"));
        }
    }
}
