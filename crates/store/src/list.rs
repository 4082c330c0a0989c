//! Lists: pages over a prefix, all at one revision.
//!
//! A backend only walks its current keys in order. A page at an older revision is that walk with
//! what happened since undone ([`Range::at_revision`]); the history says what to undo.

use std::{collections::BTreeMap, iter::Peekable, sync::Arc};

use crate::{InvalidRequest, KeyValue, Result, Revision, limits, txn};

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only keys greater than this one.
    pub after: Option<String>,
    /// At most so many; 1 to [`limits::PAGE_ITEMS_MAX`].
    pub limit: usize,
    /// As of this revision; `None` is now.
    pub at: Option<Revision>,
}

impl Page {
    /// The first `limit` items, now.
    pub fn first(limit: usize) -> Self {
        Self {
            after: None,
            limit,
            at: None,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The items, by key.
    pub items: Vec<Arc<KeyValue>>,
    /// The revision it shows.
    pub revision: Revision,
    /// Whether there is more after the last item. A page can be shorter than its limit and have
    /// more after it, if its items are large.
    pub more: bool,
}

impl Listing {
    /// The page after this one, at the same revision; `None` if this is the last.
    pub fn next_page(&self, limit: usize) -> Option<Page> {
        let last = self.items.last().filter(|_| self.more)?;
        Some(Page {
            after: Some(last.key.clone()),
            limit,
            at: Some(self.revision),
        })
    }
}

/// A valid request for a page.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) prefix: String,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
    pub(crate) at: Option<Revision>,
}

/// What keys were at an older revision, for those that have changed since.
pub(crate) type Undo = BTreeMap<String, Option<Arc<KeyValue>>>;

impl Range {
    /// Checks it against the limits.
    pub(crate) fn new(prefix: &str, page: Page) -> Result<Self, InvalidRequest> {
        txn::check_prefix(prefix)?;
        txn::check_prefix(page.after.as_deref().unwrap_or_default())?;
        if !(1..=limits::PAGE_ITEMS_MAX).contains(&page.limit) {
            return Err(InvalidRequest::PageLimit { limit: page.limit });
        }
        let Page { after, limit, at } = page;
        Ok(Self {
            prefix: prefix.to_owned(),
            after,
            limit,
            at,
        })
    }

    /// The smallest key it could contain: where a backend starts to walk, upwards.
    pub(crate) fn start(&self) -> &str {
        self.after.as_deref().unwrap_or_default().max(&self.prefix)
    }

    /// Whether a key belongs to it.
    pub(crate) fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| key > after)
    }

    /// Makes the page out of a walk over current keys from [`Self::start`] on.
    pub(crate) fn at_revision<E>(
        &self,
        revision: Revision,
        current: impl Iterator<Item = Result<Arc<KeyValue>, E>>,
        undo: Undo,
    ) -> Result<Listing, E> {
        let mut filling = Filling::new(self.limit);
        for kv in (Undone {
            current: current.peekable(),
            undo,
        }) {
            let kv = kv?;
            if !kv.key.starts_with(&self.prefix) {
                break;
            }
            if self.contains(&kv.key) && !filling.add(kv) {
                return Ok(filling.listing(revision, true));
            }
        }
        Ok(filling.listing(revision, false))
    }
}

/// A page while it is made.
#[derive(Debug)]
pub(crate) struct Filling {
    limit: usize,
    items: Vec<Arc<KeyValue>>,
    bytes: usize,
}

impl Filling {
    /// An empty page for so many items.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            items: Vec::new(),
            bytes: 0,
        }
    }

    /// How many more items it may hold.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.items.len()
    }

    /// Adds the next item; false if the page is full without it.
    pub(crate) fn add(&mut self, kv: Arc<KeyValue>) -> bool {
        self.bytes += kv.key.len() + kv.value.len();
        let full = self.items.len() == self.limit || self.bytes > limits::PAGE_BYTES_MAX;
        let fits = !full || self.items.is_empty();
        if fits {
            self.items.push(kv);
        }
        fits
    }

    /// The page.
    pub(crate) fn listing(self, revision: Revision, more: bool) -> Listing {
        Listing {
            items: self.items,
            revision,
            more,
        }
    }
}

/// Two ordered walks merged; what is to be undone replaces what is there.
struct Undone<I: Iterator> {
    current: Peekable<I>,
    undo: Undo,
}

impl<E, I: Iterator<Item = Result<Arc<KeyValue>, E>>> Iterator for Undone<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(change) = self.undo.first_entry() {
            match self.current.peek() {
                Some(Err(_)) => break,
                Some(Ok(kv)) if kv.key < *change.key() => break,
                Some(Ok(kv)) if kv.key == *change.key() => drop(self.current.next()),
                _ => {}
            }
            if let Some(kv) = change.remove() {
                return Some(Ok(kv));
            }
        }
        self.current.next()
    }
}
