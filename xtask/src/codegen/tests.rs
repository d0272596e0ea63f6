use serde_json::json;

use super::*;

const NO_OVERLAY: &str = "";

/// A model as botocore would ship it, with one of everything.
fn small() -> Value {
    json!({
        "version": "2.0",
        "metadata": { "apiVersion": "1", "serviceFullName": "prose", "protocol": "json" },
        "operations": {
            "PutThing": {
                "name": "PutThing",
                "http": { "method": "POST", "requestUri": "/" },
                "input": { "shape": "PutThingRequest", "documentation": "<p>prose</p>" },
                "output": { "shape": "PutThingResponse" },
                "errors": [{ "shape": "BrokenException", "documentation": "prose" }],
                "documentation": "<p>prose</p>",
            },
        },
        "shapes": {
            "PutThingRequest": {
                "type": "structure",
                "required": ["Name"],
                "members": {
                    "Name": { "shape": "NameType", "documentation": "prose" },
                    "Count": { "shape": "CountType" },
                    "Parts": { "shape": "PartList" },
                    "Kind": { "shape": "KindType" },
                    "Kinds": { "shape": "KindList" },
                    "Body": { "shape": "BodyType" },
                },
            },
            "PutThingResponse": {
                "type": "structure",
                "members": { "Body": { "shape": "BodyType" }, "When": { "shape": "DateType" } },
            },
            "NameType": { "type": "string", "min": 1, "max": 9, "pattern": "^[a-z]+$" },
            "CountType": { "type": "integer", "min": 1, "max": 10 },
            "PartList": { "type": "list", "member": { "shape": "Part" } },
            "Part": {
                "type": "structure",
                "members": { "Kind": { "shape": "KindType" } },
                "documentation": "prose",
            },
            "KindList": { "type": "list", "member": { "shape": "KindType" }, "min": 0, "max": 3 },
            "KindType": { "type": "string", "enum": ["B", "A"], "deprecated": true },
            "BodyType": { "type": "blob", "min": 1, "max": 8, "sensitive": true },
            "DateType": { "type": "timestamp" },
            "BrokenException": { "type": "structure", "members": {}, "exception": true, "fault": true },
        },
        "documentation": "prose",
    })
}

fn files(model: &Value, overlay: &str) -> Result<Files> {
    generate(&strip::strip(model)?, overlay)
}

fn refusal(model: &Value, overlay: &str) -> String {
    files(model, overlay).unwrap_err().to_string()
}

#[test]
fn stripping_leaves_the_facts() {
    let stripped = strip::strip(&small()).unwrap();
    let text = strip::text(&stripped);
    assert!(!text.contains("prose") && !text.contains("documentation"), "{text}");
    assert_eq!(stripped["shapes"]["KindType"], json!({ "type": "string", "enum": ["B", "A"] }));
    assert_eq!(
        stripped["operations"]["PutThing"]["errors"],
        json!([{ "shape": "BrokenException" }])
    );
    assert_eq!(strip::strip(&stripped).unwrap(), stripped);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), stripped);
}

#[test]
fn what_is_new_in_a_model_fails() {
    let with = |pointer: &str, value: Value| {
        let mut model = small();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        model.pointer_mut(parent).unwrap()[key] = value;
        refusal(&model, NO_OVERLAY)
    };
    for (pointer, value, expected) in [
        ("/shapes/NameType/pattern", json!("(a|b)+"), "the pattern `(a|b)+` is new"),
        ("/shapes/NameType/type", json!("long"), "unknown type `long`"),
        ("/shapes/NameType/idempotencyToken", json!(true), "unknown key `idempotencyToken`"),
        ("/shapes/DateType/max", json!(1), "unknown `max`"),
        ("/shapes/KindType/enum", json!(["B", "a b"]), "`a b` of the enumeration KindType"),
        ("/shapes/PartList/member", json!({ "shape": "CountType" }), "new kind of list"),
        ("/operations/PutThing/endpoint", json!({}), "unknown key `endpoint`"),
        ("/operations/PutThing/input", json!({ "shape": "Nothing" }), "lacks shape Nothing"),
        ("/shapes/Part/members/Kind", json!({ "shape": "Nothing" }), "lacks shape Nothing"),
        ("/operations", json!({}), "no operations"),
    ] {
        let refused = with(pointer, value);
        assert!(refused.contains(expected), "{pointer}: {refused}");
    }
    let mut unbounded = small();
    unbounded["shapes"]["CountType"].as_object_mut().unwrap().remove("max");
    assert!(refusal(&unbounded, NO_OVERLAY).contains("one bound"));
}

