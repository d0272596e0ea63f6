//! Random calls on one multi-Region key in three Regions, compared with a small model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Rig;
use super::deletion::destroy;
use super::device::REGIONS;
use super::rig::b64;

/// Days of every waiting period, and by which the clock moves.
const WINDOW: u64 = 7;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// On-demand rotations that a key may have.
const ROTATIONS: usize = 25;

#[derive(Debug, Clone, Copy)]
enum Step {
    Replicate(usize, usize),
    UpdatePrimary(usize, usize),
    Enable(usize),
    Disable(usize),
    Schedule(usize),
    Cancel(usize),
    Rotate(usize),
    Encrypt(usize),
    Decrypt(usize),
    /// So many days pass, and what is due is destroyed.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (one, two) = (0..REGIONS.len(), 0..REGIONS.len());
    let both = (one.clone(), two);
    prop_oneof![
        3 => both.clone().prop_map(|(from, to)| Step::Replicate(from, to)),
        2 => both.prop_map(|(from, to)| Step::UpdatePrimary(from, to)),
        2 => one.clone().prop_map(Step::Enable),
        1 => one.clone().prop_map(Step::Disable),
        1 => one.clone().prop_map(Step::Schedule),
        2 => one.clone().prop_map(Step::Cancel),
        2 => one.clone().prop_map(Step::Rotate),
        2 => one.clone().prop_map(Step::Encrypt),
        3 => one.prop_map(Step::Decrypt),
        1 => (1..=WINDOW).prop_map(Step::Pass),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
    /// Until this day.
    Pending(u64),
    /// A primary that waits for its replicas.
    PendingReplicas,
}

/// The exception that is expected, if any.
type Expected = Option<&'static str>;

const NOT_FOUND: Expected = Some("NotFoundException");
const INVALID_STATE: Expected = Some("KMSInvalidStateException");
const INVALID: Expected = Some("ValidationException");
const UNSUPPORTED: Expected = Some("UnsupportedOperationException");

/// What the service promises of the key.
struct Model {
    keys: BTreeMap<usize, State>,
    primary: usize,
    day: u64,
    /// Number of the current material.
    material: usize,
    /// The last ciphertext, its plaintext, and the number of its material.
    blob: Option<(Value, String, usize)>,
}

impl Model {
    fn usable(&self, region: usize) -> Expected {
        match self.keys.get(&region) {
            None => NOT_FOUND,
            Some(State::Enabled) => None,
            Some(State::Disabled) => Some("DisabledException"),
            Some(_) => INVALID_STATE,
        }
    }

    fn not_pending(&self, region: usize) -> Expected {
        match self.keys.get(&region) {
            None => NOT_FOUND,
            Some(State::Enabled | State::Disabled) => None,
            Some(_) => INVALID_STATE,
        }
    }

    fn only_primary(&self, region: usize) -> Expected {
        if region == self.primary { None } else { UNSUPPORTED }
    }

    fn replicate(&mut self, from: usize, to: usize) -> Expected {
        let exists = match self.keys.contains_key(&to) {
            true if to == self.primary => INVALID,
            true => Some("AlreadyExistsException"),
            false => None,
        };
        let refused = self.usable(from).or(self.only_primary(from)).or(exists);
        if refused.is_none() {
            self.keys.insert(to, State::Enabled);
        }
        refused
    }

    fn update_primary(&mut self, from: usize, to: usize) -> Expected {
        let elsewhere = if from == self.primary { None } else { INVALID_STATE };
        let absent = if self.keys.contains_key(&to) { None } else { INVALID };
        let refused = self.usable(from).or(elsewhere).or(absent).or(self.usable(to));
        if refused.is_none() {
            self.primary = to;
        }
        refused
    }

    fn switch(&mut self, region: usize, state: State) -> Expected {
        let refused = self.not_pending(region);
        if refused.is_none() {
            self.keys.insert(region, state);
        }
        refused
    }

    fn schedule(&mut self, region: usize) -> Expected {
        let waits = region == self.primary && self.keys.len() > 1;
        let due = State::Pending(self.day + WINDOW);
        self.switch(region, if waits { State::PendingReplicas } else { due })
    }

    fn cancel(&mut self, region: usize) -> Expected {
        let refused = match self.keys.get(&region) {
            None => NOT_FOUND,
            Some(State::Pending(_) | State::PendingReplicas) => None,
            Some(_) => INVALID_STATE,
        };
        if refused.is_none() {
            self.keys.insert(region, State::Disabled);
        }
        refused
    }

