//! How likely it is that something of which there are several copies is lost.
//!
//! A continuous-time Markov chain. Each copy is good, rotten or gone. A good copy is gone at a rate, and rots
//! at another one, which nobody notices until it is read; a rotten one is found by the next scrub and made
//! again, one that is gone is noticed and made again at once. A site is lost with all its copies. What there
//! are copies of is lost when none is good. The mean time to that is computed by eliminating one state after
//! the other without any subtraction (Grassmann, Taksar, Heyman, 1985), so that it is exact to the precision
//! of the numbers however rare the loss is.

use std::collections::BTreeMap;

pub(super) const HOURS_OF_YEAR: f64 = 24.0 * 365.25;

/// Copies of something, and what happens to them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Copies {
    /// How many there are at each site.
    pub(crate) sites: Vec<u8>,
    /// How often a copy is gone, a year: its disk or its chip fails.
    pub(crate) failures: f64,
    /// How often a copy rots, a year: it is there and cannot be read any more, or is another one.
    pub(crate) rot: f64,
    /// How often a site is lost, a year, with all that is in it.
    pub(crate) disasters: f64,
    /// How long it takes until a copy that is gone is made again, in hours.
    pub(crate) repair: f64,
    /// How long it takes until every copy was read once, in hours.
    pub(crate) scrub: f64,
}

/// Good and rotten copies of each site, in order: which site is which makes no difference.
type State = Vec<(u8, u8, u8)>;

impl Copies {
    /// The mean time until no copy is good, in years.
    pub(crate) fn years_to_loss(&self) -> f64 {
        let mut chain = Chain::default();
        let mut begin: State = self.sites.iter().map(|copies| (*copies, 0, *copies)).collect();
        begin.sort_unstable();
        chain.number(begin);
        let mut next = 0;
        while next < chain.states.len() {
            let state = chain.states[next].clone();
            for (rate, to) in self.steps(&state) {
                let is_lost = to.iter().all(|(good, ..)| *good == 0);
                let to = if is_lost { None } else { Some(chain.number(to)) };
                chain.add(next, to, rate);
            }
            next += 1;
        }
        chain.time_from_the_first() / HOURS_OF_YEAR
    }

    /// The likelihood that it is lost within a year.
    pub(crate) fn loss_in_a_year(&self) -> f64 {
        -(-1.0 / self.years_to_loss()).exp_m1()
    }

    /// What can happen in a state: rates, an hour, and states after.
    fn steps(&self, state: &State) -> Vec<(f64, State)> {
        let mut steps = Vec::new();
        let mut step = |at: usize, rate: f64, site: (u8, u8, u8)| {
            if rate > 0.0 {
                let mut next = state.clone();
                next[at] = site;
                next.sort_unstable();
                steps.push((rate, next));
            }
        };
        for (at, &(good, rotten, copies)) in state.iter().enumerate() {
            let gone = f64::from(copies - good - rotten);
            let hourly = |rate: f64| rate / HOURS_OF_YEAR;
            if good > 0 {
                let good_copies = f64::from(good);
                step(at, good_copies * hourly(self.failures), (good - 1, rotten, copies));
                step(at, good_copies * hourly(self.rot), (good - 1, rotten + 1, copies));
            }
            if rotten > 0 {
                let rotten_copies = f64::from(rotten);
                // It is found after half the time on average.
                let found = rotten_copies / (self.scrub / 2.0 + self.repair);
                step(at, found, (good + 1, rotten - 1, copies));
                step(at, rotten_copies * hourly(self.failures), (good, rotten - 1, copies));
            }
            if gone > 0.0 {
                step(at, gone / self.repair, (good + 1, rotten, copies));
            }
            if good + rotten > 0 {
                step(at, hourly(self.disasters), (0, 0, copies));
            }
        }
        steps
    }
}

/// States, and rates between them.
#[derive(Default)]
struct Chain {
    states: Vec<State>,
    numbers: BTreeMap<State, usize>,
    rates: BTreeMap<(usize, usize), f64>,
    /// Rates of the end.
    losses: BTreeMap<usize, f64>,
}

impl Chain {
    fn number(&mut self, state: State) -> usize {
        let next = self.states.len();
        let states = &mut self.states;
        *self.numbers.entry(state).or_insert_with_key(|state| {
            states.push(state.clone());
            next
        })
    }

    fn add(&mut self, from: usize, to: Option<usize>, rate: f64) {
        match to {
            // What looks the same afterwards has not changed anything.
            Some(to) if to == from => {}
            Some(to) => *self.rates.entry((from, to)).or_default() += rate,
            None => *self.losses.entry(from).or_default() += rate,
        }
    }

