use serde_json::json;

use super::rig::{ACCOUNT, Rig, root};
use kms_base::principal::PrincipalKind;

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_user() {
    let rig = Rig::new().await;
    let made = rig.ok("CreateUser", &[("UserName", "Ana"), ("Path", "/team/")]).await;
    let user = &made["User"];
    assert_eq!(user["Arn"], "arn:aws:iam::000000000000:user/team/Ana");
    assert_eq!(user["CreateDate"], "2027-01-15T08:00:00Z");
    assert!(user["UserId"].as_str().unwrap().starts_with("AIDA"));
    assert_eq!(rig.ok("GetUser", &[("UserName", "ana")]).await["User"], *user);
    let taken = rig.refused("CreateUser", &[("UserName", "ANA")]).await;
    assert_eq!(taken, "EntityAlreadyExists: User with name ANA already exists.");

    rig.ok("DeleteUser", &[("UserName", "Ana")]).await;
    let missing = "NoSuchEntity: The user with name Ana cannot be found.";
    for operation in ["GetUser", "DeleteUser", "CreateAccessKey", "ListUserPolicies"] {
        assert_eq!(rig.refused(operation, &[("UserName", "Ana")]).await, missing);
    }
    let again = rig.ok("CreateUser", &[("UserName", "Ana")]).await;
    assert_ne!(again["User"]["UserId"], user["UserId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_have_pages_and_paths() {
    let rig = Rig::new().await;
    for (name, path) in [("c", "/x/"), ("A", "/"), ("b", "/x/y/")] {
        rig.ok("CreateUser", &[("UserName", name), ("Path", path)]).await;
    }
    let names = |answer: &serde_json::Value| {
        let users = answer["Users"].as_array().unwrap().iter();
        users.map(|user| user["UserName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = rig.ok("ListUsers", &[]).await;
    assert_eq!(
        (names(&all), &all["IsTruncated"]),
        (vec!["A".into(), "b".into(), "c".into()], &json!(false))
    );
    let first = rig.ok("ListUsers", &[("MaxItems", "2")]).await;
    assert_eq!((names(&first).len(), &first["IsTruncated"]), (2, &json!(true)));
    let marker = first["Marker"].as_str().unwrap();
    let rest = rig.ok("ListUsers", &[("MaxItems", "2"), ("Marker", marker)]).await;
    assert_eq!((names(&rest), &rest["Marker"]), (vec!["c".to_owned()], &json!(null)));
    assert_eq!(names(&rig.ok("ListUsers", &[("PathPrefix", "/x/")]).await), ["b", "c"]);
    assert!(rig.refused("ListUsers", &[("MaxItems", "0")]).await.starts_with("ValidationError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_and_not_ignored() {
    let rig = Rig::new().await;
    let device = [("UserName", "ana"), ("SerialNumber.member.1.Key", "k")];
    assert_eq!(
        rig.refused("CreateUser", &device).await,
        "ValidationError: The parameter SerialNumber.member.1.Key is not supported by this service."
    );
    for (parameters, code) in [
        (&[][..], "ValidationError"),
        (&[("UserName", "a b")], "ValidationError"),
        (&[("UserName", "ana"), ("Path", "x")], "ValidationError"),
        (
            &[("UserName", "ana"), ("PermissionsBoundary", "arn:aws:iam::000000000000:policy/x")],
            "NoSuchEntity",
        ),
    ] {
        let refusal = rig.refused("CreateUser", parameters).await;
        assert!(refusal.starts_with(code), "{refusal}");
    }
    assert_eq!(rig.ok("ListUsers", &[]).await["Users"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_manages_nobody_and_knows_itself() {
    let rig = Rig::new().await;
    let (key, _) = rig.user("ana").await;
    let ana = rig.principal(&key).await;
    assert!(matches!(&ana.kind, PrincipalKind::User(user) if user.name == "ana"));
    for operation in [
        "ListUsers",
        "GetUser",
        "CreateAccessKey",
        "CreateAccount",
        "ListAccounts",
        "PrepareBackup",
        "CompleteBackup",
        "StartScrub",
        "DescribeScrub",
    ] {
        let error = rig.call(&ana, operation, &[]).await.unwrap_err();
        assert_eq!(error.code().name(), "AccessDenied", "{operation}");
        assert!(error.message().contains("user/ana is not authorized to perform:"), "{error}");
    }
    let identity = rig.call(&ana, "GetCallerIdentity", &[]).await.unwrap();
    let expected = json!({
        "Arn": "arn:aws:iam::000000000000:user/ana", "UserId": ana.id(), "Account": ACCOUNT,
    });
    assert_eq!(identity, expected);
    let root = rig.call(&root(), "GetCallerIdentity", &[]).await.unwrap();
    assert_eq!(root["Arn"], "arn:aws:iam::000000000000:root");
    assert_eq!(rig.ok("GetUser", &[]).await["User"]["UserId"], ACCOUNT);
}