#[test]
fn constraints_become_calls() {
    let files = files(&small(), NO_OVERLAY).unwrap();
    let text = &files[Path::new("kms-daemon/src/api/model/generated/operations/put_thing.rs")];
    for code in [
        "checks.present(\"name\", wire.name.is_some());",
        "checks.text(\"name\", wire.name.as_deref(), &rules::NAME_TYPE);",
        "checks.number(\"count\", wire.count, 1..=10);",
        "checks.blob(\"body\", wire.body.as_deref(), 1..=8);",
        "let parts = checks.each(\"parts\", wire.parts);",
        "let kind = checks.one_of(\"kind\", wire.kind.as_deref(), &rules::KIND_TYPE);",
        "let kinds = checks.each_of(\"kinds\", wire.kinds.as_deref(), 0..=3, &rules::KIND_TYPE);",
        "pub(in crate::api) kind: Option<enums::KindType>,",
        "pub(in crate::api) kinds: Option<Vec<enums::KindType>>,",
        "use kms_model::enums;",
        "name: wire.name?,",
        "pub(in crate::api) name: String,",
        "pub(in crate::api) count: Option<i64>,",
        "pub(in crate::api) when: Option<Timestamp>,",
        "[self.body].into_iter()",
    ] {
        assert!(text.contains(code), "{code}\n{text}");
    }
    let enums = &files[Path::new("kms-daemon/model/src/generated/enums.rs")];
    assert!(
        enums.contains("/// `KindType`.\n    KindType {\n        B,\n        A,\n    }"),
        "{enums}"
    );
    assert!(
        files[Path::new("kms-daemon/src/api/model/generated/errors.rs")]
            .contains("(\"BrokenException\", 500)")
    );
    assert!(files.values().all(|text| text.starts_with("//! @generated")));
}

#[test]
fn the_overlay_narrows_the_model() {
    let overlay = "
        [unchecked]
        NameType = 'why'
        [unechoed]
        KindType = 'why'
        [[member]]
        operation = 'PutThing'
        name = 'Count'
        max = 5
        required = true
        reason = 'why'
    ";
    let files = files(&small(), overlay).unwrap();
    let text = &files[Path::new("kms-daemon/src/api/model/generated/operations/put_thing.rs")];
    assert!(text.contains("checks.number(\"count\", wire.count, 1..=5);"), "{text}");
    assert!(text.contains("count: wire.count?,"), "{text}");
    assert!(!text.contains("NAME_TYPE"), "{text}");
    let rules = &files[Path::new("kms-daemon/src/api/model/generated/rules.rs")];
    assert!(rules.contains("values: enums::KindType::NAMES, echoed: false"), "{rules}");
}

#[test]
fn overlays_without_effect_fail() {
    let member = |operation: &str, name: &str, rest: &str| {
        format!("[[member]]\noperation = '{operation}'\nname = '{name}'\n{rest}\n")
    };
    for (overlay, expected) in [
        ("[unchecked]\nCountType = 'why'".to_owned(), "no effect"),
        ("[unchecked]\nNothing = 'why'".to_owned(), "no effect"),
        ("[unchecked]\nNameType = ''".to_owned(), "no reason"),
        ("[unechoed]\nBodyType = 'why'".to_owned(), "no effect"),
        ("[other]".to_owned(), "unknown `other`"),
        ("[".to_owned(), "not TOML"),
        (member("PutThing", "Count", "max = 5"), "no reason"),
        (member("GetThing", "Count", "max = 5\nreason = 'why'"), "no operation"),
        (member("PutThing", "Size", "max = 5\nreason = 'why'"), "no member"),
        (member("PutThing", "Name", "max = 5\nreason = 'why'"), "not a number"),
        (member("PutThing", "Count", "max = 10\nreason = 'why'"), "narrows nothing"),
        (member("PutThing", "Count", "max = 11\nreason = 'why'"), "narrows nothing"),
        (member("PutThing", "Name", "required = true\nreason = 'why'"), "narrows nothing"),
    ] {
        let refused = refusal(&small(), &overlay);
        assert!(refused.contains(expected), "{overlay}: {refused}");
    }
}

#[test]
fn files_that_differ_are_found() {
    let files = |names: &[(&str, &str)]| -> Files {
        names.iter().map(|(name, text)| (name.into(), (*text).to_owned())).collect()
    };
    let made = files(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let present = files(&[("a", "1"), ("b", "other"), ("d", "4")]);
    let names: Vec<_> = difference(&made, &present).into_iter().map(Path::to_owned).collect();
    assert_eq!(names, ["b", "c", "d"].map(PathBuf::from));
    assert!(difference(&made, &made).is_empty());
}
