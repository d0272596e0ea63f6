//! The quorum against a model, with random ceremonies.

use std::collections::BTreeSet;
use std::vec as stdvec;

use proptest::prelude::*;

use super::*;

/// What a random ceremony tries.
#[derive(Debug, Clone)]
enum Try {
    AddHost(u8),
    RemoveHost(u8),
    AddOperator(u8, bool),
    RemoveOperator(u8),
    Rule(u8, u8, u8),
    Rotate,
}

fn tries() -> impl Strategy<Value = Try> {
    prop_oneof![
        (20u8..24).prop_map(Try::AddHost),
        (20u8..24).prop_map(Try::RemoveHost),
        (1u8..7, any::<bool>()).prop_map(|(seed, officer)| Try::AddOperator(seed, officer)),
        (1u8..7).prop_map(Try::RemoveOperator),
        (0u8..7, 0u8..5, 0u8..3)
            .prop_map(|(class, total, officers)| Try::Rule(class, total, officers)),
        Just(Try::Rotate),
    ]
}

/// The domain as a person would keep it on paper.
#[derive(Debug, Clone, PartialEq)]
struct Paper {
    operators: stdvec::Vec<(u8, bool)>,
    rules: [(u8, u8); 7],
    hosts: BTreeSet<u8>,
    keys: usize,
}

impl Paper {
    fn can_meet(&self, signers: &BTreeSet<u8>, (total, officers): (u8, u8)) -> bool {
        let who = self.operators.iter().filter(|(seed, _)| signers.contains(seed));
        let all = who.clone().count() >= usize::from(total);
        all && who.filter(|(_, officer)| *officer).count() >= usize::from(officers)
    }

    /// The next page, if the change makes sense and these may make it.
    fn make(&self, change: &Try, signers: &BTreeSet<u8>) -> Option<Self> {
        let mut next = self.clone();
        let everything = || (0..7).collect::<BTreeSet<usize>>();
        let needed: BTreeSet<usize> = match change {
            Try::AddHost(seed) => {
                next.hosts.insert(*seed);
                [1].into()
            }
            Try::RemoveHost(seed) => {
                next.hosts.remove(seed).then_some(())?;
                [1].into()
            }
            Try::AddOperator(seed, officer) => {
                let is_known = next.operators.iter().any(|(known, _)| known == seed);
                (!is_known && next.operators.len() < MAX_OPERATORS).then_some(())?;
                next.operators.push((*seed, *officer));
                everything()
            }
            Try::RemoveOperator(seed) => {
                let before = next.operators.len();
                next.operators.retain(|(known, _)| known != seed);
                (next.operators.len() < before).then_some(())?;
                everything()
            }
            Try::Rule(class, total, officers) => {
                let old = &mut next.rules[usize::from(*class)];
                let lowers = *total < old.0 || *officers < old.1;
                *old = (*total, *officers);
                let lowered = lowers.then_some(usize::from(*class));
                [2].into_iter().chain(lowered).collect()
            }
            Try::Rotate => {
                next.keys += 1;
                (next.keys <= MAX_DOMAIN_KEYS).then_some(())?;
                [3].into()
            }
        };
        let everybody = next.operators.iter().map(|(seed, _)| *seed).collect();
        let sound =
            |rule: &(u8, u8)| rule.0 >= 2 && rule.1 <= rule.0 && next.can_meet(&everybody, *rule);
        let allowed = needed.iter().all(|class| self.can_meet(signers, self.rules[*class]));
        (next.rules.iter().all(sound) && allowed).then_some(next)
    }
}

fn to_change(change: &Try, state: &DomainState) -> Change<'static> {
    let role = |officer: bool| match officer {
        true => OperatorRole::SecurityOfficer,
        false => OperatorRole::Operator,
    };
    match change {
        Try::AddHost(seed) => Change::AddHost(host(*seed)),
        Try::RemoveHost(seed) => Change::RemoveHost(public(*seed).host_id()),
        Try::AddOperator(seed, officer) => Change::AddOperator(operator(*seed, role(*officer))),
        Try::RemoveOperator(seed) => Change::RemoveOperator(public(*seed).operator_id()),
        Try::Rule(class, total, officers) => {
            let mut rules = state.rules;
            rules.quorum[usize::from(*class)] = Rule { total: *total, officers: *officers };
            Change::SetRules(rules)
        }
        Try::Rotate => Change::RotateKey { maker: member(DEVICE).device_id() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ceremonies_are_as_on_paper(
        ceremonies in prop::collection::vec((tries(), prop::collection::btree_set(1u8..7, 0..5)), 1..12)
    ) {
        let mut state = founded();
        let mut paper = Paper {
            operators: stdvec![(1, true), (2, false), (3, false)],
            rules: [(2, 0); 7],
            hosts: BTreeSet::new(),
            keys: 1,
        };
        for (change, signers) in &ceremonies {
            // Strangers do not get to sign, which the device would refuse whatever the rest.
            let known: BTreeSet<u8> = signers
                .iter()
                .copied()
                .filter(|seed| paper.operators.iter().any(|(known, _)| known == seed))
                .collect();
            let signers: stdvec::Vec<u8> = known.iter().copied().collect();
            let decided = decide(&state, &[to_change(change, &state)], &signers);
            let expected = paper.make(change, &known);
            prop_assert_eq!(decided.is_ok(), expected.is_some(), "{:?} by {:?}: {:?}", change, signers, decided.err());
            if let (Ok(next), Some(page)) = (decided, expected) {
                prop_assert_eq!(next.previous, state.hash().unwrap());
                let hosts: BTreeSet<u8> = (20..24).filter(|seed| next.role(public(*seed).host_id()).is_some()).collect();
                prop_assert_eq!(&hosts, &page.hosts);
                prop_assert_eq!(next.keys.len(), page.keys);
                prop_assert_eq!(next.operators.len(), page.operators.len());
                (state, paper) = (next, page);
            }
        }
        let unused: DeviceId = member(DEVICE).device_id();
        prop_assert!(state.member(unused).is_some());
    }
}
