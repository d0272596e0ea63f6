//! Custom key stores: where KMS keys are that somebody else's key manager has a part in, an external key store
//! proxy or a cluster of PKCS#11 tokens.
//!
//! All stores of an account in a Region are one record, with the clusters that they may be on. There are few of
//! them, and names, URIs, clusters and their number are decided about together, so that one revision guards all
//! of it.

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::own::Sealed;
use kms_base::clock::Timestamp;
use kms_base::identifier::Scope;
use kms_base::record::{Record, Version};

mod cluster;

pub use self::cluster::{CloudHsm, Cluster, MAX_CLUSTERS, MAX_TOKENS, is_cluster_id};

/// Most custom key stores of an account in a Region, as at AWS KMS.
pub const MAX_STORES: usize = 10;
/// How long a store may be connecting, in milliseconds. Whoever connects it needs a second at most; after this
/// time the daemon that did so has ended in between.
const CONNECTING_MS: u64 = 30_000;
/// The same for tokens, in each of which it logs in.
const LOGGING_IN_MS: u64 = 600_000;

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
    /// The clusters that the operator has registered, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Cluster>,
}

/// A custom key store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredStore", into = "StoredStore")]
pub struct CustomKeyStore {
    /// The id, `cks-` and 17 hexadecimal digits.
    pub id: String,
    /// The name, 1 to 256 characters.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who has the other keys.
    pub backend: Backend,
    /// Whether the store is connected to it.
    pub connection: Connection,
}

/// Who has the keys that keys of a custom key store cannot be used without. It is never changed to another kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// `EXTERNAL_KEY_STORE`: a proxy.
    Xks(XksProxy),
    /// `AWS_CLOUDHSM`: tokens.
    CloudHsm(CloudHsm),
}

/// A custom key store, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredStore {
    id: String,
    name: String,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xks_proxy: Option<XksProxy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloud_hsm: Option<CloudHsm>,
    connection: Connection,
}

impl From<CustomKeyStore> for StoredStore {
    fn from(store: CustomKeyStore) -> Self {
        let (xks_proxy, cloud_hsm) = match store.backend {
            Backend::Xks(proxy) => (Some(proxy), None),
            Backend::CloudHsm(cluster) => (None, Some(cluster)),
        };
        let CustomKeyStore { id, name, created, connection, .. } = store;
        Self { id, name, created, xks_proxy, cloud_hsm, connection }
    }
}

impl TryFrom<StoredStore> for CustomKeyStore {
    type Error = &'static str;

    fn try_from(stored: StoredStore) -> Result<Self, Self::Error> {
        let backend = match (stored.xks_proxy, stored.cloud_hsm) {
            (Some(proxy), None) => Backend::Xks(proxy),
            (None, Some(cluster)) => Backend::CloudHsm(cluster),
            _ => return Err("a custom key store has a proxy or a cluster"),
        };
        let StoredStore { id, name, created, connection, .. } = stored;
        Ok(Self { id, name, created, backend, connection })
    }
}

/// An external key store proxy, as its owner has specified it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct XksProxy {
    /// `XksProxyUriEndpoint`: `https://` and a host name.
    pub endpoint: String,
    /// `XksProxyUriPath`.
    pub path: String,
    /// The VPC endpoint service by which the endpoint is reached; `None` for a public endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_service: Option<VpcEndpointService>,
    /// The access key id that requests are signed with.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Sealed,
    /// Since when the credential is this one.
    pub credential_since: Timestamp,
}

/// A VPC endpoint service, as the owner of a store names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VpcEndpointService {
    /// `XksProxyVpcEndpointServiceName`.
    pub name: String,
    /// `XksProxyVpcEndpointServiceOwner`: the account that has it, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
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

