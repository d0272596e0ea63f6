//! What would be decided, and why.

use serde_json::{Value, json};

use super::keys::{document, key_policy, of_root};
use super::rig::{ACCOUNT, Rig, root};
use crate::principal::Principal;

const ANA: &str = "arn:aws:iam::000000000000:user/ana";

/// Policies by which ana may encrypt in one context, and decrypt by a grant in another.
async fn rig() -> (Rig, String) {
    let rig = Rig::new().await;
    rig.user("ana").await;
    let red = json!({ "StringEquals": { "kms:EncryptionContext:Team": "red" } });
    rig.put("ana", "team", &document("Allow", "kms:Encrypt", Some(red))).await;
    rig.put("ana", "never", &document("Deny", "kms:ScheduleKeyDeletion", None)).await;
    let key = rig.key(json!({ "Policy": key_policy(&[of_root()]) })).await;
    let grant = json!({ "KeyId": key, "GranteePrincipal": ANA, "Operations": ["Decrypt"],
        "Constraints": { "EncryptionContextSubset": { "team": "blue" } } });
    rig.kms(&root(), "CreateGrant", grant).await.unwrap();
    (rig, key)
}

async fn ask(rig: &Rig, action: &str, key: &str, context: &[(&str, &str)]) -> Value {
    let mut parameters = vec![
        ("PrincipalArn".to_owned(), ANA),
        ("ActionName".to_owned(), action),
        ("KeyId".to_owned(), key),
    ];
    for (number, (name, value)) in context.iter().enumerate() {
        let entry = format!("ContextEntries.member.{}", number + 1);
        parameters.push((format!("{entry}.ContextKeyName"), name));
        parameters.push((format!("{entry}.ContextKeyValues.member.1"), value));
    }
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (&**name, *value)).collect();
    rig.ok("ExplainAccess", &parameters).await
}

