use serde_json::json;

use super::*;

fn trail(dir: &Path, json: &[u8]) -> PathBuf {
    let path =
        dir.join("111122223333_CloudTrail_us-east-1_20261127T1200Z_abcdefgh01234567.json.gz");
    let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::default());
    encoder.write_all(json).unwrap();
    encoder.finish().unwrap();
    path
}

fn items(path: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    assert!(
        read(path, &mut |item| {
            items.push(item);
            true
        })
        .unwrap()
    );
    items
}

#[test]
fn files_of_aws_are_read_and_damaged_ones_told() {
    let dir = tempfile::tempdir().unwrap();
    let whole = br#"{"Records":[{"eventID":"a"},{"eventID":"b"}]}"#;
    let records = [json!({ "eventID": "a" }), json!({ "eventID": "b" })].map(Item::Record);
    assert_eq!(items(&trail(dir.path(), whole)), records);
    for (damage, before) in [
        (&whole[..whole.len() - 2], 2),
        (&whole[..30], 1),
        (b"{}".as_slice(), 0),
        (b"[]".as_slice(), 0),
        (b"{\"Records\":{}}".as_slice(), 0),
        (b"".as_slice(), 0),
        (b"{\"Records\":[]} more".as_slice(), 0),
    ] {
        let items = items(&trail(dir.path(), damage));
        assert_eq!(items.len(), before + 1, "{items:?}");
        assert!(matches!(items.last(), Some(Item::Gap(_))), "{items:?}");
    }
    let path = trail(dir.path(), whole);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    assert!(matches!(items(&path).last(), Some(Item::Gap(_))), "cut off");
    // Whoever has seen enough is not told that something is wrong.
    let path = trail(dir.path(), whole);
    let mut seen = 0;
    assert!(
        !read(&path, &mut |_| {
            seen += 1;
            false
        })
        .unwrap()
    );
    assert_eq!(seen, 1);
}

#[test]
fn names_of_files() {
    let time = |name: &str| time_of_name(OsStr::new(name));
    let name = "111122223333_CloudTrail_us-east-1_20261127T1200Z_abcdefgh01234567.json.gz";
    assert_eq!(time(name).as_deref(), Some("20261127T1200Z"));
    for other in [
        "",
        "audit-000000000001-20261127.jsonl.gz",
        "111122223333_CloudTrail_us-east-1_20261127T1200Z_abcdefgh01234567.json.gz.new",
        "111122223333_CloudTrail-Digest_us-east-1_t_us-east-1_20261127T120000Z.json.gz",
        "1_CloudTrail_r_2026é27T120Z_x.json.gz",
    ] {
        assert_eq!(time(other), None, "{other}");
    }
}

#[test]
fn nothing_of_a_record_leads_out_of_the_directory() {
    let home = ("000000000000", "us-east-1");
    for (account, region) in [
        (json!("../../../etc"), json!("../..")),
        (json!("11112222333/"), json!("us-east-1/../..")),
        (json!(null), json!(7)),
        (json!(""), json!("")),
    ] {
        let record = json!({ "recipientAccountId": account, "awsRegion": region });
        let place = place(&record, home);
        assert_eq!(place, ("000000000000".to_owned(), "us-east-1".to_owned()));
        let path = file_name((&place.0, &place.1), "../../../../x", "root");
        assert!(!path.contains(".."), "{path}");
    }
    let theirs = json!({ "recipientAccountId": "111122223333", "awsRegion": "eu-west-1" });
    assert_eq!(place(&theirs, home), ("111122223333".to_owned(), "eu-west-1".to_owned()));
}
