//! The record of the devices in the data directory: the domain, and the device at each line.
//!
//! The file `hsm/devices.json` pins devices to lines, so that a device put in place of another one
//! is noticed, and the domain, so that a lost device never silently becomes a new, empty domain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use host_driver::pool::Held;
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
    /// Lines that a person has added to those of the settings.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    added: BTreeSet<String>,
    /// Names of lines that a person has removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    removed: BTreeSet<String>,
    /// Names of lines whose devices take no calls, and why they are quarantined, if they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<String, Option<String>>,
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

    /// The lines that a person has added to those of the settings.
    pub(super) fn added(&self) -> impl Iterator<Item = &String> {
        self.content.added.iter()
    }

    /// Whether a person has removed the line of that name.
    pub(super) fn is_removed(&self, name: &str) -> bool {
        self.content.removed.contains(name)
    }

    /// Why the device of a line takes no calls, if it is not to.
    pub(super) fn held(&self, name: &str) -> Option<Held> {
        self.content.held.get(name).map(|reason| match reason {
            None => Held::Drained,
            Some(reason) => Held::Quarantined(reason.as_str().into()),
        })
    }

    /// Records whether the device of a line takes calls; durable on return.
    pub(super) fn hold(&mut self, name: &str, held: Option<&Held>) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        match held {
            None => content.held.remove(name),
            Some(Held::Drained) => content.held.insert(name.to_owned(), None),
            Some(Held::Quarantined(reason)) => {
                content.held.insert(name.to_owned(), Some(reason.to_string()))
            }
        };
        self.replace(content)
    }

    /// Records that there is a line of that name; durable on return.
    pub(super) fn add(&mut self, name: &str) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        content.removed.remove(name);
        content.added.insert(name.to_owned());
        self.replace(content)
    }

    /// Records that a removed line is there again; durable on return.
    pub(super) fn put_back(&mut self, name: &str) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        content.removed.remove(name);
        self.replace(content)
    }

    /// Records that there is no line of that name any more; durable on return.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), DevicesError> {
        let mut content = self.content.clone();
        content.held.remove(name);
        // What the settings have would be back at the next start.
        if !content.added.remove(name) {
            content.removed.insert(name.to_owned());
        }
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
    fn what_people_change_is_kept_and_undone() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::load(dir.path()).unwrap();
        registry.record("soft-0", DeviceId([1; 16]), DomainId([2; 16])).unwrap();
        let before = fs::read_to_string(dir.path().join("devices.json")).unwrap();
        assert!(!before.contains("held"), "read by releases that do not know it");
        registry.add("tcp:host:1").unwrap();
        registry.remove("soft-0").unwrap();
        registry.hold("tcp:host:1", Some(&Held::Drained)).unwrap();
        registry.hold("soft-1", Some(&Held::Quarantined("it lied".into()))).unwrap();
        let mut again = Registry::load(dir.path()).unwrap();
        assert!(again.added().eq(["tcp:host:1"]) && again.is_removed("soft-0"));
        assert_eq!(again.held("tcp:host:1"), Some(Held::Drained));
        assert_eq!(again.held("soft-1"), Some(Held::Quarantined("it lied".into())));
        again.remove("tcp:host:1").unwrap();
        assert!(!again.is_removed("tcp:host:1"), "nothing but the addition is undone");
        again.hold("soft-1", None).unwrap();
        again.put_back("soft-0").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("devices.json")).unwrap(), before);
    }

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
