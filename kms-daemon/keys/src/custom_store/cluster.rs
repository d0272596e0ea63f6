//! Clusters: PKCS#11 tokens that the operator of the daemon has registered for an account in a Region, and stores
//! on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::own::Sealed;
use kms_base::clock::Timestamp;

/// Most clusters of an account in a Region.
pub const MAX_CLUSTERS: usize = 10;
/// Most tokens of a cluster.
pub const MAX_TOKENS: usize = 8;
/// What the id of a cluster begins with.
const PREFIX: &str = "cluster-";

/// Tokens that all have the same keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// The id, `cluster-` and 11 characters.
    pub id: String,
    /// Absolute path of the module.
    pub module: String,
    /// The labels of the tokens, 1 to [`MAX_TOKENS`].
    pub tokens: Vec<String>,
    /// What `TrustAnchorCertificate` has to be, PEM.
    pub trust_anchor: String,
    /// Whether the operator has said that one token is enough.
    pub single: bool,
    /// When it was registered.
    pub created: Timestamp,
    /// The serial numbers of its tokens, by label. One that is missing is not known yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub serials: BTreeMap<String, String>,
}

/// What a custom key store on a cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudHsm {
    /// The id of the cluster.
    pub cluster: String,
    /// `KeyStorePassword`: the PIN of the user of the tokens.
    pub password: Sealed,
    /// Since when the password is this one.
    pub password_since: Timestamp,
}

impl Cluster {
    /// The serial number that a token has to have, once it is known.
    #[must_use]
    pub fn serial(&self, token: &str) -> Option<&str> {
        self.serials.get(token).map(String::as_str)
    }

    /// Keeps the serial numbers of those of its tokens whose numbers were not known; whether there are any.
    pub fn learn(&mut self, serials: &[(String, String)]) -> bool {
        let mut learnt = false;
        for (token, serial) in serials {
            if self.tokens.contains(token) && !self.serials.contains_key(token) {
                self.serials.insert(token.clone(), serial.clone());
                learnt = true;
            }
        }
        learnt
    }

    /// How many tokens have to be there to make a store or a key.
    #[must_use]
    pub const fn needed(&self) -> usize {
        if self.single { 1 } else { 2 }
    }
}

/// Whether a text has the form of the id of a cluster, as AWS CloudHSM has it.
#[must_use]
pub fn is_cluster_id(text: &str) -> bool {
    let of_id = |byte: u8| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte);
    let rest = text.strip_prefix(PREFIX);
    rest.is_some_and(|rest| (11..=16).contains(&rest.len()) && rest.bytes().all(of_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_that_is_known_is_not_replaced_by_learning() {
        let mut cluster = Cluster {
            id: "cluster-abcdefghijk".to_owned(),
            module: "/a.so".to_owned(),
            tokens: vec!["a".to_owned(), "b".to_owned()],
            trust_anchor: String::new(),
            single: false,
            created: Timestamp::from_millis(1),
            serials: BTreeMap::new(),
        };
        let seen = |token: &str, serial: &str| (token.to_owned(), serial.to_owned());
        assert!(cluster.learn(&[seen("a", "1"), seen("c", "3")]));
        assert!(!cluster.learn(&[seen("a", "2")]));
        assert!(cluster.learn(&[seen("a", "2"), seen("b", "2")]));
        assert_eq!((cluster.serial("a"), cluster.serial("b")), (Some("1"), Some("2")));
        assert_eq!(cluster.serial("c"), None);
    }

    #[test]
    fn ids_have_the_form_of_cloudhsm() {
        assert!(is_cluster_id("cluster-abcdefghijk") && is_cluster_id("cluster-2345677ABCDEFghi"));
        for wrong in
            ["cluster-abcdefghij", "cluster-abcdefghij1", "cks-abcdefghijk", "cluster-", ""]
        {
            assert!(!is_cluster_id(wrong), "{wrong}");
        }
    }
}
