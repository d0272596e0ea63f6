//! Where the records are.

use std::fmt;
use std::path::PathBuf;

use crate::settings::Settings;
use kms_store::etcd::{Endpoint, EtcdOptions, EtcdOptionsError, Login, check_prefix, client_tls};

/// What the keys in etcd start with.
const PREFIX: &str = "/strongroom";

/// Why the settings of a store cannot be used; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StorePlaceError(String);

fn value(reason: impl fmt::Display) -> StorePlaceError {
    StorePlaceError(reason.to_string())
}

/// An etcd cluster, and the files by which the daemon shows it who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    endpoints: Vec<Endpoint>,
    prefix: String,
    authorities: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
    login: Option<(String, PathBuf)>,
}

impl EtcdSettings {
    /// Checks what is given of `--store` and its companions; `None` if nothing is.
    ///
    /// # Errors
    /// [`StorePlaceError`].
    pub fn of(given: &Settings) -> Result<Option<Self>, StorePlaceError> {
        let Some(text) = &given.store else {
            let companions = [
                ("store-prefix", given.store_prefix.is_some()),
                ("store-ca", given.store_ca.is_some()),
                ("store-cert", given.store_cert.is_some() || given.store_key.is_some()),
                ("store-user", given.store_user.is_some() || given.store_password_file.is_some()),
            ];
            return match companions.iter().find(|(_, is_given)| *is_given) {
                Some((name, _)) => Err(value(format_args!("{name} is for store etcd:URL,…"))),
                None => Ok(None),
            };
        };
        let Some(urls) = text.strip_prefix("etcd:") else {
            return Err(value(format_args!(
                "store {text:?} is not etcd: with the URLs of an etcd cluster, such as \
                 etcd:https://etcd-1.example:2379,https://etcd-2.example:2379; leave it out for \
                 the store in the data directory"
            )));
        };
        let endpoints: Result<Vec<_>, _> = urls.split(',').map(Endpoint::parse).collect();
        let endpoints = endpoints.map_err(value)?;
        let is_secure = endpoints.iter().all(|endpoint| endpoint.is_secure);
        if !is_secure && endpoints.iter().any(|endpoint| endpoint.is_secure) {
            return Err(value(EtcdOptionsError::Mixed));
        }
        let is_far = |endpoint: &&Endpoint| {
            let host = &endpoint.host;
            *host != "localhost" && !host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        };
        if !is_secure && let Some(far) = endpoints.iter().find(is_far) {
            return Err(value(format_args!(
                "store {far} is neither https nor on this machine; use https and store-ca"
            )));
        }
        let own = match (given.store_cert.clone(), given.store_key.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(value("store-cert and store-key belong together: give both or none")),
        };
        match (is_secure, &given.store_ca, &own) {
            (true, None, _) => return Err(value("store-ca is needed for https")),
            (false, Some(_), _) | (false, _, Some(_)) => {
                return Err(value(EtcdOptionsError::NeedlessTls));
            }
            _ => {}
        }
        let login = match (given.store_user.clone(), given.store_password_file.clone()) {
            (Some(user), Some(path)) => Some((user, path)),
            (None, None) => None,
            _ => return Err(value("store-user and store-password-file belong together")),
        };
        let prefix = given.store_prefix.as_deref().unwrap_or(PREFIX);
        let prefix = check_prefix(prefix).map_err(value)?;
        Ok(Some(Self { endpoints, prefix, authorities: given.store_ca.clone(), own, login }))
    }

    /// Names the store: the members and the prefix.
    #[must_use]
    pub fn place(&self) -> String {
        let members: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        format!("etcd:{} under {}", members.join(","), self.prefix)
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`EtcdOptionsError`], whose text says what to do.
    pub fn options(&self) -> Result<EtcdOptions, EtcdOptionsError> {
        let own = self.own.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        let tls = self.authorities.as_ref().map(|path| client_tls(path, own)).transpose()?;
        let login = self.login.as_ref().map(|(user, path)| Login::read(user.clone(), path));
        Ok(EtcdOptions {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            tls,
            login: login.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &str, more: impl Fn(&mut Settings)) -> Result<EtcdSettings, String> {
        let mut given = Settings { store: Some(store.to_owned()), ..Settings::default() };
        more(&mut given);
        EtcdSettings::of(&given).map(|found| found.unwrap()).map_err(|error| error.to_string())
    }

    fn with_authorities(given: &mut Settings) {
        given.store_ca = Some("ca.pem".into());
    }

    #[test]
    fn a_cluster_is_https_or_on_this_machine() {
        let found = read("etcd:https://a,https://b:1", with_authorities).unwrap();
        assert_eq!(found.place(), "etcd:https://a:2379,https://b:1 under /strongroom");
        let found = read("etcd:http://127.0.0.1:1", |given| {
            given.store_prefix = Some("/x/".to_owned());
        });
        assert_eq!(found.unwrap().place(), "etcd:http://127.0.0.1:1 under /x");
        for (store, text) in [
            ("redb", "leave it out"),
            ("etcd:", "URL"),
            ("etcd:a:2379", "URL"),
            ("etcd:https://a,http://b", "all be https"),
            ("etcd:http://etcd.example", "use https"),
        ] {
            let error = read(store, with_authorities).unwrap_err();
            assert!(error.contains(text), "{store}: {error}");
        }
        assert!(read("etcd:https://a", |_| ()).unwrap_err().contains("store-ca"));
        assert!(read("etcd:http://[::1]", with_authorities).is_err());
    }

    #[test]
    fn companions_need_a_store() {
        let given = Settings { store_prefix: Some("/x".to_owned()), ..Settings::default() };
        let error = EtcdSettings::of(&given).unwrap_err().to_string();
        assert!(error.contains("store-prefix is for store"), "{error}");
        assert_eq!(EtcdSettings::of(&Settings::default()).unwrap(), None);
        let half = read("etcd:https://a", |given| {
            with_authorities(given);
            given.store_user = Some("kmsd".to_owned());
        });
        assert!(half.unwrap_err().contains("store-password-file"));
    }
}
