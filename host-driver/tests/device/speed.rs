//! How fast the driver is. Run with:
//! `cargo test --release -p host-driver --test device -- --ignored --nocapture speed`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use host_driver::pool::PoolOptions;
use hsm_protocol::command::random::Random;

use crate::rig::{Hsm, pool, tag};

const RUN: Duration = Duration::from_secs(2);

#[test]
#[ignore = "a measurement"]
fn speed_of_round_trips() {
    let (hsm, user) = Hsm::provisioned();
    let (pool, _) = pool(Arc::new(hsm), user, PoolOptions::default());
    for threads in [1, 4, 32] {
        let calls = AtomicU64::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            for thread in 0..threads {
                let (pool, calls) = (&pool, &calls);
                scope.spawn(move || {
                    while start.elapsed() < RUN {
                        pool.call_blocking(&Random { length: 32 }, tag(thread)).unwrap();
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let rate = calls.into_inner() as f64 / start.elapsed().as_secs_f64();
        println!("{threads:3} threads: {rate:8.0} calls/s");
    }
}
