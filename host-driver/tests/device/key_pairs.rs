//! Key pairs of slow specs, looked for by real firmware between its requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use host_driver::block_on;
use host_driver::pool::{Pool, PoolOptions, StockTargets};
use hsm_protocol::command::key::{AdoptKeyPair, ExportPublicKey, KeyRef};
use hsm_protocol::command::random::Random;
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, KeyId};

use crate::rig::{Hsm, LONG, options, pool, tag};

const SPEC: KeySpec = KeySpec::RSA_2048;

fn start(stock: StockTargets) -> Pool {
    let (hsm, user) = Hsm::provisioned();
    let options = PoolOptions { device: options(), stock, ..PoolOptions::default() };
    pool(Arc::new(hsm), user, options).0
}

/// Makes a pair the material of a key and returns the public half.
fn adopt(pool: &Pool, number: u8, pair: &[u8]) -> Vec<u8> {
    let id = KeyId { multi_region: false, bytes: [number; 16] };
    let command = AdoptKeyPair { id, usage: KeyUsage::SIGN_VERIFY, pair: Bytes(pair) };
    let made = pool.call_blocking(&command, tag(1)).unwrap();
    assert!(made.approved());
    let key = KeyRef { id, token: made.response().unwrap().token };
    let public = pool.call_blocking(&ExportPublicKey { key }, tag(2)).unwrap();
    public.response().unwrap().spki.to_vec()
}

#[test]
fn pairs_become_keys_and_the_stock_is_refilled() {
    let pool = start(StockTargets { rsa_2048: 1, ..StockTargets::NONE });
    let pair =
        || block_on(pool.key_pair(SPEC, PairPurpose::KEY, None, Instant::now() + LONG)).unwrap();
    let public: BTreeSet<Vec<u8>> = (0..2).map(|number| adopt(&pool, number, &pair())).collect();
    assert_eq!(public.len(), 2);
    assert!(public.iter().all(|spki| spki.len() == SPEC.row().unwrap().public_size));
    let start = Instant::now();
    while pool.stock()[0].level < 1 {
        assert!(start.elapsed() < LONG, "{:?}", pool.stock());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(pool.stock()[0].found, 3);
}

#[test]
fn the_device_answers_while_it_looks_for_a_pair() {
    let pool = start(StockTargets::NONE);
    let mut calls = 0;
    let slowest = thread::scope(|scope| {
        let pair = || block_on(pool.key_pair(SPEC, PairPurpose::KEY, None, Instant::now() + LONG));
        let taker = scope.spawn(pair);
        let mut slowest = Duration::ZERO;
        while !taker.is_finished() {
            let start = Instant::now();
            pool.call_blocking(&Random { length: 32 }, tag(3)).unwrap();
            slowest = slowest.max(start.elapsed());
            calls += 1;
        }
        taker.join().unwrap().unwrap();
        slowest
    });
    eprintln!("{calls} calls meanwhile, the slowest took {slowest:?}");
    // One that waited for the pair would have been the only one.
    assert!(calls > 3, "{calls}");
}
