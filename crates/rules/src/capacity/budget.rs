//! How much work a question may be: what is searched is bounded, whoever asks for whatever.

/// Steps that a search may take for one decision: some hundredths of a second. The search is
/// for clusters of some dozen nodes, in which nobody waits for the thousandth of a second that
/// decisions take in large ones.
pub(super) const OF_A_DECISION: u64 = 10_000_000;
/// Steps of one question of planning, which is many decisions: about a second.
pub(super) const OF_A_QUESTION: u64 = 500_000_000;

/// Steps that are left. One takes about two thousand-millionths of a second.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    /// For one decision: a placement in every case, and a search.
    pub(super) fn of_a_decision() -> Self {
        Self(2 * OF_A_DECISION)
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

    /// As much of it as one part of a decision may use.
    pub(super) fn share(&mut self) -> Share<'_> {
        let left = self.0.min(OF_A_DECISION);
        Share {
            decision: Self(left),
            given: left,
            of: self,
        }
    }
}

/// A decision's part of a question's steps; what it leaves goes back.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub(super) decision: Budget,
    given: u64,
    of: &'a mut Budget,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0 -= self.given - self.decision.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_decision_leaves_goes_back() {
        let mut question = Budget(OF_A_DECISION + 10);
        {
            let mut share = question.share();
            assert!(share.decision.spend(OF_A_DECISION as usize - 5).is_some());
            assert!(share.decision.spend(5).is_some());
            assert!(share.decision.spend(1).is_none());
        }
        assert_eq!(question.0, 10);
        drop(question.share());
        assert_eq!(question.0, 10);
        assert!(question.share().decision.spend(11).is_none());
        assert_eq!(question.0, 0, "what was not enough is used up");
    }
}
