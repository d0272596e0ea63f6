//! Devices, and the key pairs that they keep in stock.

use std::sync::atomic::{AtomicU64, Ordering};

use host_driver::health::{DeviceHealth, Service};
use host_driver::pool::StockLevel;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceLabel {
    region: String,
    device: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabel {
    region: String,
    spec: &'static str,
    purpose: &'static str,
}

/// What is known of devices.
#[derive(Debug, Clone, Default)]
pub(super) struct DeviceMetrics {
    up: Family<DeviceLabel, Gauge>,
    quarantined: Family<DeviceLabel, Gauge>,
    in_flight: Family<DeviceLabel, Gauge>,
    p99: Family<DeviceLabel, Gauge<f64, AtomicU64>>,
    hedged: Family<DeviceLabel, Counter>,
    key_pairs: Family<PairLabel, Gauge>,
    key_pairs_wanted: Family<PairLabel, Gauge>,
}

impl DeviceMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("device_up", "1 if the device is in service", self.up.clone());
        registry.register(
            "device_in_flight",
            "Calls under way on the device",
            self.in_flight.clone(),
        );
        registry.register(
            "device_quarantined",
            "1 if the device has done what no device in order does, and waits for a person",
            self.quarantined.clone(),
        );
        registry.register_with_unit(
            "device_latency_p99",
            "Time from call to answer that 99 of 100 of the latest answers took less than",
            Unit::Seconds,
            self.p99.clone(),
        );
        registry.register(
            "device_hedged_calls",
            "Calls that were sent to another device as well, because this one was slow",
            self.hedged.clone(),
        );
        registry.register("key_pairs", "Key pairs of slow specs in stock", self.key_pairs.clone());
        registry.register(
            "key_pairs_wanted",
            "Requests that wait for a key pair",
            self.key_pairs_wanted.clone(),
        );
    }
}

impl Metrics {
    /// Sets what is known of a device.
    pub fn device(&self, region: &str, name: &str, in_service: bool, in_flight: usize) {
        let label = DeviceLabel { region: region.to_owned(), device: name.to_owned() };
        self.devices.up.get_or_create(&label).set(i64::from(in_service));
        let in_flight = i64::try_from(in_flight).unwrap_or(i64::MAX);
        self.devices.in_flight.get_or_create(&label).set(in_flight);
    }

    /// Sets what is known of the health of a device.
    pub fn health(&self, region: &str, health: &DeviceHealth) {
        let label = DeviceLabel { region: region.to_owned(), device: health.name.clone() };
        let DeviceMetrics { quarantined, p99, hedged, .. } = &self.devices;
        let is = |service| health.service == service;
        self.device(region, &health.name, is(Service::InService), health.in_flight);
        quarantined.get_or_create(&label).set(i64::from(is(Service::Quarantined)));
        p99.get_or_create(&label).set(health.quantiles.1.as_secs_f64());
        hedged.get_or_create(&label).inner().store(health.hedged, Ordering::Relaxed);
    }

    /// Forgets the devices, before it is set what is known of those that there are now.
    pub fn no_devices(&self) {
        let DeviceMetrics { up, quarantined, in_flight, p99, hedged, .. } = &self.devices;
        up.clear();
        quarantined.clear();
        in_flight.clear();
        p99.clear();
        hedged.clear();
    }

    /// Sets what is known of the stock of key pairs of one spec and purpose.
    pub fn key_pairs(&self, region: &str, stock: &StockLevel) {
        let count = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let spec = stock.spec.aws_name().unwrap_or_default();
        let purpose = stock.purpose.name().unwrap_or_default();
        let label = PairLabel { region: region.to_owned(), spec, purpose };
        self.devices.key_pairs.get_or_create(&label).set(count(stock.level));
        self.devices.key_pairs_wanted.get_or_create(&label).set(count(stock.waiting));
    }
}
