//! How many cells, daemons and disks so many keys and requests need, by what was measured.

use serde_json::{Value, json};

/// A figure that was measured, and where.
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) source: &'static str,
}

/// Processor time of the daemon for an `Encrypt` of 32 bytes, the device in the same process included.
const CPU: Measured = Measured {
    what: "processor time of an Encrypt, device included",
    value: 81.0,
    unit: "µs",
    source: "`cargo xtask bench -- --against-ceiling`, 64 connections",
};
const RECORD: Measured = Measured {
    what: "audit record of an Encrypt",
    value: 1_728.0,
    unit: "bytes",
    source: "growth of the audit log over 500 requests",
};
const KEY: Measured = Measured {
    what: "a key in the store",
    value: 1_650.0,
    unit: "bytes",
    source: "growth of store.redb over 3,000 keys",
};
const CACHE: Measured = Measured {
    what: "a key that was used, in a daemon's memory",
    value: 870.0,
    unit: "bytes",
    source: "`cargo xtask bench -- --only scale`, 100,000 keys",
};
/// The audit log has one chain, and one thread that writes it: more cores do not make it faster.
const CHAIN: Measured = Measured {
    what: "time of the audit log's one thread for a record",
    value: 15.0,
    unit: "µs",
    source: "profile of that run: 28 % of 54 µs of a DescribeKey",
};
pub(crate) const MEASURED: [Measured; 5] = [CPU, CHAIN, RECORD, KEY, CACHE];

/// What etcd's documentation calls the most that a database should have, in bytes.
const ETCD: f64 = (8_u64 << 30) as f64;
/// Share of it for the keys as they are: former revisions stay until they are compacted, and a cluster that
/// is full refuses writes.
const ETCD_SHARE: f64 = 0.5;
/// Daemons of a cell: each watches all changes of its cell, and asks the cluster seven times a second.
const MOST_DAEMONS: f64 = 16.0;
/// Daemons of a cell at least: one may fail, and one be replaced meanwhile.
const LEAST_DAEMONS: f64 = 3.0;

/// What there is to be served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) keys: f64,
    /// Requests a second.
    pub(crate) requests: f64,
    /// Cores of the machine of a daemon.
    pub(crate) cores: f64,
    /// Share of the cores that is used when all is well.
    pub(crate) busy: f64,
}

/// What that takes.
#[derive(Debug, PartialEq)]
pub(crate) struct Needed {
    pub(crate) cells: f64,
    /// In each cell.
    pub(crate) daemons: f64,
    pub(crate) keys_of_a_cell: f64,
    pub(crate) requests_of_a_daemon: f64,
    /// Bytes.
    pub(crate) store_of_a_cell: f64,
    /// Bytes.
    pub(crate) cache_of_a_daemon: f64,
    /// Bytes a second.
    pub(crate) audit_of_a_daemon: f64,
    /// Bytes a day, of all.
    pub(crate) audit: f64,
}

impl Load {
    pub(crate) fn needs(self) -> Needed {
        let by_cores = self.cores / CPU.value;
        let by_the_chain = 1.0 / CHAIN.value;
        let of_a_daemon = by_cores.min(by_the_chain) * self.busy * 1e6;
        let daemons = (self.requests / of_a_daemon).ceil();
        let by_keys = (self.keys * KEY.value / (ETCD * ETCD_SHARE)).ceil();
        let by_daemons = (daemons / MOST_DAEMONS).ceil();
        let cells = by_keys.max(by_daemons).max(1.0);
        // One of each cell may fail without the others having to do more than they can.
        let daemons = ((daemons / cells).ceil() + 1.0).max(LEAST_DAEMONS);
        let keys = self.keys / cells;
        let requests = self.requests / cells / daemons;
        Needed {
            cells,
            daemons,
            keys_of_a_cell: keys,
            requests_of_a_daemon: requests,
            store_of_a_cell: keys * KEY.value,
            cache_of_a_daemon: keys * CACHE.value,
            audit_of_a_daemon: requests * RECORD.value,
            audit: self.requests * RECORD.value * 86_400.0,
        }
    }
}

impl Needed {
    /// Rows for a person: what, and how much.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("cells", format!("{:.0}", self.cells)),
            ("keys of a cell", format!("{:.0}", self.keys_of_a_cell)),
            ("store of a cell", bytes(self.store_of_a_cell)),
            ("daemons of a cell, one of them to spare", format!("{:.0}", self.daemons)),
            ("requests/s of a daemon", format!("{:.0}", self.requests_of_a_daemon)),
            ("memory for all keys of the cell", bytes(self.cache_of_a_daemon)),
            ("audit log of a daemon, a second", bytes(self.audit_of_a_daemon)),
            ("audit logs of all, a day", bytes(self.audit)),
        ]
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "cells": self.cells,
            "keysOfACell": self.keys_of_a_cell,
            "storeBytesOfACell": self.store_of_a_cell,
            "daemonsOfACell": self.daemons,
            "requestsOfADaemon": self.requests_of_a_daemon,
            "cacheBytesOfADaemon": self.cache_of_a_daemon,
            "auditBytesASecondOfADaemon": self.audit_of_a_daemon,
            "auditBytesADay": self.audit,
        })
    }
}

fn bytes(count: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let mut count = count;
    let mut at = 0;
    while count >= 1000.0 && at + 1 < units.len() {
        count /= 1000.0;
        at += 1;
    }
    format!("{count:.1} {}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_what_its_store_and_its_daemons_hold() {
        let small = Load { keys: 1000.0, requests: 10.0, cores: 2.0, busy: 0.5 }.needs();
        assert_eq!((small.cells, small.daemons), (1.0, LEAST_DAEMONS));
        let keys = Load { keys: 1e8, requests: 10.0, cores: 2.0, busy: 0.5 }.needs();
        assert!(keys.store_of_a_cell <= ETCD * ETCD_SHARE && keys.cells > 30.0, "{keys:?}");
        let load = Load { keys: 1000.0, requests: 1e6, cores: 16.0, busy: 0.5 };
        let requests = load.needs();
        assert!(requests.daemons <= MOST_DAEMONS + 1.0 && requests.cells > 1.0, "{requests:?}");
        let busy = requests.requests_of_a_daemon * CPU.value / 1e6 / load.cores;
        let chain = requests.requests_of_a_daemon * CHAIN.value / 1e6;
        assert!(busy < load.busy && chain < load.busy, "{busy} {chain}");
        assert_eq!(bytes(1_728.0 * 8.64e9), "14.9 TB");
    }
}
