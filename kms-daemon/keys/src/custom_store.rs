//! Custom key stores: where KMS keys are that an external key store proxy has a part in.
//!
//! All stores of an account in a Region are one record. There are few of them, and names, URIs and their
//! number are decided about together, so that one revision guards all of it.

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::own::Sealed;
use kms_base::clock::Timestamp;
use kms_base::identifier::Scope;
use kms_base::record::{Record, Version};

/// Most custom key stores of an account in a Region, as at AWS KMS.
pub const MAX_STORES: usize = 10;
/// How long a store may be connecting, in milliseconds. Whoever connects it needs a second at most; after this
/// time the daemon that did so has ended in between.
const CONNECTING_MS: u64 = 30_000;

/// The custom key stores of an account in a Region, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomKeyStores {
    /// Version of the stored form.
    pub version: Version,
    /// The account and the Region.
    pub scope: Scope,
    /// The stores.
    pub stores: Vec<CustomKeyStore>,
}

/// A custom key store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomKeyStore {
    /// The id, `cks-` and 17 hexadecimal digits.
    pub id: String,
    /// The name, 1 to 256 characters.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The proxy that has the external keys.
    pub xks_proxy: XksProxy,
    /// Whether the store is connected to it.
    pub connection: Connection,
}

/// An external key store proxy, as its owner has specified it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct XksProxy {
    /// `XksProxyUriEndpoint`: `https://` and a host name.
    pub endpoint: String,
    /// `XksProxyUriPath`.
    pub path: String,
    /// The access key id that requests are signed with.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Sealed,
    /// Since when the credential is this one.
    pub credential_since: Timestamp,
}

/// The connection of a custom key store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// The state.
    pub state: ConnectionState,
    /// Since when.
    pub since: Timestamp,
    /// Why it failed; there in [`ConnectionState::Failed`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ConnectionError>,
}

/// The state of a connection. Disconnecting takes no time here, so that nothing is ever `DISCONNECTING`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionState {
    /// Keys can be used.
    Connected,
    /// The proxy is being asked.
    Connecting,
    /// The proxy did not answer as it should.
    Failed,
    /// Somebody has disconnected the store, or has never connected it.
    Disconnected,
}

impl ConnectionState {
    /// Returns the name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "CONNECTED",
            Self::Connecting => "CONNECTING",
            Self::Failed => "FAILED",
            Self::Disconnected => "DISCONNECTED",
        }
    }
}

/// `ConnectionErrorCode`, as far as proxies with a public endpoint have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionError {
    /// The credential is not accepted.
    XksProxyAccessDenied,
    /// The proxy does not serve under its path, or this service may not connect to it.
    XksProxyInvalidConfiguration,
    /// The response is not one of the API.
    XksProxyInvalidResponse,
    /// There is no TLS with a certificate for its name.
    XksProxyInvalidTlsConfiguration,
    /// Nobody is there.
    XksProxyNotReachable,
    /// It took too long.
    XksProxyTimedOut,
}

impl ConnectionError {
    /// Returns the name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XksProxyAccessDenied => "XKS_PROXY_ACCESS_DENIED",
            Self::XksProxyInvalidConfiguration => "XKS_PROXY_INVALID_CONFIGURATION",
            Self::XksProxyInvalidResponse => "XKS_PROXY_INVALID_RESPONSE",
            Self::XksProxyInvalidTlsConfiguration => "XKS_PROXY_INVALID_TLS_CONFIGURATION",
            Self::XksProxyNotReachable => "XKS_PROXY_NOT_REACHABLE",
            Self::XksProxyTimedOut => "XKS_PROXY_TIMED_OUT",
        }
    }
}

impl CustomKeyStores {
    /// Returns the record of an account that has no store.
    #[must_use]
    pub const fn none(scope: Scope) -> Self {
        Self { version: Version, scope, stores: Vec::new() }
    }

    /// Returns a store by its id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&CustomKeyStore> {
        self.stores.iter().find(|store| store.id == id)
    }

    /// Returns a store by its name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&CustomKeyStore> {
        self.stores.iter().find(|store| store.name == name)
    }

    /// Returns the same stores with this one changed.
    #[must_use]
    pub fn with(&self, changed: CustomKeyStore) -> Self {
        let other = |store: &CustomKeyStore| match store.id == changed.id {
            true => changed.clone(),
            false => store.clone(),
        };
        Self { stores: self.stores.iter().map(other).collect(), ..self.clone() }
    }
}

