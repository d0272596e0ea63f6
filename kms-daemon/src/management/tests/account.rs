//! Operations about a whole account, and about things that cannot exist in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::delegation::document;
use super::rig::{ACCOUNT, ROOT_KEY, Rig};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}"#;

fn names(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

/// Two users in a group, a role, and two policies, of which one bounds.
async fn rig() -> (Rig, String, String) {
    let rig = Rig::new().await;
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }));
    let mut arns = Vec::new();
    for name in ["used", "idle"] {
        let made = rig.ok("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", &text)]).await;
        arns.push(made["Policy"]["Arn"].as_str().unwrap().to_owned());
    }
    rig.ok("CreateGroup", &[("GroupName", "team"), ("Path", "/g/")]).await;
    for name in ["ana", "ben"] {
        rig.user(name).await;
        rig.ok("AddUserToGroup", &[("GroupName", "team"), ("UserName", name)]).await;
    }
    rig.ok("CreateRole", &[("RoleName", "deploy"), ("AssumeRolePolicyDocument", TRUST)]).await;
    let put = [("UserName", "ana"), ("PolicyName", "p"), ("PolicyDocument", text.as_str())];
    rig.ok("PutUserPolicy", &put).await;
    let [used, idle] = arns.try_into().unwrap();
    rig.ok("AttachGroupPolicy", &[("GroupName", "team"), ("PolicyArn", &used)]).await;
    rig.ok("AttachRolePolicy", &[("RoleName", "deploy"), ("PolicyArn", &used)]).await;
    let bound = [("UserName", "ben"), ("PermissionsBoundary", used.as_str())];
    rig.ok("PutUserPermissionsBoundary", &bound).await;
    (rig, used, idle)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_there_is_not() {
    let (rig, ..) = rig().await;
    let ana = [("UserName", "ana")];
    for (operation, member) in [
        ("ListMFADevices", "MFADevices"),
        ("ListSigningCertificates", "Certificates"),
        ("ListSSHPublicKeys", "SSHPublicKeys"),
        ("ListServiceSpecificCredentials", "ServiceSpecificCredentials"),
    ] {
        let answer = rig.ok(operation, &ana).await;
        assert_eq!((&answer[member], &answer["IsTruncated"]), (&json!([]), &json!(false)));
        assert_eq!(rig.ok(operation, &[]).await[member], json!([]), "of the root");
        let refusal = rig.refused(operation, &[("UserName", "nobody")]).await;
        assert!(refusal.starts_with("NoSuchEntity"), "{operation} {refusal}");
    }
    for (operation, member) in [
        ("ListAccountAliases", "AccountAliases"),
        ("ListVirtualMFADevices", "VirtualMFADevices"),
        ("ListServerCertificates", "ServerCertificateMetadataList"),
        ("ListSAMLProviders", "SAMLProviderList"),
        ("ListOpenIDConnectProviders", "OpenIDConnectProviderList"),
    ] {
        assert_eq!(rig.ok(operation, &[]).await[member], json!([]), "{operation}");
    }
    assert_eq!(
        rig.refused("GetLoginProfile", &ana).await,
        "NoSuchEntity: Login Profile for User ana cannot be found."
    );
    // Terraform deletes it with a user, and takes it that there is none.
    assert_eq!(
        rig.refused("DeleteLoginProfile", &ana).await,
        rig.refused("GetLoginProfile", &ana).await
    );
    let missing = rig.refused("GetLoginProfile", &[("UserName", "nobody")]).await;
    assert_eq!(missing, "NoSuchEntity: The user with name nobody cannot be found.");
    assert!(rig.refused("GetAccountPasswordPolicy", &[]).await.starts_with("NoSuchEntity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_counts() {
    let (rig, used, _) = rig().await;
    let map = rig.ok("GetAccountSummary", &[]).await["SummaryMap"].take();
    for (name, count) in [
        ("Users", 2),
        ("Groups", 1),
        ("Roles", 1),
        ("Policies", 2),
        ("PolicyVersionsInUse", 2),
        ("AccountAccessKeysPresent", 1),
        ("AccountMFAEnabled", 0),
        ("MFADevices", 0),
        ("VersionsPerPolicyQuota", 5),
        ("AccessKeysPerUserQuota", 2),
    ] {
        assert_eq!(map[name], count, "{name}");
    }
    let text = document(&json!({ "Effect": "Allow", "Action": "kms:Sign", "Resource": "*" }));
    rig.ok("CreatePolicyVersion", &[("PolicyArn", &used), ("PolicyDocument", &text)]).await;
    let map = rig.ok("GetAccountSummary", &[]).await["SummaryMap"].take();
    assert_eq!(map["PolicyVersionsInUse"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_by_their_use() {
    let (rig, used, idle) = rig().await;
    let listed = async |parameters: &[(&str, &str)]| {
        names(&rig.ok("ListPolicies", parameters).await["Policies"], "Arn")
    };
    assert_eq!(listed(&[("OnlyAttached", "true")]).await, std::slice::from_ref(&used));
    assert_eq!(listed(&[("OnlyAttached", "false")]).await, [idle.clone(), used.clone()]);
    let filter = |name| [("PolicyUsageFilter", name)];
    assert_eq!(listed(&filter("PermissionsPolicy")).await, std::slice::from_ref(&used));
    assert_eq!(listed(&filter("PermissionsBoundary")).await, std::slice::from_ref(&used));
    rig.ok("DeleteUserPermissionsBoundary", &[("UserName", "ben")]).await;
    assert_eq!(listed(&filter("PermissionsBoundary")).await, Vec::<String>::new());
    let refusal = rig.refused("ListPolicies", &filter("Other")).await;
    assert!(refusal.starts_with("ValidationError"), "{refusal}");

    let entities = async |parameters: &[(&str, &str)]| {
        let own = [&[("PolicyArn", used.as_str())][..], parameters].concat();
        let found = rig.ok("ListEntitiesForPolicy", &own).await;
        let of = |list: &str, member: &str| names(&found[list], member);
        (
            of("PolicyGroups", "GroupName"),
            of("PolicyUsers", "UserName"),
            of("PolicyRoles", "RoleName"),
        )
    };
    let one = |name: &str| vec![name.to_owned()];
    assert_eq!(entities(&[]).await, (one("team"), vec![], one("deploy")));
    assert_eq!(entities(&[("EntityFilter", "Role")]).await, (vec![], vec![], one("deploy")));
    assert_eq!(entities(&[("PathPrefix", "/g/")]).await, (one("team"), vec![], vec![]));
    let bound = [("UserName", "ana"), ("PermissionsBoundary", used.as_str())];
    rig.ok("PutUserPermissionsBoundary", &bound).await;
    let bounds = [("PolicyUsageFilter", "PermissionsBoundary")];
    assert_eq!(entities(&bounds).await, (vec![], one("ana"), vec![]));
    let none = [("PolicyArn", idle.as_str())];
    assert_eq!(rig.ok("ListEntitiesForPolicy", &none).await["PolicyRoles"], json!([]));
    let missing = [("PolicyArn", "arn:aws:iam::000000000000:policy/none")];
    assert!(rig.refused("ListEntitiesForPolicy", &missing).await.starts_with("NoSuchEntity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_policies_depend_on() {
    let (rig, used, idle) = rig().await;
    let all = rig.ok("GetAccountAuthorizationDetails", &[]).await;
    let users = &all["UserDetailList"];
    assert_eq!(names(users, "UserName"), ["ana", "ben"]);
    assert_eq!(users[0]["UserPolicyList"][0]["PolicyName"], "p");
    assert!(users[0]["UserPolicyList"][0]["PolicyDocument"].as_str().unwrap().starts_with("%7B"));
    assert_eq!(users[0]["GroupList"], json!(["team"]));
    assert_eq!(users[1]["PermissionsBoundary"]["PermissionsBoundaryArn"], *used);
    let group = &all["GroupDetailList"][0];
    assert_eq!(group["AttachedManagedPolicies"][0]["PolicyArn"], *used);
    let role = &all["RoleDetailList"][0];
    assert_eq!((&role["RoleName"], &role["RolePolicyList"]), (&json!("deploy"), &json!([])));
    assert_eq!(names(&all["Policies"], "Arn"), [idle, used]);
    assert_eq!(all["Policies"][1]["AttachmentCount"], 2);
    assert_eq!(all["Policies"][1]["PolicyVersionList"][0]["IsDefaultVersion"], true);
    assert_eq!(all["IsTruncated"], false);

    let filter = [("Filter.member.1", "Role"), ("Filter.member.2", "AWSManagedPolicy")];
    let roles = rig.ok("GetAccountAuthorizationDetails", &filter).await;
    assert_eq!(roles["UserDetailList"], json!([]));
    assert_eq!(roles["RoleDetailList"].as_array().unwrap().len(), 1);
    let refusal = rig.refused("GetAccountAuthorizationDetails", &[("Filter.member.1", "x")]).await;
    assert!(refusal.starts_with("ValidationError"), "{refusal}");

    // Pages go on in the next kind, and none comes twice.
    let mut seen = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let mut parameters = vec![("MaxItems", "1")];
        parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
        let page = rig.ok("GetAccountAuthorizationDetails", &parameters).await;
        let before = seen.len();
        for (list, member) in [
            ("UserDetailList", "UserName"),
            ("GroupDetailList", "GroupName"),
            ("RoleDetailList", "RoleName"),
            ("Policies", "PolicyName"),
        ] {
            seen.extend(names(&page[list], member));
        }
        assert_eq!(seen.len(), before + 1);
        marker = page["Marker"].as_str().map(str::to_owned);
        assert_eq!(page["IsTruncated"], marker.is_some());
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["ana", "ben", "team", "deploy", "idle", "used"]);
    let refusal = rig.refused("GetAccountAuthorizationDetails", &[("Marker", "eHg")]).await;
    assert!(refusal.starts_with("ValidationError"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_report() {
    let (rig, ..) = rig().await;
    let refusal = rig.refused("GetCredentialReport", &[]).await;
    assert!(refusal.starts_with("ReportNotPresent"), "{refusal}");
    assert_eq!(rig.ok("GenerateCredentialReport", &[]).await["State"], "STARTED");
    assert_eq!(rig.ok("GenerateCredentialReport", &[]).await["State"], "COMPLETE");
    let keys = rig.ok("ListAccessKeys", &[("UserName", "ana")]).await;
    let id = keys["AccessKeyMetadata"][0]["AccessKeyId"].as_str().unwrap().to_owned();
    let ana = rig.principal(&id).await;
    rig.iam.note_use(&ana, "kms", "eu-west-1");
    let inactive = [("UserName", "ana"), ("AccessKeyId", id.as_str()), ("Status", "Inactive")];
    rig.ok("UpdateAccessKey", &inactive).await;
    rig.ok("CreateUser", &[("UserName", "c,d")]).await;

    let report = rig.restarted().await.ok("GetCredentialReport", &[]).await;
    assert_eq!(report["ReportFormat"], "text/csv");
    let report = rig.ok("GetCredentialReport", &[]).await;
    let table = BASE64.decode(report["Content"].as_str().unwrap()).unwrap();
    let table = String::from_utf8(table).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    let head: Vec<&str> = lines[0].split(',').collect();
    assert_eq!((head.len(), head[0], head[21]), (22, "user", "cert_2_last_rotated"));
    assert!(lines[1].starts_with(&format!(
        "<root_account>,arn:aws:iam::{ACCOUNT}:root,2027-01-15T08:00:00+00:00,not_supported,"
    )));
    assert!(lines.iter().all(|line| !line.contains(ROOT_KEY) && !line.contains(&id)));
    let of = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("{name},"))).unwrap();
        let fields: Vec<&str> = line.split(',').collect();
        head.iter()
            .zip(fields)
            .map(|(name, value)| (*name, value))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let ana = of("ana");
    for (column, value) in [
        ("arn", "arn:aws:iam::000000000000:user/ana"),
        ("password_enabled", "false"),
        ("mfa_active", "false"),
        ("access_key_1_active", "false"),
        ("access_key_1_last_rotated", "2027-01-15T08:00:00+00:00"),
        ("access_key_1_last_used_date", "2027-01-15T08:00:00+00:00"),
        ("access_key_1_last_used_region", "eu-west-1"),
        ("access_key_1_last_used_service", "kms"),
        ("access_key_2_active", "false"),
        ("access_key_2_last_rotated", "N/A"),
        ("cert_1_active", "false"),
    ] {
        assert_eq!(ana[column], value, "{column}");
    }
    assert_eq!(of("ben")["access_key_1_active"], "true");
    assert_eq!(of("ben")["access_key_1_last_used_date"], "N/A");
    let quoted = format!("\"c,d\",\"arn:aws:iam::{ACCOUNT}:user/c,d\",");
    assert!(lines.iter().any(|line| line.starts_with(&quoted)), "{table}");

    rig.clock.advance(std::time::Duration::from_secs(4 * 60 * 60 + 1));
    let refusal = rig.refused("GetCredentialReport", &[]).await;
    assert!(refusal.starts_with("ReportExpired"), "{refusal}");
    assert_eq!(rig.ok("GenerateCredentialReport", &[]).await["State"], "STARTED");
}
