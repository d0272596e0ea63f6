//! The record of the devices in the data directory: the domain, and the device at each line.
//!
//! The file `hsm/devices.json` pins devices to lines, so that a device put in place of another one
//! is noticed, and the domain, so that a lost device never silently becomes a new, empty domain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use hsm_protocol::{DeviceId, DomainId};
use serde::{Deserialize, Serialize};

use super::DevicesError;
use kms_base::{durable, hex};

/// The known devices and their domain.
#[derive(Debug)]
pub(super) struct Registry {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    domain: Option<String>,
    /// Name of a line to device id.
    devices: BTreeMap<String, String>,
}

const FORMAT: u32 = 1;

impl Registry {
    /// Reads the registry in `dir`; an absent one is empty.
    pub(super) fn load(dir: &Path) -> Result<Self, DevicesError> {
        let Self { path, content: empty } = Self::empty(dir);
        let content = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Content>(&bytes)
                .ok()
                .filter(|content| content.format == FORMAT && content.is_readable())
                .ok_or_else(|| DevicesError::Registry(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => empty,
            Err(source) => return Err(DevicesError::File { path, source }),
        };
        Ok(Self { path, content })
    }

    /// That of a directory of which nothing is known.
    pub(super) fn empty(dir: &Path) -> Self {
        let content = Content { format: FORMAT, ..Content::default() };
        Self { path: dir.join("devices.json"), content }
    }

    /// The domain of the devices, once there is one.
    pub(super) fn domain(&self) -> Option<DomainId> {
        self.content.domain.as_deref().and_then(hex::decode).map(DomainId)
    }

    /// The device that the line `name` led to before.
    pub(super) fn device(&self, name: &str) -> Option<DeviceId> {
        self.content.devices.get(name).and_then(|id| hex::decode(id)).map(DeviceId)
    }

    /// The lines that led to devices before.
    pub(super) fn lines(&self) -> Vec<String> {
        self.content.devices.keys().cloned().collect()
    }

    /// The devices that lines led to, by the names of these.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&str, DeviceId)> {
        let devices = self.content.devices.iter();
        devices.filter_map(|(name, id)| Some((name.as_str(), DeviceId(hex::decode(id)?))))
    }

    /// Forgets which device the line `name` led to; durable on return.
    pub(super) fn forget_line(&mut self, name: &str) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        content.devices.remove(name);
        self.replace(content)
    }

    /// Records that the line `name` leads to `device`, which is of `domain`; durable on return.
    pub(super) fn record(
        &mut self,
        name: &str,
        device: DeviceId,
        domain: DomainId,
    ) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        content.domain = Some(domain.to_string());
        content.devices.insert(name.to_owned(), device.to_string());
        self.replace(content)
    }

    /// Forgets every line that led to `device`; durable on return.
    pub(super) fn forget(&mut self, device: DeviceId) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        let text = device.to_string();
        content.devices.retain(|_, known| *known != text);
        self.replace(content)
    }

    fn replace(&mut self, content: Content) -> Result<(), DevicesError> {
        if content == self.content {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            durable::create_private_dir(dir)
                .map_err(|source| DevicesError::File { path: dir.to_owned(), source })?;
        }
        let mut text = serde_json::to_string_pretty(&content).unwrap_or_default();
        text.push('\n');
        durable::write(&self.path, text.as_bytes(), 0o600)
            .map_err(|source| DevicesError::File { path: self.path.clone(), source })?;
        self.content = content;
        Ok(())
    }
}

impl Content {
    fn is_readable(&self) -> bool {
        let id = |text: &String| hex::decode::<16>(text).is_some();
        self.domain.iter().all(id) && self.devices.values().all(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::load(dir.path()).unwrap();
        assert_eq!((registry.domain(), registry.device("soft-0")), (None, None));
        registry.record("soft-0", DeviceId([1; 16]), DomainId([2; 16])).unwrap();
        registry.record("serial:/dev/x", DeviceId([3; 16]), DomainId([2; 16])).unwrap();

        let again = Registry::load(dir.path()).unwrap();
        assert_eq!(again.domain(), Some(DomainId([2; 16])));
        assert_eq!(again.device("soft-0"), Some(DeviceId([1; 16])));
        assert_eq!(again.device("serial:/dev/x"), Some(DeviceId([3; 16])));

        for damaged in ["", "{}", r#"{"format":1,"domain":"xy","devices":{}}"#] {
            fs::write(dir.path().join("devices.json"), damaged).unwrap();
            assert!(matches!(Registry::load(dir.path()), Err(DevicesError::Registry(_))));
        }
    }
}
