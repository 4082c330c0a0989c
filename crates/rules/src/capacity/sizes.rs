//! VMs by how many NICs they have.
//!
//! What is kept of a cluster grows with the sizes of VM that are told apart, and so does the time of a
//! decision. Small ones are told apart one by one, the others in classes, so that a VM of every
//! possible size costs no more than nine of them.

/// A class of VMs: those with so many NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size {
    pub(super) least: u32,
    pub(super) most: u32,
}

/// The most NICs of each class; the last one has no limit.
const CLASSES: [u32; 9] = [1, 2, 3, 4, 6, 8, 16, 64, u32::MAX];

impl Size {
    /// The class of VMs with so many NICs.
    pub(super) fn of(nics: u32) -> Self {
        let mut least = 1;
        for most in CLASSES {
            if nics <= most {
                return Self { least, most };
            }
            least = most + 1;
        }
        Self { least, most: nics }
    }

    /// The same class where no VM has more than so many NICs.
    pub(super) fn up_to(self, most: u32) -> Self {
        let most = self.most.min(most).max(self.least);
        Self { most, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_in_one_class() {
        let mut classes = std::collections::BTreeSet::new();
        for nics in 1..=300 {
            let size = Size::of(nics);
            assert!((size.least..=size.most).contains(&nics), "{nics}");
            assert_eq!(size, Size::of(size.least));
            assert_eq!(size, Size::of(size.most));
            classes.insert(size);
        }
        assert_eq!(classes.len(), CLASSES.len());
        assert_eq!(Size::of(3), Size { least: 3, most: 3 });
        let large = Size::of(200).up_to(100);
        assert_eq!(
            large,
            Size {
                least: 65,
                most: 100
            }
        );
    }
}