/// `ConnectionErrorCode`, as far as proxies and PKCS#11 tokens have one.
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
    /// The VPC endpoint service has another host.
    XksVpcEndpointServiceInvalidConfiguration,
    /// There is no such VPC endpoint service.
    XksVpcEndpointServiceNotFound,
    /// The cluster is not registered any more, or none of its tokens can be.
    ClusterNotFound,
    /// None of the tokens is there.
    InsufficientCloudhsmHsms,
    /// Something else.
    InternalError,
    /// The tokens do not accept the password.
    InvalidCredentials,
    /// The module does not answer.
    NetworkErrors,
    /// The tokens have locked the password.
    UserLockedOut,
    /// Another user is logged in.
    UserLoggedIn,
    /// The tokens have no user.
    UserNotFound,
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
            Self::XksVpcEndpointServiceInvalidConfiguration => {
                "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION"
            }
            Self::XksVpcEndpointServiceNotFound => "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
            Self::ClusterNotFound => "CLUSTER_NOT_FOUND",
            Self::InsufficientCloudhsmHsms => "INSUFFICIENT_CLOUDHSM_HSMS",
            Self::InternalError => "INTERNAL_ERROR",
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::NetworkErrors => "NETWORK_ERRORS",
            Self::UserLockedOut => "USER_LOCKED_OUT",
            Self::UserLoggedIn => "USER_LOGGED_IN",
            Self::UserNotFound => "USER_NOT_FOUND",
        }
    }
}

impl CustomKeyStores {
    /// Returns the record of an account that has no store.
    #[must_use]
    pub const fn none(scope: Scope) -> Self {
        Self { version: Version, scope, stores: Vec::new(), clusters: Vec::new() }
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

    /// Returns a cluster by its id.
    #[must_use]
    pub fn cluster(&self, id: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.id == id)
    }

    /// Returns the store that is on a cluster.
    #[must_use]
    pub fn on_cluster(&self, id: &str) -> Option<&CustomKeyStore> {
        let is_on = |store: &&CustomKeyStore| store.cloud_hsm().is_some_and(|it| it.cluster == id);
        self.stores.iter().find(is_on)
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
}

impl CustomKeyStore {
    /// Returns the proxy, if it has one.
    #[must_use]
    pub const fn xks_proxy(&self) -> Option<&XksProxy> {
        match &self.backend {
            Backend::Xks(proxy) => Some(proxy),
            Backend::CloudHsm(_) => None,
        }
    }

    /// Returns the cluster, if it is on one.
    #[must_use]
    pub const fn cloud_hsm(&self) -> Option<&CloudHsm> {
        match &self.backend {
            Backend::CloudHsm(cluster) => Some(cluster),
            Backend::Xks(_) => None,
        }
    }

