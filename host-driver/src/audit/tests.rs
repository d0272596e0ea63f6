use hsm_protocol::audit::{Details, RequestDigest};
use hsm_protocol::{AuditTag, HostId, MaterialId, Opcode};

use super::*;

const DEVICE: DeviceId = DeviceId([7; 16]);

/// A device's own view of its chain.
struct Model {
    entries: Vec<Entry>,
    heads: Vec<Head>,
}

impl Model {
    fn new(count: u64) -> Self {
        let mut model = Self { entries: Vec::new(), heads: vec![Head::genesis(&DEVICE, 1)] };
        for index in 0..count {
            let entry = Entry {
                index,
                opcode: Opcode::Sign,
                result: None,
                host: HostId([1; 16]),
                subject: MaterialId([2; 32]),
                tag: AuditTag([index.to_le_bytes()[0]; 16]),
                details: Some(Details { time_ms: index, request: RequestDigest([4; 32]) }),
            };
            model.heads.push(model.heads[model.heads.len() - 1].extend(&entry));
            model.entries.push(entry);
        }
        model
    }

    fn receipt(&self, index: usize) -> (Receipt, Entry) {
        let entry = self.entries[index];
        let head = self.heads[index + 1];
        (Receipt { epoch: 1, index: entry.index, subject: entry.subject, head }, entry)
    }

    fn page(&self, filling: &mut Filling, range: Range<usize>) -> Result<(), ChainBroken> {
        let bytes: Vec<u8> = self.entries[range.clone()].iter().flat_map(Entry::to_bytes).collect();
        filling.page(1, range.start as u64, self.heads[range.start], &bytes)
    }

    fn signed(&self, entries: usize) -> SignedHead {
        let signature = hsm_protocol::identity::Signature { r: [0; 32], s: [0; 32] };
        let head = self.heads[entries];
        SignedHead { device: DEVICE, epoch: 1, entries: entries as u64, head, signature }
    }
}

fn chain() -> Chain {
    Chain::new(DEVICE, Position::genesis(&DEVICE, 1))
}

fn follow(chain: &mut Chain, (receipt, entry): (Receipt, Entry)) -> Result<(), ChainBroken> {
    chain.follow(&receipt, entry).map(drop)
}

#[test]
fn receipts_in_order() {
    let model = Model::new(3);
    let mut chain = chain();
    for index in 0..3 {
        follow(&mut chain, model.receipt(index)).unwrap();
    }
    assert_eq!(chain.verified(), Position { epoch: 1, next: 3, head: model.heads[3] });
    assert!(!chain.has_news());
    let tip = chain.tip();
    chain.advance(&model.signed(3), tip).unwrap();
    assert!(!chain.has_news());
}

#[test]
fn repeated_altered_and_foreign_receipts_are_refused() {
    let model = Model::new(3);
    let mut chain = chain();
    follow(&mut chain, model.receipt(0)).unwrap();
    assert_eq!(follow(&mut chain, model.receipt(0)).unwrap_err().index, 0);

    let (mut receipt, entry) = model.receipt(1);
    receipt.head.0[0] ^= 1;
    assert_eq!(follow(&mut chain, (receipt, entry)).unwrap_err().index, 1);

    let (receipt, mut entry) = model.receipt(1);
    entry.result = Some(ErrorCode::INTERNAL);
    assert!(follow(&mut chain, (receipt, entry)).is_err());

    let (mut receipt, entry) = model.receipt(1);
    receipt.epoch = 2;
    assert_eq!(follow(&mut chain, (receipt, entry)).unwrap_err().epoch, 2);
    follow(&mut chain, model.receipt(1)).unwrap();
}

#[test]
fn a_signed_head_behind_or_beside_the_tip_is_refused() {
    let model = Model::new(3);
    let mut chain = chain();
    (0..2).for_each(|index| follow(&mut chain, model.receipt(index)).unwrap());
    let tip = chain.tip();
    assert!(chain.advance(&model.signed(1), tip).is_err());
    let mut beside = model.signed(2);
    beside.head.0[5] ^= 1;
    assert!(chain.advance(&beside, tip).is_err());
    follow(&mut chain, model.receipt(2)).unwrap();
    chain.advance(&model.signed(2), tip).unwrap();
    assert!(!chain.has_news());
}

#[test]
fn gaps_are_filled() {
    let model = Model::new(8);
    let mut chain = chain();
    for index in [0, 1, 4, 5] {
        follow(&mut chain, model.receipt(index)).unwrap();
    }
    chain.advance(&model.signed(8), chain.tip()).unwrap();
    assert_eq!(chain.verified().next, 2);

    let mut filling = chain.fill().unwrap();
    assert_eq!(filling.wanted(), Some(2));
    model.page(&mut filling, 2..5).unwrap();
    assert_eq!(filling.wanted(), Some(5));
    model.page(&mut filling, 5..8).unwrap();
    assert_eq!(filling.wanted(), None);
    let missed: Vec<_> = filling.missed.iter().map(|receipt| receipt.entry.index).collect();
    assert_eq!(missed, [2, 3, 6, 7]);
    assert!(filling.lost.is_empty());
    chain.filled(&filling);
    assert_eq!(chain.verified(), chain.tip());
    assert!(!chain.has_news());
}

#[test]
fn answers_go_on_while_gaps_are_filled() {
    let model = Model::new(6);
    let mut chain = chain();
    follow(&mut chain, model.receipt(2)).unwrap();
    let mut filling = chain.fill().unwrap();
    follow(&mut chain, model.receipt(3)).unwrap();
    follow(&mut chain, model.receipt(5)).unwrap();
    model.page(&mut filling, 0..6).unwrap();
    chain.filled(&filling);
    assert_eq!(chain.verified().next, 3);
    let mut filling = chain.fill().unwrap();
    assert_eq!(filling.wanted(), Some(3));
    model.page(&mut filling, 3..6).unwrap();
    assert_eq!(filling.missed.len(), 1);
    chain.filled(&filling);
    assert_eq!(chain.verified(), chain.tip());
}

#[test]
fn entries_the_device_dropped_are_reported() {
    let model = Model::new(8);
    let mut chain = chain();
    chain.advance(&model.signed(8), chain.tip()).unwrap();
    let mut filling = chain.fill().unwrap();
    model.page(&mut filling, 5..8).unwrap();
    assert_eq!(filling.lost, std::iter::once(0..5).collect::<Vec<_>>());
    assert_eq!(filling.missed.len(), 3);
    assert_eq!(filling.wanted(), None);
}

#[test]
fn pages_that_do_not_fit_are_refused() {
    let model = Model::new(8);
    let mut chain = chain();
    chain.advance(&model.signed(8), chain.tip()).unwrap();
    let filling = || chain.fill().unwrap();

    assert!(model.page(&mut filling(), 0..0).is_err());
    assert!(filling().page(2, 0, model.heads[0], &[]).is_err());
    assert!(filling().page(1, 0, model.heads[1], &model.entries[0].to_bytes()).is_err());
    assert!(filling().page(1, 0, model.heads[0], &model.entries[1].to_bytes()).is_err());
    assert!(filling().page(1, 0, model.heads[0], &[0; Entry::SIZE - 1]).is_err());

    let mut altered: Vec<u8> = model.entries.iter().flat_map(Entry::to_bytes).collect();
    altered[Entry::SIZE * 3 + 20] ^= 1;
    assert_eq!(filling().page(1, 0, model.heads[0], &altered).unwrap_err().index, 7);
}