fn reason(answer: &Value) -> &str {
    answer["Reason"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_say_why() {
    let (rig, key) = rig().await;
    let pair = ("kms:EncryptionContext:team", "red");
    let allowed = ask(&rig, "kms:encrypt", &key, &[pair]).await;
    assert_eq!(allowed["Decision"], "allowed");
    assert_eq!(allowed["Principal"], ANA);
    assert_eq!(
        reason(&allowed),
        "Statement 1 of the key policy lets the account decide, and statement 1 of the policy team \
         of user ana allows it."
    );
    let denied = ask(&rig, "kms:Encrypt", &key, &[("kms:EncryptionContext:team", "blue")]).await;
    assert_eq!(denied["Decision"], "denied");
    assert!(reason(&denied).starts_with("No identity-based policy allows it."));
    let team = denied["Statements"].as_array().unwrap().iter();
    let team = team.clone().find(|report| report["Policy"] == "policy team of user ana").unwrap();
    assert_eq!(team["Applies"], false);
    let why = "the condition StringEquals kms:EncryptionContext:Team does not hold for blue";
    assert_eq!(team["Mismatches"], json!([why]));
    let explicit = ask(&rig, "kms:ScheduleKeyDeletion", &key, &[]).await;
    assert!(
        reason(&explicit).starts_with("Statement 1 of the policy never of user ana denies it.")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_say_why() {
    let (rig, key) = rig().await;
    let blue = ("kms:EncryptionContext:team", "blue");
    let allowed = ask(&rig, "kms:Decrypt", &key, &[blue]).await;
    assert_eq!(allowed["Decision"], "allowed");
    let id = allowed["Grants"][0]["GrantId"].as_str().unwrap();
    assert_eq!(reason(&allowed), format!("The grant {id} allows it."));
    let denied = ask(&rig, "kms:Decrypt", &key, &[]).await;
    assert_eq!(denied["Decision"], "denied");
    let why = "the encryption context does not meet its constraints";
    assert_eq!(denied["Grants"][0]["Mismatch"], why);
    let denied = ask(&rig, "kms:Encrypt", &key, &[]).await;
    let why = "the operation is not among those of the grant";
    assert_eq!(denied["Grants"][0]["Mismatch"], why);
}

/// The explanation is of what happens: both ask the same engine about the same facts.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_happens() {
    let (rig, key) = rig().await;
    let id = rig.ok("CreateAccessKey", &[("UserName", "ana")]).await;
    let ana = rig.principal(id["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
    for (team, may) in [("red", true), ("blue", false)] {
        let explained =
            ask(&rig, "kms:Encrypt", &key, &[("kms:EncryptionContext:team", team)]).await;
        let happens = rig.encrypts(&ana, &key, json!({ "team": team })).await;
        assert_eq!(explained["Decision"] == "allowed", may);
        assert_eq!(happens.is_ok(), may);
        if let Err(text) = happens {
            let told = text.split_once(": ").unwrap().1;
            assert_eq!(explained["Told"], told, "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_refuse_what_policies_allow() {
    let (rig, key) = rig().await;
    rig.kms(&root(), "DisableKey", json!({ "KeyId": key })).await.unwrap();
    let answer = ask(&rig, "kms:Encrypt", &key, &[("kms:EncryptionContext:team", "red")]).await;
    assert_eq!(answer["Decision"], "allowed");
    assert!(answer["State"].as_str().unwrap().contains("is disabled"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_an_answer_are_refused() {
    let (rig, key) = rig().await;
    let refuse = async |principal: &str, action: &str, more: &[(&str, &str)]| {
        let first = [("PrincipalArn", principal), ("ActionName", action)];
        rig.refused("ExplainAccess", &[&first, more].concat()).await
    };
    let key = ("KeyId", key.as_str());
    let nobody = format!("arn:aws:iam::{ACCOUNT}:user/nobody");
    assert!(refuse(&nobody, "kms:Decrypt", &[key]).await.starts_with("NoSuchEntity"));
    let wrong_path = format!("arn:aws:iam::{ACCOUNT}:user/team/ana");
    assert!(refuse(&wrong_path, "kms:Decrypt", &[key]).await.starts_with("NoSuchEntity"));
    assert!(
        refuse(ANA, "kms:Encrypt", &[]).await.starts_with("ValidationError: kms:Encrypt is about")
    );
    assert!(refuse(ANA, "s3:GetObject", &[key]).await.contains("not an action of KMS"));
    assert!(refuse(ANA, "kms:ReEncrypt", &[key]).await.contains("not an action of KMS"));
    let entry = [
        ("ContextEntries.member.1.ContextKeyName", "kms:Frobnicate"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "x"),
    ];
    assert!(
        refuse(ANA, "kms:Encrypt", &[&[key][..], &entry].concat()).await.contains("Frobnicate")
    );
    let missing = ("KeyId", "1234abcd-12ab-34cd-56ef-1234567890ab");
    assert!(refuse(ANA, "kms:Encrypt", &[missing]).await.starts_with("NoSuchEntity: Key "));
}

/// What policies say is told to those who may read them.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_to_roots_alone() {
    let (rig, key) = rig().await;
    let other = rig.ok("CreateAccount", &[("AccountId", "111122223333")]).await;
    let other = other["AccessKey"]["AccessKeyId"].as_str().unwrap().to_owned();
    let other = Principal::root("111122223333", &*other);
    let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}");
    let own = "arn:aws:iam::111122223333:root";
    let parameters = |principal, key| {
        [("PrincipalArn", principal), ("ActionName", "kms:Decrypt"), ("KeyId", key)]
    };
    for (principal, key) in [(ANA, arn.as_str()), (own, &arn), (ANA, &key)] {
        let refused = rig.call(&other, "ExplainAccess", &parameters(principal, key)).await;
        assert!(refused.unwrap_err().to_string().starts_with("AccessDenied"));
    }
    // The root of the first account sees both sides.
    let answer = rig.ok("ExplainAccess", &parameters(own, &arn)).await;
    assert_eq!(answer["Decision"], "denied");
    let ana = rig.ok("CreateAccessKey", &[("UserName", "ana")]).await;
    let ana = rig.principal(ana["AccessKey"]["AccessKeyId"].as_str().unwrap()).await;
    let refused = rig.call(&ana, "ExplainAccess", &parameters(ANA, &arn)).await;
    assert!(refused.unwrap_err().to_string().starts_with("AccessDenied"));
}
