//! Calls that wait for credit, in fair order and bounded.
//!
//! Each flow gets an equal share of the device's time: of those that wait, the call that would have begun first
//! if every flow had a device of its own goes next (start-time fair queueing). What exceeds the bounds is turned
//! away at once, and from the flow that has most waiting, so a flood turns away itself and nobody else.

use std::collections::VecDeque;

/// Most calls that wait for one device.
pub(super) const MOST: usize = 256;
/// What the calls that wait may take the device, in microseconds.
const LONGEST: u64 = 2_000_000;
/// So many may wait, however long they take.
const FEW: usize = 8;

/// Waiting calls.
pub(super) struct Backlog<Q> {
    flows: Vec<Flow<Q>>,
    length: usize,
    cost: u64,
    /// When the call that went last began, in the time of the devices of their own.
    clock: u64,
}

struct Flow<Q> {
    id: u64,
    /// When its first call begins, in the same time.
    start: u64,
    cost: u64,
    calls: VecDeque<(u64, Q)>,
}

impl<Q> Default for Backlog<Q> {
    fn default() -> Self {
        Self { flows: Vec::new(), length: 0, cost: 0, clock: 0 }
    }
}

impl<Q> Backlog<Q> {
    /// Adds a call of a flow that should take so many microseconds. Returns the calls that there is no room for.
    pub(super) fn push(&mut self, flow: u64, cost: u64, call: Q) -> Vec<Q> {
        let index = match self.flows.iter().position(|known| known.id == flow) {
            Some(index) => index,
            None => {
                let calls = VecDeque::new();
                self.flows.push(Flow { id: flow, start: self.clock, cost: 0, calls });
                self.flows.len() - 1
            }
        };
        if let Some(flow) = self.flows.get_mut(index) {
            flow.calls.push_back((cost, call));
            flow.cost = flow.cost.saturating_add(cost);
        }
        self.length += 1;
        self.cost = self.cost.saturating_add(cost);
        let mut refused = Vec::new();
        while self.length > MOST || (self.cost > LONGEST && self.length > FEW) {
            let Some(call) = self.evict() else { break };
            refused.push(call);
        }
        refused
    }

    /// The call that goes next.
    pub(super) fn front(&self) -> Option<&Q> {
        let flow = self.flows.get(self.next()?)?;
        flow.calls.front().map(|(_, call)| call)
    }

    /// Takes it out.
    pub(super) fn pop(&mut self) -> Option<Q> {
        let index = self.next()?;
        let flow = self.flows.get_mut(index)?;
        let (cost, call) = flow.calls.pop_front()?;
        self.clock = flow.start;
        // A call that costs nothing would let its flow go on forever.
        flow.start = flow.start.saturating_add(cost.max(1));
        flow.cost = flow.cost.saturating_sub(cost);
        self.leave(index, cost);
        Some(call)
    }

    /// Takes out the calls for which `is_over`.
    pub(super) fn remove(&mut self, is_over: impl Fn(&Q) -> bool) -> Vec<Q> {
        let mut removed = Vec::new();
        for flow in &mut self.flows {
            if !flow.calls.iter().any(|(_, call)| is_over(call)) {
                continue;
            }
            for (cost, call) in std::mem::take(&mut flow.calls) {
                if is_over(&call) {
                    flow.cost = flow.cost.saturating_sub(cost);
                    self.cost = self.cost.saturating_sub(cost);
                    self.length -= 1;
                    removed.push(call);
                } else {
                    flow.calls.push_back((cost, call));
                }
            }
        }
        self.flows.retain(|flow| !flow.calls.is_empty());
        removed
    }

    /// Whether there is a call for which `is_over`.
    pub(super) fn any(&self, is_over: impl Fn(&Q) -> bool) -> bool {
        self.flows.iter().flat_map(|flow| &flow.calls).any(|(_, call)| is_over(call))
    }

    /// The flow whose call goes next.
    fn next(&self) -> Option<usize> {
        let flows = self.flows.iter().enumerate();
        flows.min_by_key(|(_, flow)| flow.start).map(|(index, _)| index)
    }

    /// Takes out the last call of the flow that has most waiting.
    fn evict(&mut self) -> Option<Q> {
        let flows = self.flows.iter().enumerate();
        let most = flows.max_by_key(|(_, flow)| (flow.cost, flow.calls.len()));
        let index = most.map(|(index, _)| index)?;
        let flow = self.flows.get_mut(index)?;
        let (cost, call) = flow.calls.pop_back()?;
        flow.cost = flow.cost.saturating_sub(cost);
        self.leave(index, cost);
        Some(call)
    }

    fn leave(&mut self, index: usize, cost: u64) {
        self.length -= 1;
        self.cost = self.cost.saturating_sub(cost);
        if self.flows.get(index).is_some_and(|flow| flow.calls.is_empty()) {
            self.flows.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes in which order.
    fn order(backlog: &mut Backlog<(u64, u32)>) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| {
            let front = backlog.front().copied();
            let popped = backlog.pop();
            assert_eq!(front, popped, "what is seen is what is taken");
            popped
        })
        .collect()
    }

    #[test]
    fn a_flow_is_in_order_and_flows_take_turns() {
        let mut backlog = Backlog::default();
        for number in 0..10 {
            assert!(backlog.push(1, 100, (1, number)).is_empty());
        }
        backlog.push(2, 100, (2, 0));
        backlog.push(2, 100, (2, 1));
        let order = order(&mut backlog);
        let of = |flow| order.iter().filter(move |(id, _)| *id == flow).map(|(_, n)| *n);
        assert!(of(1).eq(0..10) && of(2).eq(0..2), "{order:?}");
        let last = order.iter().rposition(|(flow, _)| *flow == 2).unwrap();
        assert!(last < 4, "the second flow waits for one of the first each: {order:?}");
    }

    #[test]
    fn a_share_is_time_and_not_calls() {
        let mut backlog = Backlog::default();
        for number in 0..5 {
            backlog.push(1, 100_000, (1, number));
        }
        for number in 0..100 {
            backlog.push(2, 1_000, (2, number));
        }
        let order = order(&mut backlog);
        let before_second = order.iter().take_while(|call| **call != (1, 1)).count();
        assert!((90..=102).contains(&before_second), "{before_second}");
    }

    #[test]
    fn a_flood_turns_away_itself() {
        let mut backlog = Backlog::default();
        let mut refused = Vec::new();
        for number in 0..1000 {
            refused.extend(backlog.push(1, 10, (1, number)));
        }
        assert_eq!(refused.len(), 1000 - MOST);
        for number in 0..20 {
            let turned_away = backlog.push(2, 10, (2, number));
            assert!(turned_away.iter().all(|(flow, _)| *flow == 1) && turned_away.len() == 1);
        }
        assert_eq!(order(&mut backlog).len(), MOST);
        assert_eq!((backlog.length, backlog.cost), (0, 0));
    }

    #[test]
    fn no_more_waits_than_a_device_does_in_time() {
        let mut backlog = Backlog::default();
        let slow = 500_000;
        let refused: usize = (0..100).map(|n| backlog.push(1, slow, (1, n)).len()).sum();
        assert_eq!(refused, 100 - FEW);
        assert!(backlog.push(2, 10, (2, 0)).iter().all(|(flow, _)| *flow == 1));
        let removed = backlog.remove(|(flow, _)| *flow == 1);
        assert_eq!(removed.len(), FEW - 1);
        assert!(!backlog.any(|(flow, _)| *flow == 1) && backlog.any(|(flow, _)| *flow == 2));
        assert_eq!(backlog.cost, 10);
    }
}
