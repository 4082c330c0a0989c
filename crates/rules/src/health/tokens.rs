//! Tokens that end soon.

use accelnet_model::{Code, FaultObject, FaultSeverity};
use jiff::SignedDuration;

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const DETECTION: Detection = Detection {
    code: Code::TokenExpiring,
    severity: FaultSeverity::Notice,
    about: "token",
    by_node: false,
    finds: "A token that was made for ten days or more has less than a tenth of its time left, and not more than 14 days.",
    because: "Whoever uses it needs some days to exchange it. One that was made for hours is meant to end.",
    window: Window::seconds(60, 0),
};

const LONG: SignedDuration = SignedDuration::from_hours(10 * 24);
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    for token in scene.tokens {
        let lasts = token.expires.duration_since(token.created);
        let left = token.expires.duration_since(scene.now);
        let soon = left < (lasts / 10).min(SOON);
        if lasts >= LONG && soon && left.is_positive() {
            let evidence = format!("'{}' ends at {:.0}.", token.name, token.expires);
            let object = FaultObject::of_cluster("token", &token.name);
            found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{TokenEnd, tests::Cluster};

    #[test]
    fn a_token_is_told_of_when_a_tenth_is_left_but_no_short_one() {
        let mut cluster = Cluster::new();
        let hours = SignedDuration::from_hours;
        for (lasts, left, told) in [
            (240, 25, false),
            (240, 23, true),
            (240, -1, false),
            (24, 1, false),
            (10_000, 400, false),
            (10_000, 300, true),
        ] {
            let expires = cluster.now + hours(left);
            cluster.tokens = vec![TokenEnd {
                name: "ci".parse().unwrap(),
                created: expires - hours(lasts),
                expires,
            }];
            let codes = cluster.codes();
            assert_eq!(codes == [Code::TokenExpiring], told, "{lasts} {left}");
        }
    }
}
