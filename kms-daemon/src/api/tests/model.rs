//! Random calls, compared with a small model of what the service promises.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Rig;
use super::rig::b64;

/// Keys and aliases a run works with.
const KEYS: usize = 3;
const ALIASES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Enable(usize),
    Disable(usize),
    Schedule(usize),
    Cancel(usize),
    Tag(usize, u8),
    Untag(usize, u8),
    CreateAlias(usize, usize),
    UpdateAlias(usize, usize),
    DeleteAlias(usize),
    Encrypt(usize),
    EncryptByAlias(usize),
    Decrypt(usize),
    List,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, alias, tag) = (0..KEYS, 0..ALIASES, 0u8..3);
    prop_oneof![
        1 => key.clone().prop_map(Step::Enable),
        1 => key.clone().prop_map(Step::Disable),
        1 => key.clone().prop_map(Step::Schedule),
        1 => key.clone().prop_map(Step::Cancel),
        1 => (key.clone(), tag.clone()).prop_map(|(key, tag)| Step::Tag(key, tag)),
        1 => (key.clone(), tag).prop_map(|(key, tag)| Step::Untag(key, tag)),
        1 => (alias.clone(), key.clone()).prop_map(|(alias, key)| Step::CreateAlias(alias, key)),
        1 => (alias.clone(), key.clone()).prop_map(|(alias, key)| Step::UpdateAlias(alias, key)),
        1 => alias.clone().prop_map(Step::DeleteAlias),
        2 => key.clone().prop_map(Step::Encrypt),
        2 => alias.prop_map(Step::EncryptByAlias),
        2 => key.prop_map(Step::Decrypt),
        1 => Just(Step::List),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
    Pending,
}

struct ModelKey {
    state: State,
    tags: BTreeMap<u8, String>,
    /// The last ciphertext.
    blob: Option<Value>,
}

/// The exception the model expects, if any.
type Expected = Option<&'static str>;

const INVALID_STATE: Expected = Some("KMSInvalidStateException");

fn usable(state: State) -> Expected {
    match state {
        State::Enabled => None,
        State::Disabled => Some("DisabledException"),
        State::Pending => INVALID_STATE,
    }
}

fn not_pending(state: State) -> Expected {
    if state == State::Pending { INVALID_STATE } else { None }
}

