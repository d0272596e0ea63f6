//! Which condition keys each action has: one table, and a test that asks the API about every cell.
//!
//! A request is made under a policy that denies it if a key that the table gives it is absent, if
//! one that it does not give it is there, and if either is unknown. So it is allowed only if all of
//! the row is as the table says.

use kms_policy::{Action, Name};
use serde_json::{Value, json};

use super::requests::{Asked, asking, is_cryptographic};
use super::{identity, user};

/// Which requests have a key.
enum Has {
    /// All.
    All,
    /// None, for this reason.
    Never(&'static str),
    /// Those about a key, and those that make one.
    Keys,
    /// Those about a key that there is.
    Existing,
    /// All but those about no key, alias or custom key store.
    Resources,
    /// Cryptographic operations, `DescribeKey` and `GetPublicKey`.
    ByAlias,
    /// These.
    Only(&'static [&'static str]),
}

use Has::{All, ByAlias, Existing, Keys, Never, Only, Resources};

const SERVICES: &str = "services make no requests here";
const ORGANISATIONS: &str = "there are no organisations";
const OTHERS: &str = "of requests to IAM and STS";
const SESSIONS: &str = "the caller has a long-term key";
const NETWORKS: &str = "there are no VPC endpoints";
const ENCRYPTING: &[&str] = &[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
];
const WITH_CONTEXT: &[&str] = &[
    "CreateGrant",
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
];
const TAGGING: &[&str] = &["CreateKey", "ReplicateKey", "TagResource"];
const PAIRS: &[&str] = &["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"];

