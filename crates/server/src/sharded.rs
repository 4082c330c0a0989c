//! Maps of which a copy costs nothing and a change little: what is known of a large cluster, as it was
//! at one moment.
//!
//! A map is divided into shards that copies share until one of them changes; then that shard alone is
//! copied. Two of a kind tell quickly in what they differ, as shards that both share are alike.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, btree_map},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    iter::Peekable,
    sync::Arc,
};

/// Of 200,000 entries a shard has 400: copying it costs about as much as copying the list of shards.
const SHARDS: u64 = 512;

/// A map in shards. Keys and values are copied with their shard, so they should be cheap to copy.
#[derive(Debug, Clone)]
pub struct Sharded<K, V>(Arc<Vec<Arc<BTreeMap<K, V>>>>);

/// Several entries for a key.
pub type Index<K, E> = Sharded<K, Arc<BTreeSet<E>>>;

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self(Arc::new((0..SHARDS).map(|_| Arc::default()).collect()))
    }
}

/// The same in every run, so that lists have the same order.
fn shard(key: &(impl Hash + ?Sized)) -> usize {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    (hasher.hash_one(key) % SHARDS) as usize
}

impl<K: Ord + Hash + Clone, V: Clone> Sharded<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0[shard(key)].get(key)
    }

    /// Puts a value.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.shard_of(&key).insert(key, value)
    }

    /// Removes a key.
    pub fn remove<Q: Ord + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Nothing is copied for what is not there.
        self.get(key)?;
        self.shard_of(key).remove(key)
    }

    fn shard_of<Q: Hash + ?Sized>(&mut self, key: &Q) -> &mut BTreeMap<K, V> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.0)[shard(key)])
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|shard| shard.iter())
    }

    /// Keys whose values are not the same in both, or that only one has.
    pub fn differing<'a>(
        &'a self,
        other: &'a Self,
        same: impl Fn(&V, &V) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = &'a K> {
        let both = self.0.iter().zip(other.0.iter());
        let changed = both.filter(|(one, other)| !Arc::ptr_eq(one, other));
        changed.flat_map(move |(one, other)| Differing {
            one: one.iter().peekable(),
            other: other.iter().peekable(),
            same,
        })
    }
}

/// Keys in which two maps differ, both walked in order.
struct Differing<'a, K, V, F> {
    one: Peekable<btree_map::Iter<'a, K, V>>,
    other: Peekable<btree_map::Iter<'a, K, V>>,
    same: F,
}

impl<'a, K: Ord, V, F: Fn(&V, &V) -> bool> Iterator for Differing<'a, K, V, F> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        loop {
            let (one, other) = match (self.one.peek(), self.other.peek()) {
                (Some(one), Some(other)) => (*one, *other),
                (Some(_), None) => return self.one.next().map(|(key, _)| key),
                (None, _) => return self.other.next().map(|(key, _)| key),
            };
            match one.0.cmp(other.0) {
                Ordering::Less => return self.one.next().map(|(key, _)| key),
                Ordering::Greater => return self.other.next().map(|(key, _)| key),
                Ordering::Equal => {
                    self.one.next();
                    self.other.next();
                    if !(self.same)(one.1, other.1) {
                        return Some(one.0);
                    }
                }
            }
        }
    }
}

impl<K: Ord + Hash + Clone, E: Ord + Clone> Index<K, E> {
    /// The entries of a key.
    pub fn of<Q: Ord + Hash + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &E>
    where
        K: Borrow<Q>,
    {
        self.get(key).into_iter().flat_map(|entries| entries.iter())
    }

    /// One entry more.
    pub fn add(&mut self, key: K, entry: E) {
        if !self.of(&key).any(|known| *known == entry) {
            let entries = self.shard_of(&key).entry(key).or_default();
            Arc::make_mut(entries).insert(entry);
        }
    }

    /// One entry less.
    pub fn take<Q: Ord + Hash + ?Sized>(&mut self, key: &Q, entry: &E)
    where
        K: Borrow<Q>,
    {
        if !self.of(key).any(|known| known == entry) {
            return;
        }
        let shard = self.shard_of(key);
        if let Some(entries) = shard.get_mut(key) {
            Arc::make_mut(entries).remove(entry);
            if entries.is_empty() {
                shard.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_in_what_was_changed() {
        let mut one: Sharded<u32, u32> = Sharded::default();
        for number in 0..2000 {
            one.insert(number, number);
        }
        let mut other = one.clone();
        let differing = |one: &Sharded<u32, u32>, other: &Sharded<u32, u32>| -> BTreeSet<u32> {
            one.differing(other, |one, other| one == other)
                .copied()
                .collect()
        };
        assert_eq!(differing(&one, &other), BTreeSet::new());
        other.insert(7, 8);
        other.insert(2000, 1);
        assert_eq!(other.remove(&1000), Some(1000));
        assert_eq!(other.remove(&5000), None);
        // Written again, but the same.
        other.insert(9, 9);
        for (one, other) in [(&one, &other), (&other, &one)] {
            assert_eq!(differing(one, other), BTreeSet::from([7, 1000, 2000]));
        }
        assert_eq!(one.get(&7), Some(&7), "copies are copies");
        assert_eq!(one.iter().count(), 2000);
    }

    #[test]
    fn an_index_has_what_was_added_and_not_taken() {
        let mut index: Index<String, u32> = Index::default();
        index.add("a".to_owned(), 2);
        index.add("a".to_owned(), 1);
        index.add("a".to_owned(), 1);
        index.add("b".to_owned(), 1);
        let before = index.clone();
        index.take("a", &2);
        index.take("b", &1);
        index.take("b", &1);
        let of = |index: &Index<String, u32>, key: &str| -> Vec<u32> {
            index.of(key).copied().collect()
        };
        assert_eq!((of(&index, "a"), of(&index, "b")), (vec![1], vec![]));
        assert_eq!(index.iter().count(), 1);
        assert_eq!((of(&before, "a"), of(&before, "b")), (vec![1, 2], vec![1]));
    }
}
