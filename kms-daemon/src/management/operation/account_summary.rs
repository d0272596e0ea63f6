//! `GetAccountSummary`: the number of identities of each kind, and its limit.

use super::call::Call;
use super::{access_keys, attached, groups, versions};
use crate::iam::record::{Group, ManagedPolicy, Role, User};
use crate::management::Node;
use kms_query::IamError;

pub(super) async fn run(call: &mut Call<'_>) -> Result<Option<Node>, IamError> {
    call.authorize(None)?;
    let (directory, account) = (call.directory(), call.account());
    let root_keys = access_keys::of_root(call).await?.len();
    let (mut policies, mut version_count) = (0, 0);
    let mut count = |policy: ManagedPolicy| {
        policies += 1;
        version_count += policy.versions.len();
    };
    directory.visit_all(account, &mut count).await?;
    let counted = [
        ("Users", directory.count::<User>(account).await?),
        ("Groups", directory.count::<Group>(account).await?),
        ("Roles", directory.count::<Role>(account).await?),
        ("Policies", policies),
        ("PolicyVersionsInUse", version_count),
        ("AccountAccessKeysPresent", usize::from(root_keys > 0)),
        ("AccessKeysPerUserQuota", access_keys::MAX_KEYS),
        ("GroupsPerUserQuota", groups::MAX_GROUPS),
        ("AttachedPoliciesPerGroupQuota", attached::MAX_ATTACHED),
        ("AttachedPoliciesPerRoleQuota", attached::MAX_ATTACHED),
        ("AttachedPoliciesPerUserQuota", attached::MAX_ATTACHED),
        ("VersionsPerPolicyQuota", versions::MAX_VERSIONS),
    ];
    // Nothing of these can be here.
    let absent = [
        "AccountMFAEnabled",
        "AccountPasswordPresent",
        "AccountSigningCertificatesPresent",
        "InstanceProfiles",
        "MFADevices",
        "MFADevicesInUse",
        "Providers",
        "ServerCertificates",
    ];
    let mut entries: Vec<(String, Node)> = counted
        .into_iter()
        .chain(absent.map(|name| (name, 0)))
        .map(|(name, count)| (name.to_owned(), Node::Number(count as u64)))
        .collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(Some(Node::Members(vec![("SummaryMap", Node::Map(entries))])))
}
