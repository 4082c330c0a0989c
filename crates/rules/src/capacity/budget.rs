//! How much work a question may be: what is searched is bounded, whoever asks for whatever.

/// Steps that a search may take for one decision: some hundredths of a second. The search is
/// for clusters of some dozen nodes, in which nobody waits for the thousandth of a second that
/// decisions take in large ones.
const OF_A_DECISION: u64 = 10_000_000;
/// Steps for the VMs of one node alone, which are looked at whenever one comes or goes.
const OF_A_NODE: u64 = 100_000;
/// Steps of one question of planning, which is many decisions: about half a second.
const OF_A_QUESTION: u64 = 200_000_000;

/// Steps that are left. One takes about two thousand-millionths of a second.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    /// For one decision.
    pub(super) fn of_a_decision() -> Self {
        Self(OF_A_DECISION)
    }

    /// For what fits on a single node.
    pub(super) fn of_a_node() -> Self {
        Self(OF_A_NODE)
    }

    /// For a question that is many decisions.
    pub(super) fn of_a_question() -> Self {
        Self(OF_A_QUESTION)
    }

    /// Takes steps; `None` if not so many are left, and then none are.
    pub(super) fn spend(&mut self, steps: usize) -> Option<()> {
        let left = self.0.checked_sub(steps as u64);
        self.0 = left.unwrap_or(0);
        left.map(drop)
    }

    /// A decision that may use as much of it as one may; what it leaves goes back.
    pub(super) fn of_one<T>(&mut self, decide: impl FnOnce(&mut Self) -> T) -> T {
        let given = self.0.min(OF_A_DECISION);
        let mut one = Self(given);
        let decided = decide(&mut one);
        self.0 -= given - one.0;
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decision_leaves_goes_back() {
        let mut question = Budget(OF_A_DECISION + 10);
        question.of_one(|one| {
            assert!(one.spend(OF_A_DECISION as usize - 5).is_some());
            assert!(one.spend(5).is_some());
            assert!(one.spend(1).is_none());
        });
        assert_eq!(question.0, 10);
        question.of_one(|_| ());
        assert_eq!(question.0, 10);
        question.of_one(|one| assert!(one.spend(11).is_none()));
        assert_eq!(question.0, 0, "what was not enough is used up");
    }
}
