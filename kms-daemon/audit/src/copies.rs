//! Copies of the record of a request, for the other accounts whose keys it was about.
//!
//! An account sees who used its keys. A copy says of the caller only who it is, as AWS CloudTrail
//! does, and has ids of its own: the account can look up in it what [`copy_id`] says, and all
//! copies share `sharedEventID`. A request that policies refused is its caller's affair alone; the
//! API names keys of other accounts in the facts only once the caller may use them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::record::ACCESS_DENIED;
use super::{Caller, Outcome, RequestRecord};
use kms_base::context::copy_id;

/// What the shared id is made from.
const SHARED: &str = "shared";

impl RequestRecord<'_> {
    /// The copies, one for each other account.
    pub(super) fn copies(&self) -> Vec<Value> {
        let Caller::Verified(principal) = self.caller else { return Vec::new() };
        let others = self.other_accounts();
        if others.is_empty() {
            return Vec::new();
        }
        let record = self.to_json();
        let copy = |account: &&str| {
            let mut copy = record.clone();
            copy["userIdentity"] = json!({
                "type": "AWSAccount",
                "principalId": principal.id(),
                "accountId": principal.account,
            });
            copy["eventID"] = json!(copy_id(self.event_id, account).to_string());
            copy["recipientAccountId"] = json!(account);
            if let Some(resources) = copy["resources"].as_array_mut() {
                resources.retain(|resource| resource["accountId"] == **account);
            }
            copy
        };
        others.iter().map(copy).collect()
    }

    /// The other accounts that are to know of the request.
    pub(super) fn other_accounts(&self) -> BTreeSet<&str> {
        if let (Caller::Unverified(_), _) | (_, Outcome::Failure(ACCESS_DENIED, _)) =
            (self.caller, self.outcome)
        {
            return BTreeSet::new();
        }
        let accounts = self.facts.resources.iter().filter(|resource| resource.is_key());
        let accounts = accounts.map(|resource| resource.account.as_str());
        accounts.filter(|account| *account != self.account).collect()
    }

    /// `sharedEventID` of the record and its copies.
    pub(super) fn shared_id(&self) -> Uuid {
        copy_id(self.event_id, SHARED)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::AuditFacts;
    use kms_base::principal::Principal;

    fn records(outcome: Outcome<'_>, facts: &AuditFacts) -> (Value, Vec<Value>) {
        let principal = Principal::root("111122223333", "AKIAEXAMPLE");
        let record = RequestRecord {
            request_id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(2),
            source: "kms.amazonaws.com",
            operation: "ReEncrypt",
            read_only: true,
            caller: Caller::Verified(&principal),
            region: "us-east-1",
            account: "111122223333",
            source_ip: Ipv4Addr::LOCALHOST.into(),
            user_agent: None,
            tls: None,
            host: None,
            completed: UNIX_EPOCH,
            outcome,
            no_room: false,
            facts,
        };
        (record.to_json(), record.copies())
    }

    #[test]
    fn each_account_gets_what_is_about_its_keys() {
        let mut facts = AuditFacts::default();
        facts.key("111122223333", "arn:own");
        let (record, copies) = records(Outcome::Success, &facts);
        assert!(copies.is_empty() && record.get("sharedEventID").is_none());

        facts.key("444455556666", "arn:theirs");
        facts.key("444455556666", "arn:also-theirs");
        facts.key("777788889999", "arn:others");
        facts.alias("000000000000", "arn:aws:kms:us-east-1:000000000000:alias/a");
        let failure = Outcome::Failure("DisabledException", None);
        for outcome in [Outcome::Success, failure] {
            let (record, copies) = records(outcome, &facts);
            assert_eq!(record["resources"].as_array().unwrap().len(), 5);
            assert_eq!(record["userIdentity"]["accessKeyId"], "AKIAEXAMPLE");
            let of: Vec<_> = copies.iter().map(|copy| &copy["recipientAccountId"]).collect();
            assert_eq!(of, ["444455556666", "777788889999"]);
            let mut ids = BTreeSet::from([record["eventID"].as_str().unwrap()]);
            for copy in &copies {
                let account = copy["recipientAccountId"].as_str().unwrap();
                let id = copy_id(Uuid::from_u128(2), account).to_string();
                assert_eq!(copy["eventID"], id);
                ids.insert(copy["eventID"].as_str().unwrap());
                assert_eq!(copy["sharedEventID"], record["sharedEventID"]);
                assert_eq!(copy["requestID"], record["requestID"]);
                let identity = json!({ "type": "AWSAccount", "principalId": "111122223333",
                                       "accountId": "111122223333" });
                assert_eq!(copy["userIdentity"], identity);
                let resources = copy["resources"].as_array().unwrap();
                assert!(resources.iter().all(|resource| resource["accountId"] == account));
            }
            assert_eq!(ids.len(), 3);
            assert_eq!(copies[0]["resources"].as_array().unwrap().len(), 2);
        }
        let (record, copies) = records(Outcome::Failure(ACCESS_DENIED, None), &facts);
        assert!(copies.is_empty() && record.get("sharedEventID").is_none());
    }
}