    /// Returns the connection as it is at the time `now`: nobody connects the store any more if it has been
    /// connecting for longer than that takes.
    #[must_use]
    pub fn connection_at(&self, now: Timestamp) -> Connection {
        let Connection { state, since, .. } = self.connection;
        let took = now.as_millis().saturating_sub(since.as_millis());
        let (limit, error) = match self.backend {
            Backend::Xks(_) => (CONNECTING_MS, ConnectionError::XksProxyTimedOut),
            Backend::CloudHsm(_) => (LOGGING_IN_MS, ConnectionError::NetworkErrors),
        };
        match state {
            ConnectionState::Connecting if took > limit => Connection::failed(error, since),
            _ => self.connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
            backend: Backend::Xks(XksProxy {
                endpoint: "https://xks.example.com".to_owned(),
                path: "/partner/kms/xks/v1".to_owned(),
                vpc_endpoint_service: None,
                access_key_id: "XKSAAAAAAAAAAAAAAAAA".to_owned(),
                secret: Sealed { region: "us-east-1".to_owned(), blob: vec![1, 2, 3] },
                credential_since: at(1),
            }),
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
    fn stores_on_vpc_endpoint_services_are_stored_as_ever() {
        let mut stores = stores();
        let Backend::Xks(proxy) = &mut stores.stores[0].backend else { panic!("a proxy") };
        let name = "com.amazonaws.vpce.us-east-1.vpce-svc-0a1".to_owned();
        proxy.vpc_endpoint_service =
            Some(VpcEndpointService { name, owner: Some("111122223333".to_owned()) });
        // Revert your change, not this.
        let golden = GOLDEN.replace(
            r#""accessKeyId""#,
            concat!(
                r#""vpcEndpointService":{"name":"com.amazonaws.vpce.us-east-1.vpce-svc-0a1","#,
                r#""owner":"111122223333"},"accessKeyId""#,
            ),
        );
        assert_eq!(String::from_utf8(stores.encode().unwrap()).unwrap(), golden);
        assert_eq!(CustomKeyStores::decode(golden.as_bytes()).unwrap(), stores);
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
            E::XksVpcEndpointServiceInvalidConfiguration,
            E::XksVpcEndpointServiceNotFound,
            E::ClusterNotFound,
            E::InsufficientCloudhsmHsms,
            E::InternalError,
            E::InvalidCredentials,
            E::NetworkErrors,
            E::UserLockedOut,
            E::UserLoggedIn,
            E::UserNotFound,
        ] {
            assert_eq!(serde_json::to_value(error).unwrap(), error.name());
        }
    }

    #[test]
    fn nobody_connects_for_ever() {
        let begin = Timestamp::from_millis(1_000_000);
        let mut store = stores().stores.remove(0);
        store.connection = Connection::new(ConnectionState::Connecting, begin);
        let at = |store: &CustomKeyStore, ms: u64| {
            store.connection_at(Timestamp::from_millis(1_000_000 + ms))
        };
        assert_eq!(at(&store, 0).state, ConnectionState::Connecting);
        assert_eq!(at(&store, 30_000).state, ConnectionState::Connecting);
        assert_eq!(at(&store, 30_001).error, Some(ConnectionError::XksProxyTimedOut));
        store.backend = Backend::CloudHsm(on_tokens());
        assert_eq!(at(&store, 600_000).state, ConnectionState::Connecting);
        assert_eq!(at(&store, 600_001).error, Some(ConnectionError::NetworkErrors));
        store.connection = Connection::new(ConnectionState::Connected, begin);
        assert_eq!(store.connection_at(Timestamp::from_millis(u64::MAX)), store.connection);
    }

    /// A record with a cluster, as version 1 is stored. Revert your change, not this.
    const GOLDEN_CLUSTER: &str = concat!(
        r#"{"version":1,"scope":{"account":"000000000000","region":"us-east-1"},"#,
        r#""stores":[{"id":"cks-1234567890abcdef0","name":"own","created":1780000000123,"#,
        r#""cloudHsm":{"cluster":"cluster-abcdefghijk","password":{"region":"us-east-1","blob":"BAUG"},"#,
        r#""passwordSince":1780000000124},"#,
        r#""connection":{"state":"DISCONNECTED","since":1780000000125}}],"#,
        r#""clusters":[{"id":"cluster-abcdefghijk","module":"/usr/lib/module.so","tokens":["a","b"],"#,
        r#""trustAnchor":"PEM","single":false,"created":1780000000122}]}"#,
    );

    fn on_tokens() -> CloudHsm {
        CloudHsm {
            cluster: "cluster-abcdefghijk".to_owned(),
            password: Sealed { region: "us-east-1".to_owned(), blob: vec![4, 5, 6] },
            password_since: Timestamp::from_millis(1_780_000_000_124),
        }
    }

    #[test]
    fn stores_on_tokens_are_stored_as_ever() {
        let mut stores = stores();
        let store = &mut stores.stores[0];
        store.name = "own".to_owned();
        store.backend = Backend::CloudHsm(on_tokens());
        let since = store.connection.since;
        store.connection = Connection::new(ConnectionState::Disconnected, since);
        stores.clusters.push(Cluster {
            id: "cluster-abcdefghijk".to_owned(),
            module: "/usr/lib/module.so".to_owned(),
            tokens: vec!["a".to_owned(), "b".to_owned()],
            trust_anchor: "PEM".to_owned(),
            single: false,
            created: Timestamp::from_millis(1_780_000_000_122),
            serials: BTreeMap::new(),
        });
        assert_eq!(String::from_utf8(stores.encode().unwrap()).unwrap(), GOLDEN_CLUSTER);
        assert_eq!(CustomKeyStores::decode(GOLDEN_CLUSTER.as_bytes()).unwrap(), stores);
        assert!(stores.on_cluster("cluster-abcdefghijk").is_some());
        stores.clusters[0].serials = BTreeMap::from([("a".to_owned(), "4f3a".to_owned())]);
        let known = GOLDEN_CLUSTER.replace("0122}]", "0122,\"serials\":{\"a\":\"4f3a\"}}]");
        assert_eq!(String::from_utf8(stores.encode().unwrap()).unwrap(), known);
        assert_eq!(CustomKeyStores::decode(known.as_bytes()).unwrap(), stores);
        let neither = GOLDEN_CLUSTER.replace("cloudHsm", "cloudHSM");
        assert!(CustomKeyStores::decode(neither.as_bytes()).is_err());
    }
}
