use super::*;

#[test]
fn one_device_is_named() {
    let own = |kind, number| Place::Own { kind, number };
    assert_eq!(Place::parse("soft-0").unwrap(), own("soft", 0));
    assert_eq!(Place::parse("qemu-7").unwrap(), own("qemu", 7));
    assert!(matches!(Place::parse("unix:/run/x").unwrap(), Place::Line(_)));
    for several in ["soft", "soft:2", "qemu", "soft-8", "soft-", "soft-01", "soft-+1", "usb:1"] {
        let error = Place::parse(several).unwrap_err();
        assert!(error.0.contains("soft-0"), "{several}: {error}");
    }
}

#[test]
fn no_device_and_no_key_is_made_by_looking() {
    let data = tempfile::tempdir().unwrap();
    let target = |line: &str| Target {
        line: line.to_owned(),
        device: None,
        data: Some(data.path().to_owned()),
        region: "us-east-1".to_owned(),
        firmware: None,
    };
    let mut output = Output { out: &mut Vec::new(), json: true };
    let error = hosts(&target("soft-0"), &mut output).err().unwrap();
    assert!(error.0.contains("there is no soft-0"), "{error}");
    let error = hosts(&target(&crate::remote::remote()), &mut output).err().unwrap();
    assert!(error.0.contains("kmsctl hsm provision"), "{error}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}
