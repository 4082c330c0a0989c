//! How many packets a sender makes up for when it was late.
//!
//! A sender at a fixed rate that was not scheduled for a second, as happens in software emulation, would
//! send a second's packets within milliseconds: no traffic that anybody asked for, and it overruns rings
//! and queues that the rate itself never fills. So it makes up for a few; the others are not sent, and
//! counted.

/// Half of what a VF's receive ring holds (igbvf: 256).
const MOST: u64 = 128;

/// Of `behind` packets that are due, how many are sent now. The others never are.
pub fn catch_up(behind: u64) -> u64 {
    behind.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_not_made_up_for_in_one_burst() {
        assert_eq!(catch_up(0), 0);
        assert_eq!(catch_up(60), 60, "a fifth of a second at 300 a second is");
        assert_eq!(catch_up(330), MOST);
    }
}