/// The keys, those of families with the parameter that requests here have.
const TABLE: &[(Name, &str, Has)] = &[
    (Name::CalledVia, "", Never(SERVICES)),
    (Name::CalledViaFirst, "", Never(SERVICES)),
    (Name::CalledViaLast, "", Never(SERVICES)),
    (Name::CurrentTime, "", All),
    (Name::EpochTime, "", All),
    (Name::FederatedProvider, "", Never("there are no identity providers")),
    (Name::MultiFactorAuthAge, "", Never("there are no MFA devices")),
    (Name::MultiFactorAuthPresent, "", Never(SESSIONS)),
    (Name::PrincipalAccount, "", All),
    (Name::PrincipalArn, "", All),
    (Name::PrincipalIsAwsService, "", All),
    (Name::PrincipalOrgId, "", Never(ORGANISATIONS)),
    (Name::PrincipalOrgPaths, "", Never(ORGANISATIONS)),
    (Name::PrincipalServiceName, "", Never(SERVICES)),
    (Name::PrincipalServiceNamesList, "", Never(SERVICES)),
    (Name::PrincipalTag, "team", Never("users and roles have no tags")),
    (Name::PrincipalType, "", All),
    (Name::Referer, "", All),
    (Name::RequestTag, "team", Only(TAGGING)),
    (Name::RequestedRegion, "", All),
    (Name::ResourceAccount, "", All),
    (Name::ResourceOrgId, "", Never(ORGANISATIONS)),
    (Name::ResourceOrgPaths, "", Never(ORGANISATIONS)),
    (Name::ResourceTag, "team", Existing),
    (Name::SecureTransport, "", All),
    (Name::SourceAccount, "", Never(SERVICES)),
    (Name::SourceArn, "", Never(SERVICES)),
    (Name::SourceIdentity, "", Never(SESSIONS)),
    (Name::SourceIp, "", All),
    (Name::SourceOrgId, "", Never(ORGANISATIONS)),
    (Name::SourceOrgPaths, "", Never(ORGANISATIONS)),
    (Name::SourceVpc, "", Never(NETWORKS)),
    (Name::SourceVpce, "", Never(NETWORKS)),
    (Name::TagKeys, "", Only(&["CreateKey", "ReplicateKey", "TagResource", "UntagResource"])),
    (Name::TokenIssueTime, "", Never(SESSIONS)),
    (Name::UserAgent, "", All),
    (Name::UserId, "", All),
    (Name::UserName, "", All),
    (Name::ViaAwsService, "", All),
    (Name::VpcSourceIp, "", Never(NETWORKS)),
    (Name::IamResourceTag, "team", Never(OTHERS)),
    (Name::PermissionsBoundary, "", Never(OTHERS)),
    (Name::PolicyArn, "", Never(OTHERS)),
    (
        Name::BypassPolicyLockoutSafetyCheck,
        "",
        Only(&["CreateKey", "PutKeyPolicy", "ReplicateKey"]),
    ),
    (Name::CallerAccount, "", Resources),
    (Name::CustomerMasterKeySpec, "", Keys),
    (Name::CustomerMasterKeyUsage, "", Keys),
    (Name::DataKeyPairSpec, "", Only(PAIRS)),
    (Name::EncapsulationAlgorithm, "", Only(&["Decapsulate", "Encapsulate"])),
    (Name::EncryptionAlgorithm, "", Only(ENCRYPTING)),
    (Name::EncryptionContext, "purpose", Only(WITH_CONTEXT)),
    (Name::EncryptionContextKeys, "", Only(WITH_CONTEXT)),
    (Name::ExpirationModel, "", Only(&["ImportKeyMaterial"])),
    (Name::GrantConstraintSourceArn, "", Only(&["CreateGrant"])),
    (Name::GrantConstraintType, "", Only(&["CreateGrant", "RetireGrant"])),
    (Name::GrantIsForAwsResource, "", Only(&["CreateGrant", "ListGrants", "RevokeGrant"])),
    (Name::GrantOperations, "", Only(&["CreateGrant"])),
    (Name::GranteePrincipal, "", Only(&["CreateGrant"])),
    (Name::GranteeServicePrincipal, "", Never("the grantee is a principal")),
    (Name::KeyAgreementAlgorithm, "", Only(&["DeriveSharedSecret"])),
    (Name::KeyOrigin, "", Keys),
    (Name::KeySpec, "", Keys),
    (Name::KeyUsage, "", Keys),
    (Name::MacAlgorithm, "", Only(&["GenerateMac", "VerifyMac"])),
    (Name::MessageType, "", Only(&["Sign", "Verify"])),
    (Name::MultiRegion, "", Keys),
    (Name::MultiRegionKeyType, "", Keys),
    (Name::PolicyName, "", Only(&["GetKeyPolicy", "PutKeyPolicy"])),
    (Name::PrimaryRegion, "", Only(&["UpdatePrimaryRegion"])),
    (Name::ReEncryptOnSameKey, "", Only(&["ReEncryptFrom", "ReEncryptTo"])),
    (
        Name::RecipientAttestation,
        "PCR0",
        Only(&[
            "Decrypt",
            "DeriveSharedSecret",
            "GenerateDataKey",
            "GenerateDataKeyPair",
            "GenerateRandom",
        ]),
    ),
    (Name::ReplicaRegion, "", Only(&["ReplicateKey"])),
    (Name::RequestAlias, "", ByAlias),
    (Name::ResourceAliases, "", Existing),
    (Name::RetiringPrincipal, "", Only(&["CreateGrant"])),
    (Name::RetiringServicePrincipal, "", Never("the retiring one is a principal")),
    (Name::RotationPeriodInDays, "", Only(&["EnableKeyRotation"])),
    (Name::ScheduleKeyDeletionPendingWindowInDays, "", Only(&["ScheduleKeyDeletion"])),
    (Name::SigningAlgorithm, "", Only(&["Sign", "Verify"])),
    (Name::TrailingDaysWithoutKeyUsage, "", Only(&["DisableKey", "ScheduleKeyDeletion"])),
    (Name::ValidTo, "", Only(&["ImportKeyMaterial"])),
    (Name::ViaService, "", Never(SERVICES)),
    (Name::WrappingAlgorithm, "", Only(&["GetParametersForImport"])),
    (Name::WrappingKeySpec, "", Only(&["GetParametersForImport"])),
    (Name::ExternalId, "", Never(OTHERS)),
    (Name::RoleSessionName, "", Never(OTHERS)),
    (Name::SessionSourceIdentity, "", Never(OTHERS)),
    (Name::TransitiveTagKeys, "", Never(OTHERS)),
];

/// Keys that a request has only if it has the parameter, or if the key is of that kind.
const OPTIONAL: &[Name] = &[
    Name::BypassPolicyLockoutSafetyCheck,
    Name::EncryptionContext,
    Name::EncryptionContextKeys,
    Name::ExpirationModel,
    Name::GrantConstraintSourceArn,
    Name::GrantConstraintType,
    Name::RecipientAttestation,
    Name::Referer,
    Name::RequestAlias,
    Name::RetiringPrincipal,
    Name::UserAgent,
];

/// The actions of which nobody asks.
const INTERNAL: &str = "SynchronizeMultiRegionKey";

/// What is decided: for which action, whether about a key, and for the sake of which request.
#[derive(Clone, Copy)]
struct Decision {
    action: &'static str,
    about_key: bool,
    request: &'static str,
}