async fn run(steps: Vec<Step>) {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for _ in 0..KEYS {
        ids.push(rig.create("SYMMETRIC_DEFAULT").await);
    }
    ids.sort();
    let mut keys: Vec<_> = (0..KEYS)
        .map(|_| ModelKey { state: State::Enabled, tags: BTreeMap::new(), blob: None })
        .collect();
    let mut aliases = BTreeMap::<usize, usize>::new();
    let name = |alias: usize| format!("alias/{alias}");

    for (count, step) in steps.into_iter().enumerate() {
        let call = async |operation: &str, input: Value| {
            let outcome = rig.call(operation, input).await;
            (outcome.as_ref().err().map(|error| error.code()), outcome.unwrap_or_default())
        };
        let (expected, actual): (Expected, Expected) = match step.clone() {
            Step::Enable(key) | Step::Disable(key) => {
                let (operation, state) = match step {
                    Step::Enable(_) => ("EnableKey", State::Enabled),
                    _ => ("DisableKey", State::Disabled),
                };
                let expected = not_pending(keys[key].state);
                if expected.is_none() {
                    keys[key].state = state;
                }
                (expected, call(operation, json!({ "KeyId": ids[key] })).await.0)
            }
            Step::Schedule(key) => {
                let expected = not_pending(keys[key].state);
                keys[key].state = State::Pending;
                (expected, call("ScheduleKeyDeletion", json!({ "KeyId": ids[key] })).await.0)
            }
            Step::Cancel(key) => {
                let pending = keys[key].state == State::Pending;
                if pending {
                    keys[key].state = State::Disabled;
                }
                let expected = if pending { None } else { INVALID_STATE };
                (expected, call("CancelKeyDeletion", json!({ "KeyId": ids[key] })).await.0)
            }
            Step::Tag(key, tag) => {
                let expected = not_pending(keys[key].state);
                if expected.is_none() {
                    keys[key].tags.insert(tag, count.to_string());
                }
                let tags = json!([{ "TagKey": tag.to_string(), "TagValue": count.to_string() }]);
                (expected, call("TagResource", json!({ "KeyId": ids[key], "Tags": tags })).await.0)
            }
            Step::Untag(key, tag) => {
                let expected = not_pending(keys[key].state);
                if expected.is_none() {
                    keys[key].tags.remove(&tag);
                }
                let input = json!({ "KeyId": ids[key], "TagKeys": [tag.to_string()] });
                (expected, call("UntagResource", input).await.0)
            }
            Step::CreateAlias(alias, key) => {
                let taken = aliases.contains_key(&alias).then_some("AlreadyExistsException");
                let expected = not_pending(keys[key].state).or(taken);
                if expected.is_none() {
                    aliases.insert(alias, key);
                }
                let input = json!({ "AliasName": name(alias), "TargetKeyId": ids[key] });
                (expected, call("CreateAlias", input).await.0)
            }
            Step::UpdateAlias(alias, key) => {
                let expected = match aliases.get(&alias) {
                    None => Some("NotFoundException"),
                    Some(_) => not_pending(keys[key].state),
                };
                if expected.is_none() {
                    aliases.insert(alias, key);
                }
                let input = json!({ "AliasName": name(alias), "TargetKeyId": ids[key] });
                (expected, call("UpdateAlias", input).await.0)
            }
            Step::DeleteAlias(alias) => {
                let expected = aliases.remove(&alias).map_or(Some("NotFoundException"), |_| None);
                (expected, call("DeleteAlias", json!({ "AliasName": name(alias) })).await.0)
            }
            Step::Encrypt(key) => {
                let input = json!({ "KeyId": ids[key], "Plaintext": b64(count.to_string()),
                                    "EncryptionContext": { "key": key.to_string() } });
                let (actual, answer) = call("Encrypt", input).await;
                if let Some(blob) = answer.get("CiphertextBlob") {
                    keys[key].blob = Some(json!([blob, b64(count.to_string())]));
                }
                (usable(keys[key].state), actual)
            }
            Step::EncryptByAlias(alias) => {
                let expected = match aliases.get(&alias) {
                    None => Some("NotFoundException"),
                    Some(key) => usable(keys[*key].state),
                };
                let input = json!({ "KeyId": name(alias), "Plaintext": b64("x") });
                (expected, call("Encrypt", input).await.0)
            }
            Step::Decrypt(key) => {
                let Some(made) = &keys[key].blob else { continue };
                let input = json!({ "CiphertextBlob": made[0],
                                    "EncryptionContext": { "key": key.to_string() } });
                let (actual, answer) = call("Decrypt", input).await;
                if actual.is_none() {
                    assert_eq!(answer["Plaintext"], made[1]);
                }
                (usable(keys[key].state), actual)
            }
            Step::List => {
                compare_lists(&rig, &ids, &keys, &aliases).await;
                continue;
            }
        };
        assert_eq!(actual, expected, "step {count}: {step:?}");
    }
    compare_lists(&rig, &ids, &keys, &aliases).await;
}

async fn compare_lists(
    rig: &Rig,
    ids: &[String],
    keys: &[ModelKey],
    aliases: &BTreeMap<usize, usize>,
) {
    let listed = rig.ok("ListAliases", json!({ "Limit": 100 })).await;
    let own = |alias: &&Value| !alias["AliasName"].as_str().unwrap().starts_with("alias/aws/");
    let listed: Vec<_> =
        listed["Aliases"].as_array().unwrap().iter().filter(own).map(pair).collect();
    let expected: Vec<_> = aliases
        .iter()
        .map(|(alias, key)| (json!(format!("alias/{alias}")), json!(ids[*key])))
        .collect();
    assert_eq!(listed, expected);
    for (index, (id, key)) in ids.iter().zip(keys).enumerate() {
        let described = rig.ok("DescribeKey", json!({ "KeyId": id })).await;
        let state = match key.state {
            State::Enabled => "Enabled",
            State::Disabled => "Disabled",
            State::Pending => "PendingDeletion",
        };
        assert_eq!(described["KeyMetadata"]["KeyState"], json!(state));
        let tags = rig.ok("ListResourceTags", json!({ "KeyId": id })).await;
        let expected: Vec<_> = key
            .tags
            .iter()
            .map(|(tag, value)| json!({ "TagKey": tag.to_string(), "TagValue": value }))
            .collect();
        assert_eq!(tags["Tags"], json!(expected));
        let own = rig.ok("ListAliases", json!({ "KeyId": id })).await;
        let count = aliases.values().filter(|key| **key == index).count();
        assert_eq!(own["Aliases"].as_array().unwrap().len(), count);
    }
}

fn pair(alias: &Value) -> (Value, Value) {
    (alias["AliasName"].clone(), alias["TargetKeyId"].clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_service_behaves_like_its_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
