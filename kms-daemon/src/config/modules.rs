//! PKCS#11 modules that the daemon may run.

use std::path::{Component, PathBuf};
use std::time::Duration;

use super::{ConfigError, value};
use kms_installation::settings::Settings;
use kms_pkcs11::{Modules, Shares};

/// How long a use of a key may take by default, in milliseconds.
const DEFAULT_LIMIT: u64 = 2000;
/// Limits of that.
const LIMITS: std::ops::RangeInclusive<u64> = 50..=60_000;
/// How many processes of modules may run at once by default.
const DEFAULT_PROCESSES: usize = 128;
/// Limits of that.
const PROCESSES: std::ops::RangeInclusive<usize> = 2..=4096;
/// The program that runs the modules: this one, also when its file has been replaced.
const PROGRAM: &str = "/proc/self/exe";
/// What begins the names of variables that a module may not see: those of the daemon.
const OWN: &str = "STRONGROOM_";

/// Reads the settings of modules; `None` if there is none.
pub(super) fn resolve(given: &Settings) -> Result<Option<Modules>, ConfigError> {
    let limit = given.pkcs11_timeout.unwrap_or(DEFAULT_LIMIT);
    if !LIMITS.contains(&limit) {
        return Err(value("pkcs11-timeout must be 50 to 60000 milliseconds"));
    }
    let processes = given.pkcs11_processes.unwrap_or(DEFAULT_PROCESSES);
    if !PROCESSES.contains(&processes) {
        return Err(value("pkcs11-processes must be 2 to 4096"));
    }
    let allowed: Vec<PathBuf> = given.pkcs11_module.iter().flatten().cloned().collect();
    for path in &allowed {
        let is_plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        if !path.is_absolute() || !is_plain || path.to_str().is_none() {
            return Err(value(format_args!(
                "pkcs11-module {} is not an absolute path without ..; give the one of the shared library",
                path.display()
            )));
        }
    }
    let names = given.pkcs11_env.as_deref().unwrap_or_default();
    if allowed.is_empty() {
        let numbers = given.pkcs11_timeout.is_some() || given.pkcs11_processes.is_some();
        return match names.is_empty() && !numbers {
            true => Ok(None),
            false => Err(value(
                "pkcs11-env, pkcs11-timeout and pkcs11-processes are for --pkcs11-module; add it",
            )),
        };
    }
    let mut environment = Vec::new();
    for name in names {
        if name.is_empty() || name.contains(['=', '\0']) || name.starts_with(OWN) {
            return Err(value(format_args!(
                "pkcs11-env {name:?} is not the name of a variable for modules, such as SOFTHSM2_CONF"
            )));
        }
        // A variable that is not set now is not set for them either.
        if let Some(text) = std::env::var_os(name) {
            environment.push((name.into(), text));
        }
    }
    let (program, limit) = (PROGRAM.into(), Duration::from_millis(limit));
    let processes = Shares::new(processes);
    Ok(Some(Modules { program, allowed, environment, limit, processes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(modules: &[&str]) -> Settings {
        let modules = modules.iter().map(PathBuf::from).collect();
        Settings { pkcs11_module: Some(modules), ..Settings::default() }
    }

    #[test]
    fn modules_are_those_that_the_operator_names() {
        assert_eq!(resolve(&Settings::default()).unwrap(), None);
        let names = Some(vec!["PATH".to_owned(), "NOT_SET_ANYWHERE".to_owned()]);
        let settings = Settings { pkcs11_env: names, ..given(&["/usr/lib/a.so"]) };
        let found = resolve(&settings).unwrap().unwrap();
        assert!(found.allows("/usr/lib/a.so".as_ref()) && !found.allows("/usr/lib/b.so".as_ref()));
        assert_eq!(found.environment.len(), 1);
        let own = Some(vec!["STRONGROOM_STORE_USER".to_owned()]);
        for wrong in [
            given(&["a.so"]),
            given(&["/usr/../a.so"]),
            Settings { pkcs11_timeout: Some(49), ..given(&["/a.so"]) },
            Settings { pkcs11_timeout: Some(100), ..Settings::default() },
            Settings { pkcs11_processes: Some(1), ..given(&["/a.so"]) },
            Settings { pkcs11_processes: Some(100), ..Settings::default() },
            Settings { pkcs11_env: own, ..given(&["/a.so"]) },
            Settings { pkcs11_env: Some(vec!["A=B".to_owned()]), ..given(&["/a.so"]) },
        ] {
            assert!(resolve(&wrong).is_err(), "{wrong:?}");
        }
    }
}
