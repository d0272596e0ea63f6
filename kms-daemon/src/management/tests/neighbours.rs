//! What is served of other services: keys by their tags, and the Regions.

use serde_json::{Value, json};

use super::delegation::{caller, denied, done};
use super::rig::{ACCOUNT, Rig, root};

async fn tagged(rig: &Rig, tags: &[(&str, &str)]) -> String {
    let tags = tags.iter().map(|(k, v)| json!({ "TagKey": k, "TagValue": v }));
    rig.key(json!({ "Tags": tags.collect::<Vec<_>>() })).await
}

fn ids(answer: &Value) -> Vec<String> {
    let start = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/");
    let found = answer["ResourceTagMappingList"].as_array().unwrap().iter();
    found
        .map(|it| it["ResourceARN"].as_str().unwrap().strip_prefix(&start).unwrap().to_owned())
        .collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_their_tags() {
    let rig = Rig::new().await;
    let red = tagged(&rig, &[("team", "red"), ("cost", "1")]).await;
    let blue = tagged(&rig, &[("team", "blue")]).await;
    let upper = tagged(&rig, &[("Team", "red")]).await;
    rig.key(json!({})).await;
    let find =
        async |parameters: &[(&str, &str)]| sorted(ids(&rig.ok("GetResources", parameters).await));
    let key = |key| ("TagFilters.member.1.Key", key);
    let value = |value| ("TagFilters.member.1.Values.member.1", value);
    assert_eq!(find(&[]).await, sorted(vec![red.clone(), blue.clone(), upper.clone()]));
    assert_eq!(find(&[key("team")]).await, sorted(vec![red.clone(), blue.clone()]));
    assert_eq!(find(&[key("team"), value("blue")]).await, std::slice::from_ref(&blue));
    let either = [key("team"), value("blue"), ("TagFilters.member.1.Values.member.2", "red")];
    assert_eq!(find(&either).await, sorted(vec![red.clone(), blue.clone()]));
    let both = [key("team"), ("TagFilters.member.2.Key", "cost")];
    assert_eq!(find(&both).await, std::slice::from_ref(&red));
    assert_eq!(find(&[key("none")]).await, Vec::<String>::new());
    for (kind, count) in [("kms", 3), ("kms:key", 3), ("s3", 0), ("kms:alias", 0)] {
        assert_eq!(find(&[("ResourceTypeFilters.member.1", kind)]).await.len(), count, "{kind}");
    }
    let found = rig.ok("GetResources", &[key("cost")]).await;
    let expected = json!([{ "Key": "cost", "Value": "1" }, { "Key": "team", "Value": "red" }]);
    assert_eq!(found["ResourceTagMappingList"][0]["Tags"], expected);
    assert_eq!(found["PaginationToken"], "");

    let arn = |region: &str, id: &str| format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}");
    let (here, elsewhere) = (arn("us-east-1", &blue), arn("eu-west-1", &red));
    let named =
        [("ResourceARNList.member.1", here.as_str()), ("ResourceARNList.member.2", &elsewhere)];
    assert_eq!(find(&named).await, std::slice::from_ref(&blue));
    let compliant = [key("cost"), ("IncludeComplianceDetails", "true")];
    let found = rig.ok("GetResources", &compliant).await;
    assert_eq!(found["ResourceTagMappingList"][0]["ComplianceDetails"]["ComplianceStatus"], true);
    let others = [("IncludeComplianceDetails", "true"), ("ExcludeCompliantResources", "true")];
    assert_eq!(find(&others).await, Vec::<String>::new());

    // The tags of other accounts are theirs.
    let account = rig.ok("CreateAccount", &[("Name", "x")]).await;
    let foreign = account["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let foreign = rig.principal(foreign).await;
    let answer = rig.call(&foreign, "GetResources", &[]).await.unwrap();
    assert_eq!(answer["ResourceTagMappingList"], json!([]));

    for parameters in [
        &[("ResourcesPerPage", "101")][..],
        &[("TagsPerPage", "99")],
        &[("PaginationToken", "x")],
        &[("TagFilters.member.1.Values.member.1", "x")],
        &[("ExcludeCompliantResources", "true")],
        &[named[0], key("team")],
        &[("Other", "x")],
    ] {
        let error = rig.call(&root(), "GetResources", parameters).await.unwrap_err();
        assert_eq!(error.code().name(), "ValidationError", "{parameters:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_keys_with_tags() {
    let rig = Rig::new().await;
    let mut all = Vec::new();
    for index in 0..5 {
        let many: Vec<_> = (0..45).map(|n| (format!("k{n}"), index.to_string())).collect();
        let tags: Vec<_> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        all.push(tagged(&rig, &tags).await);
        rig.key(json!({})).await;
    }
    for (limit, size) in [
        (("ResourcesPerPage", "2"), 2),
        (("TagsPerPage", "100"), 2),
        (("ResourcesPerPage", "1"), 1),
    ] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = rig.ok("GetResources", &[limit, ("PaginationToken", &token)]).await;
            assert!(ids(&page).len() <= size);
            seen.extend(ids(&page));
            page["PaginationToken"].as_str().unwrap().clone_into(&mut token);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, sorted(all.clone()), "{limit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_regions_that_are_served() {
    let rig = Rig::new().await;
    let names = async |parameters: &[(&str, &str)]| {
        let found = rig.ok("DescribeRegions", parameters).await;
        let regions = found["regionInfo"].as_array().unwrap().clone();
        regions.iter().map(|it| it["regionName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).await, ["us-east-1"]);
    assert_eq!(
        names(&[("AllRegions", "true"), ("RegionName.1", "us-east-1")]).await,
        ["us-east-1"]
    );
    let filter = |name, value| [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
    assert_eq!(names(&filter("region-name", "us-*")).await, ["us-east-1"]);
    assert_eq!(names(&filter("region-name", "eu-*")).await, Vec::<String>::new());
    assert_eq!(names(&filter("opt-in-status", "opt-in-not-required")).await, ["us-east-1"]);
    let refusal = rig.refused("DescribeRegions", &[("RegionName.1", "eu-west-1")]).await;
    assert_eq!(refusal, "ValidationError: Invalid region provided: 'eu-west-1'");
    let refusal = rig.refused("DescribeRegions", &filter("color", "x")).await;
    assert!(refusal.starts_with("ValidationError"), "{refusal}");
    let refusal = rig.refused("DescribeRegions", &[("DryRun", "true")]).await;
    assert!(refusal.starts_with("DryRunOperation"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_about_them() {
    let rig = Rig::new().await;
    let both = json!({ "Effect": "Allow", "Action": ["tag:GetResources", "ec2:DescribeRegions"], "Resource": "*" });
    let ana = caller(&rig, "ana", both).await;
    let ben =
        caller(&rig, "ben", json!({ "Effect": "Allow", "Action": "kms:*", "Resource": "*" })).await;
    for operation in ["GetResources", "DescribeRegions"] {
        done(&rig, &ana, operation, &[]).await;
        denied(&rig, &ben, operation, &[]).await;
    }
}