/// Every decision the API makes.
fn decisions() -> Vec<Decision> {
    let mut all = Vec::new();
    let names = Action::ALL.iter().filter_map(|action| action.name().strip_prefix("kms:"));
    for action in names.filter(|name| *name != INTERNAL) {
        let decision = Decision { action, about_key: true, request: action };
        let account = Decision { about_key: false, ..decision };
        match action {
            // Of the alias as well as of the key.
            "CreateAlias" | "UpdateAlias" | "DeleteAlias" => all.extend([decision, account]),
            "TagResource" => {
                all.extend([decision, Decision { request: "TagResourceOfNew", ..account }]);
            }
            "CreateKey" => {
                all.extend([account, Decision { request: "CreateKeyOfReplica", ..account }]);
            }
            "GenerateRandom" => all.push(account),
            _ if action.starts_with("List") && KEYLESS.contains(&action) => all.push(account),
            _ if action.contains("CustomKeyStore") => all.push(account),
            _ => all.push(decision),
        }
    }
    all
}

const KEYLESS: [&str; 5] =
    ["CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"];

impl Has {
    fn includes(&self, decision: Decision) -> bool {
        let Decision { action, about_key, request } = decision;
        match self {
            All => true,
            Never(reason) => reason.is_empty(),
            Keys => about_key || action == "CreateKey" || request == "TagResourceOfNew",
            Existing => about_key,
            Resources => !KEYLESS.contains(&action),
            ByAlias => is_cryptographic(action),
            Only(actions) => actions.contains(&action),
        }
    }
}

/// Whether a request without optional parameters has the key.
fn bare_has(name: Name, decision: Decision) -> bool {
    let untagged = ["CreateKey", "ReplicateKey"].contains(&decision.action);
    let tags = [Name::RequestTag, Name::TagKeys].contains(&name);
    let regions = name == Name::MultiRegionKeyType;
    let made = ["CreateKey", "TagResourceOfNew"].contains(&decision.request);
    let missing = OPTIONAL.contains(&name) || (tags && untagged) || (regions && made);
    !missing
}

fn deny(decision: Decision, condition: Option<&Value>) -> Value {
    let resource = if decision.about_key { "Resource" } else { "NotResource" };
    let mut statement = json!({ "Effect": "Deny", "Action": format!("kms:{}", decision.action),
        resource: "arn:aws:kms:*:*:key/*" });
    if let Some(condition) = condition {
        statement["Condition"] = condition.clone();
    }
    statement
}

/// Whether the request is refused access under a policy that allows everything but this.
async fn is_denied(asked: &Asked, input: &Value, full: bool, denials: Vec<Value>) -> bool {
    let mut statements = vec![json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })];
    statements.extend(denials);
    let header = full.then(|| "test".to_owned());
    let mut request = asked.rig.request(user());
    (request.user_agent, request.referer) = (header.clone(), header);
    let policies = identity(&json!(statements));
    let outcome = asked.rig.limited(&policies, &request, asked.operation, input).await;
    let refusal = outcome.err().unwrap_or_default();
    assert!(!refusal.contains("Internal"), "{}: {refusal}", asked.operation);
    refusal.starts_with("AccessDenied")
}

#[test]
fn the_table_has_every_key_once() {
    let names: Vec<Name> = TABLE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, Name::ALL);
}

#[tokio::test]
async fn every_action_has_the_keys_of_the_table_and_no_others() {
    let mut wrong = Vec::new();
    for decision in decisions() {
        let Decision { action, about_key, request } = decision;
        let asked = asking(request).await;
        for (full, input) in [(true, &asked.full), (false, &asked.bare)] {
            let case = format!("{action} ({request}), about a key: {about_key}, full: {full}");
            if !is_denied(&asked, input, full, vec![deny(decision, None)]).await {
                wrong.push(format!("{case}: not decided"));
            }
            let denials = TABLE.iter().map(|(name, parameter, has)| {
                let present = has.includes(decision) && (full || bare_has(*name, decision));
                let key = format!("{}{parameter}", name.text());
                deny(decision, Some(&json!({ "Null": { key: present.to_string() } })))
            });
            let denials: Vec<Value> = denials.collect();
            if !is_denied(&asked, input, full, denials.clone()).await {
                continue;
            }
            for denial in denials {
                if is_denied(&asked, input, full, vec![denial.clone()]).await {
                    wrong.push(format!("{case}: {}", denial["Condition"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
