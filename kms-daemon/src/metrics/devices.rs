//! Devices, and the key pairs that they keep in stock.

use host_driver::pool::StockLevel;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    in_flight: Family<DeviceLabel, Gauge>,
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