impl Record for CustomKeyStores {
    fn key(&self) -> Vec<u8> {
        layout::custom_key_stores(&self.scope)
    }
}

impl Connection {
    /// Returns a connection in a state, without an error.
    #[must_use]
    pub const fn new(state: ConnectionState, since: Timestamp) -> Self {
        Self { state, since, error: None }
    }

    /// Returns a connection that failed.
    #[must_use]
    pub const fn failed(error: ConnectionError, since: Timestamp) -> Self {
        Self { state: ConnectionState::Failed, since, error: Some(error) }
    }

    /// Returns the connection as it is at the time `now`: nobody connects the store any more if it has been
    /// connecting for 30 seconds.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let took = now.as_millis().saturating_sub(self.since.as_millis());
        match self.state {
            ConnectionState::Connecting if took > CONNECTING_MS => {
                Self::failed(ConnectionError::XksProxyTimedOut, self.since)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as version 1 is stored. Revert your change, not this.
    const GOLDEN: &str = concat!(
        r#"{"version":1,"scope":{"account":"000000000000","region":"us-east-1"},"#,
        r#""stores":[{"id":"cks-1234567890abcdef0","name":"partner","created":1780000000123,"#,
        r#""xksProxy":{"endpoint":"https://xks.example.com","path":"/partner/kms/xks/v1","#,
        r#""accessKeyId":"XKSAAAAAAAAAAAAAAAAA","secret":{"region":"us-east-1","blob":"AQID"},"#,
        r#""credentialSince":1780000000124},"#,
        r#""connection":{"state":"FAILED","since":1780000000125,"error":"XKS_PROXY_TIMED_OUT"}}]}"#,
    );

    fn stores() -> CustomKeyStores {
        let at = |more: u64| Timestamp::from_millis(1_780_000_000_123 + more);
        let store = CustomKeyStore {
            id: "cks-1234567890abcdef0".to_owned(),
            name: "partner".to_owned(),
            created: at(0),
            xks_proxy: XksProxy {
                endpoint: "https://xks.example.com".to_owned(),
                path: "/partner/kms/xks/v1".to_owned(),
                access_key_id: "XKSAAAAAAAAAAAAAAAAA".to_owned(),
                secret: Sealed { region: "us-east-1".to_owned(), blob: vec![1, 2, 3] },
                credential_since: at(1),
            },
            connection: Connection::failed(ConnectionError::XksProxyTimedOut, at(2)),
        };
        let scope = Scope::new("000000000000", "us-east-1");
        CustomKeyStores { stores: vec![store], ..CustomKeyStores::none(scope) }
    }

    #[test]
    fn version_1_is_stored_as_ever() {
        let stores = stores();
        assert_eq!(String::from_utf8(stores.encode().unwrap()).unwrap(), GOLDEN);
        assert_eq!(CustomKeyStores::decode(GOLDEN.as_bytes()).unwrap(), stores);
        assert_eq!(stores.key(), b"custom-key-stores/000000000000/us-east-1");
        let extended = GOLDEN.replace("\"path\"", "\"vpc\":1,\"path\"");
        assert!(CustomKeyStores::decode(extended.as_bytes()).is_err(), "not read in part");
    }

    #[test]
    fn names_of_the_store_are_those_of_the_api() {
        use ConnectionError as E;
        use ConnectionState as S;
        for state in [S::Connected, S::Connecting, S::Failed, S::Disconnected] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for error in [
            E::XksProxyAccessDenied,
            E::XksProxyInvalidConfiguration,
            E::XksProxyInvalidResponse,
            E::XksProxyInvalidTlsConfiguration,
            E::XksProxyNotReachable,
            E::XksProxyTimedOut,
        ] {
            assert_eq!(serde_json::to_value(error).unwrap(), error.name());
        }
    }

    #[test]
    fn nobody_connects_for_ever() {
        let begin = Timestamp::from_millis(1_000_000);
        let connection = Connection::new(ConnectionState::Connecting, begin);
        let at = |ms: u64| connection.at(Timestamp::from_millis(1_000_000 + ms)).state;
        assert_eq!((at(0), at(30_000)), (ConnectionState::Connecting, ConnectionState::Connecting));
        assert_eq!(at(30_001), ConnectionState::Failed);
        let connected = Connection::new(ConnectionState::Connected, begin);
        assert_eq!(connected.at(Timestamp::from_millis(u64::MAX)), connected);
    }
}
