//! A list, page by page.
//!
//! The elements are in the order of a key that each has for itself, so that whatever is there all the time is on one
//! page and no other, whatever comes and goes meanwhile.

use std::num::NonZeroU32;

use accelnet_api::Items;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// So many elements at most; all if `None`.
    pub limit: Option<NonZeroU32>,
    /// Those with a later key than this; from the beginning if `None`.
    pub after: Option<String>,
}

impl Page {
    /// The part of these elements.
    pub fn of<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Items<T> {
        self.of_keyed(items.into_iter().map(|item| (key(&item), item)).collect())
    }

    /// The same where the keys are there.
    pub fn of_keyed<T>(&self, mut items: Vec<(String, T)>) -> Items<T> {
        items.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(after) = &self.after {
            let first = items.partition_point(|(key, _)| key <= after);
            items.drain(..first);
        }
        let limit = self
            .limit
            .and_then(|limit| usize::try_from(limit.get()).ok());
        let mut next = None;
        if let Some(limit) = limit.filter(|limit| items.len() > *limit) {
            items.truncate(limit);
            next = items.last().map(|(key, _)| key.clone());
        }
        Items {
            items: items.into_iter().map(|(_, item)| item).collect(),
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: u32, after: Option<&str>, items: &[&str]) -> (Vec<String>, Option<String>) {
        let page = Page {
            limit: NonZeroU32::new(limit),
            after: after.map(str::to_owned),
        };
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        let page = page.of(items, String::clone);
        (page.items, page.next)
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let items = ["d", "a", "c", "b", "e"];
        assert_eq!(page(0, None, &items).0, ["a", "b", "c", "d", "e"]);
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (items, next) = page(2, after.as_deref(), &items);
            all.extend(items);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, ["a", "b", "c", "d", "e"]);
        assert_eq!(page(5, None, &items).1, None, "nothing is left");
    }

    #[test]
    fn what_comes_and_goes_meanwhile_moves_nothing_else() {
        // The last one of the page before is gone, and one has come before it.
        assert_eq!(page(2, Some("b"), &["a", "a2", "c"]).0, ["c"]);
        assert_eq!(page(2, Some("z"), &["a"]), (vec![], None));
    }
}