    fn pass(&mut self, days: u64) {
        self.day += days;
        let day = self.day;
        self.keys.retain(|_, state| !matches!(state, State::Pending(due) if *due <= day));
        let alone = self.keys.len() == 1;
        if let Some(state) = self.keys.get_mut(&self.primary)
            && *state == State::PendingReplicas
            && alone
        {
            *state = State::Pending(day + WINDOW);
        }
    }
}

async fn run(steps: Vec<Step>) {
    let first = Rig::with_regions(REGIONS.len()).await;
    let rigs = REGIONS.map(|region| first.in_region(region));
    let made = first.ok("CreateKey", json!({ "MultiRegion": true })).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let keys = BTreeMap::from([(0, State::Enabled)]);
    let mut model = Model { keys, primary: 0, day: 0, material: 0, blob: None };
    let mut materials = vec![made["KeyMetadata"]["CurrentKeyMaterialId"].clone()];

    for (count, step) in steps.into_iter().enumerate() {
        let call = async |region: usize, operation: &str, mut input: Value| {
            input["KeyId"] = json!(id);
            let outcome = rigs[region].call(operation, input).await;
            (outcome.as_ref().err().map(|error| error.code()), outcome.unwrap_or_default())
        };
        let (expected, actual): (Expected, Expected) = match step {
            Step::Replicate(from, to) => {
                let input = json!({ "ReplicaRegion": REGIONS[to] });
                (model.replicate(from, to), call(from, "ReplicateKey", input).await.0)
            }
            Step::UpdatePrimary(from, to) => {
                let input = json!({ "PrimaryRegion": REGIONS[to] });
                (model.update_primary(from, to), call(from, "UpdatePrimaryRegion", input).await.0)
            }
            Step::Enable(region) => {
                let actual = call(region, "EnableKey", json!({})).await.0;
                (model.switch(region, State::Enabled), actual)
            }
            Step::Disable(region) => {
                let actual = call(region, "DisableKey", json!({})).await.0;
                (model.switch(region, State::Disabled), actual)
            }
            Step::Schedule(region) => {
                let input = json!({ "PendingWindowInDays": WINDOW });
                (model.schedule(region), call(region, "ScheduleKeyDeletion", input).await.0)
            }
            Step::Cancel(region) => {
                (model.cancel(region), call(region, "CancelKeyDeletion", json!({})).await.0)
            }
            Step::Rotate(region) => {
                let full = (model.material == ROTATIONS).then_some("LimitExceededException");
                let expected = model.usable(region).or(model.only_primary(region)).or(full);
                let actual = call(region, "RotateKeyOnDemand", json!({})).await.0;
                if expected.is_none() && actual.is_none() {
                    model.material += 1;
                    let described = rigs[region].ok("DescribeKey", json!({ "KeyId": id })).await;
                    materials.push(described["KeyMetadata"]["CurrentKeyMaterialId"].clone());
                }
                (expected, actual)
            }
            Step::Encrypt(region) => {
                let plaintext = b64(count.to_string());
                let (actual, answer) =
                    call(region, "Encrypt", json!({ "Plaintext": plaintext })).await;
                if let Some(blob) = answer.get("CiphertextBlob") {
                    model.blob = Some((blob.clone(), plaintext, model.material));
                }
                (model.usable(region), actual)
            }
            Step::Decrypt(region) => {
                let Some((blob, plaintext, material)) = &model.blob else { continue };
                let (actual, answer) =
                    call(region, "Decrypt", json!({ "CiphertextBlob": blob })).await;
                if actual.is_none() {
                    assert_eq!(answer["Plaintext"], *plaintext);
                    assert_eq!(answer["KeyMaterialId"], materials[*material]);
                }
                (model.usable(region), actual)
            }
            Step::Pass(days) => {
                first.clock.advance(DAY * u32::try_from(days).unwrap());
                destroy(&first).await;
                model.pass(days);
                (None, None)
            }
        };
        assert_eq!(actual, expected, "step {count}: {step:?}");
        compare(&rigs, id, &model, &materials).await;
    }
}

/// Compares what each Region says of the key.
async fn compare(rigs: &[Rig], id: &str, model: &Model, materials: &[Value]) {
    for (region, rig) in rigs.iter().enumerate() {
        let described = rig.call("DescribeKey", json!({ "KeyId": id })).await;
        let Some(state) = model.keys.get(&region) else {
            assert_eq!(described.unwrap_err().code(), "NotFoundException");
            continue;
        };
        let metadata = &described.unwrap()["KeyMetadata"];
        let name = match state {
            State::Enabled => "Enabled",
            State::Disabled => "Disabled",
            State::Pending(_) => "PendingDeletion",
            State::PendingReplicas => "PendingReplicaDeletion",
        };
        assert_eq!(metadata["KeyState"], name);
        assert_eq!(metadata["CurrentKeyMaterialId"], materials[model.material]);
        let configuration = &metadata["MultiRegionConfiguration"];
        assert_eq!(configuration["PrimaryKey"]["Region"], REGIONS[model.primary]);
        let mut replicas: Vec<_> = model.keys.keys().filter(|key| **key != model.primary).collect();
        replicas.sort_by_key(|region| REGIONS[**region]);
        let listed = configuration["ReplicaKeys"].as_array().unwrap();
        assert_eq!(listed.len(), replicas.len());
        for (listed, region) in listed.iter().zip(replicas) {
            assert_eq!(listed["Region"], REGIONS[*region]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_multi_region_key_behaves_like_its_model(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
