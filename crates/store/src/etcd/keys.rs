//! Names in etcd.
//!
//! ```text
//!   accelnet/state/KEY        what the store holds
//!   accelnet/seals/ID/EPOCH   voids the transactions of an epoch, see `seals.rs`
//!   accelnet/leader           the server that leads, see `leader.rs`
//! ```
//!
//! Below `state/` others may have written what no store could: such keys are not ours, and are
//! neither shown nor touched.

use std::sync::Arc;

use crate::{KeyValue, Revision, list::Range, txn};

/// Makes and reads the names.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Below this prefix.
    pub(super) fn below(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Where a key of the store is.
    pub(super) fn state(&self, key: &str) -> String {
        format!("{}state/{key}", self.prefix)
    }

    /// All of the store: from here to before there.
    pub(super) fn whole_state(&self) -> (Vec<u8>, Vec<u8>) {
        let start = self.state("").into_bytes();
        let end = after_prefix(start.clone());
        (start, end)
    }

    /// A page of the store: from here to before there.
    pub(super) fn page(&self, range: &Range) -> (Vec<u8>, Vec<u8>) {
        let mut start = self.state(range.start()).into_bytes();
        if range
            .after
            .as_deref()
            .is_some_and(|after| after >= range.prefix.as_str())
        {
            // The first key that is greater.
            start.push(0);
        }
        (start, after_prefix(self.state(&range.prefix).into_bytes()))
    }

    /// The seal of an epoch of the store with this id.
    pub(super) fn seal(&self, id: &str, epoch: u64) -> String {
        format!("{}seals/{id}/{epoch}", self.prefix)
    }

    /// Who leads.
    pub(super) fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }

    /// The store's key that is kept under this name; `None` if it is not ours.
    pub(super) fn key(&self, name: &[u8]) -> Option<String> {
        let name = str::from_utf8(name).ok()?;
        let key = name.strip_prefix(self.prefix.as_str())?;
        let key = key.strip_prefix("state/")?;
        txn::check_key(key).ok()?;
        Some(key.to_owned())
    }

    /// A key with its value and revisions; `None` if it is not ours.
    pub(super) fn key_value(&self, kv: &etcd_client::KeyValue) -> Option<Arc<KeyValue>> {
        Some(Arc::new(KeyValue {
            key: self.key(kv.key())?,
            value: kv.value().to_vec(),
            create_revision: revision(kv.create_revision()),
            mod_revision: revision(kv.mod_revision()),
            version: kv.version().unsigned_abs(),
        }))
    }
}

/// The smallest name that is greater than all with this prefix. It ends in text, whose bytes are
/// never 255.
fn after_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}

/// etcd's revisions are never negative.
pub(super) fn revision(number: i64) -> Revision {
    Revision::new(number.unsigned_abs())
}

/// A revision as etcd writes it. One that it cannot write has not happened, and neither has the
/// greatest that it can.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Page;

    #[test]
    fn a_page_starts_after_its_key_and_ends_with_its_prefix() {
        let keys = Keys::below("p/");
        let page = |prefix, after: Option<&str>| {
            let page = Page {
                after: after.map(str::to_owned),
                ..Page::first(1)
            };
            let (start, end) = keys.page(&Range::new(prefix, page).unwrap());
            (
                String::from_utf8(start).unwrap(),
                String::from_utf8(end).unwrap(),
            )
        };
        let pair = |start: &str, end: &str| (start.to_owned(), end.to_owned());
        assert_eq!(page("", None), pair("p/state/", "p/state0"));
        assert_eq!(page("vms/", None), pair("p/state/vms/", "p/state/vms0"));
        let expected = pair("p/state/vms/", "p/state/vms0");
        assert_eq!(page("vms/", Some("a")), expected, "before the prefix");
        let expected = pair("p/state/vms/1\0", "p/state/vms0");
        assert_eq!(page("vms/", Some("vms/1")), expected);
        let expected = pair("p/state/vms/\0", "p/state/vms0");
        assert_eq!(
            page("vms/", Some("vms/")),
            expected,
            "the prefix may be a key"
        );
    }

    #[test]
    fn what_no_store_can_have_written_is_not_ours() {
        let keys = Keys::below("p/");
        assert_eq!(keys.key(b"p/state/a/\xc3\xa4").as_deref(), Some("a/\u{e4}"));
        for name in [
            &b"p/state/"[..],
            b"p/state/\xff",
            b"p/state/a\n",
            b"p/leader",
            b"q/state/a",
        ] {
            assert_eq!(keys.key(name), None);
        }
        let long = format!("p/state/{}", "k".repeat(1025));
        assert_eq!(keys.key(long.as_bytes()), None);
    }
}
