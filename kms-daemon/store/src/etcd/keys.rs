//! The names of records in etcd: `<prefix>/data/<key>`. Beside them is `<prefix>/beat`.

/// Makes and reads the names.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// `<prefix>/`
    root: Vec<u8>,
    /// `<prefix>/data/`
    data: Vec<u8>,
}

impl Keys {
    /// Under a prefix without slash at its end.
    pub(super) fn under(prefix: &str) -> Self {
        Self {
            root: format!("{prefix}/").into_bytes(),
            data: format!("{prefix}/data/").into_bytes(),
        }
    }

    /// The name of a record.
    pub(super) fn of(&self, key: &[u8]) -> Vec<u8> {
        [&*self.data, key].concat()
    }

    /// The key of a record; `None` if the name is not of a record.
    pub(super) fn key_of<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        name.strip_prefix(&*self.data)
    }

    /// The key that is written to have something to report.
    pub(super) fn beat(&self) -> Vec<u8> {
        [&*self.root, b"beat"].concat()
    }

    /// From where to where everything is.
    pub(super) fn everything(&self) -> (Vec<u8>, Vec<u8>) {
        (self.root.clone(), after(&self.root))
    }

    /// The end of the names of records whose keys start with `prefix`.
    pub(super) fn end(&self, prefix: &[u8]) -> Vec<u8> {
        after(&self.of(prefix))
    }
}

/// The first name after all those that start with `prefix`, which has a byte below 255.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_beneath_data() {
        let keys = Keys::under("/a");
        assert_eq!(keys.of(b"k"), b"/a/data/k");
        assert_eq!(keys.key_of(b"/a/data/k"), Some(&b"k"[..]));
        assert_eq!(keys.key_of(&keys.beat()), None);
        assert_eq!(keys.everything(), (b"/a/".to_vec(), b"/a0".to_vec()));
        assert_eq!(keys.end(b""), b"/a/data0");
        assert_eq!(keys.end(b"k\xff\xff"), b"/a/data/l");
    }
}