    /// The mean time from the first state to the end.
    fn time_from_the_first(&self) -> f64 {
        let count = self.states.len();
        let mut rates = vec![vec![0.0; count]; count];
        for ((from, to), rate) in &self.rates {
            rates[*from][*to] = *rate;
        }
        let mut losses = vec![0.0; count];
        for (from, rate) in &self.losses {
            losses[*from] = *rate;
        }
        let mut time = vec![1.0; count];
        while let Some(onward) = rates.pop().filter(|_| !rates.is_empty()) {
            let last = rates.len();
            let onward = &onward[..last];
            let out: f64 = onward.iter().sum::<f64>() + losses[last];
            for (from, row) in rates.iter_mut().enumerate() {
                let share = row[last] / out;
                for (to, rate) in row[..last].iter_mut().enumerate().filter(|(to, _)| *to != from) {
                    *rate += share * onward[to];
                }
                losses[from] += share * losses[last];
                time[from] += share * time[last];
            }
        }
        time[0] / losses[0]
    }
}

/// How many nines a likelihood of loss leaves: 0.001 leaves three.
pub(crate) fn nines(loss: f64) -> f64 {
    -loss.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIES: Copies = Copies {
        sites: Vec::new(),
        failures: 0.014,
        rot: 0.0,
        disasters: 0.0,
        repair: 24.0,
        scrub: 24.0,
    };

    fn is_near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn one_copy_lasts_as_long_as_a_disk() {
        let one = Copies { sites: vec![1], ..COPIES };
        is_near(one.years_to_loss(), 1.0 / 0.014);
        let both = Copies { rot: 0.006, ..one.clone() };
        is_near(both.years_to_loss(), 1.0 / 0.02);
        let burnt = Copies { disasters: 0.006, ..one };
        is_near(burnt.years_to_loss(), 1.0 / 0.02);
    }

    /// The textbook's mirrored disks: (3f + r) / 2f².
    #[test]
    fn two_copies_are_mirrored_disks() {
        let two = Copies { sites: vec![2], ..COPIES };
        let (failures, repairs) = (0.014, HOURS_OF_YEAR / 24.0);
        is_near(two.years_to_loss(), (3.0 * failures + repairs) / (2.0 * failures * failures));
        let apart = Copies { sites: vec![1, 1], ..two.clone() };
        is_near(apart.years_to_loss(), two.years_to_loss());
    }

    #[test]
    fn more_copies_sooner_repaired_further_apart_last_longer() {
        let real = Copies { sites: vec![3], rot: 0.01, disasters: 0.001, scrub: 720.0, ..COPIES };
        let loss = real.loss_in_a_year();
        for better in [
            Copies { sites: vec![4], ..real.clone() },
            Copies { sites: vec![1, 1, 1], ..real.clone() },
            Copies { sites: vec![2, 1], ..real.clone() },
            Copies { repair: 12.0, ..real.clone() },
            Copies { scrub: 24.0, ..real.clone() },
            Copies { disasters: 0.0, ..real.clone() },
        ] {
            assert!(better.loss_in_a_year() < loss, "{better:?}");
        }
        // All at one site are as good as the site.
        assert!((2.9..3.1).contains(&nines(loss)), "{loss}");
    }

    /// The same by trying it out, where losses are frequent enough for that.
    #[test]
    fn trying_it_out_comes_to_the_same() {
        let frequent = Copies {
            sites: vec![1, 2],
            failures: 20.0,
            rot: 10.0,
            disasters: 3.0,
            repair: 100.0,
            scrub: 300.0,
        };
        let mut seed = 1_u64;
        // Knuth's generator (MMIX); its upper bits are good enough here.
        let mut random = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let runs = 20_000;
        let mut total = 0.0;
        for _ in 0..runs {
            let mut state: State = vec![(1, 0, 1), (2, 0, 2)];
            while state.iter().any(|(good, ..)| *good > 0) {
                let steps = frequent.steps(&state);
                let all: f64 = steps.iter().map(|(rate, _)| rate).sum();
                total -= random().ln() / all;
                let mut at = random() * all;
                let chosen = steps.into_iter().find(|(rate, _)| {
                    at -= rate;
                    at <= 0.0
                });
                state = chosen.map_or_else(|| state.clone(), |(_, state)| state);
            }
        }
        let tried = total / f64::from(runs) / HOURS_OF_YEAR;
        let computed = frequent.years_to_loss();
        assert!((tried / computed - 1.0).abs() < 0.03, "{tried} tried, {computed} computed");
    }
}
