//! The servers: a store that is slow, servers that take over again and again, one that does not stand by any more.

use std::time::Duration;

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{ClusterScene, Detection, Finding, Found, Window};

pub const STORE: Detection = Detection {
    code: Code::StoreSlow,
    severity: FaultSeverity::Warning,
    about: "server",
    by_node: false,
    finds: "Within the last minute a read or write of the store took longer than 1 s.",
    because: "A write waits for one or two syncs of the disk, some 10 ms; etcd warns in its log from 100 ms on. One slow \
              answer is an accident, one a minute for three minutes is not.",
    window: Window::seconds(180, 60),
};

pub const CHANGES: Detection = Detection {
    code: Code::ServerChangesOften,
    severity: FaultSeverity::Warning,
    about: "server",
    by_node: false,
    finds: "A server has begun to decide four times or more within the last hour.",
    because: "An update restarts each server once. Of one host that restarts its daemon by hand nobody needs to be told.",
    window: Window::seconds(10, 600),
};

pub const STANDBY: Detection = Detection {
    code: Code::ServerUnreachable,
    severity: FaultSeverity::Warning,
    about: "server",
    by_node: false,
    finds: "A server that has said where it is, and stands by, does not let the active one connect there.",
    because: "It is looked at every 10 s. An update restarts it within seconds, its machine within a few minutes.",
    window: Window::seconds(300, 30),
};

/// Slower than any disk in order.
const SLOW: Duration = Duration::from_secs(1);
/// So often within an hour.
const OFTEN: u32 = 4;

pub fn check(scene: &ClusterScene<'_>, found: &mut Found) {
    if scene.store_took > SLOW {
        let object = FaultObject::of_cluster("server", "store");
        let evidence = "Its slowest answer within a minute took more than 1 s.";
        found.wrong(&STORE, Finding::new(&STORE, object, evidence));
    }
    if scene.took_over >= OFTEN {
        let object = FaultObject::of_cluster("server", "active");
        let evidence = format!("A server took over {OFTEN} times or more within an hour.");
        found.wrong(&CHANGES, Finding::new(&CHANGES, object, evidence));
    }
    for (address, why) in scene.silent_servers {
        let object = FaultObject::of_cluster("server", address);
        let evidence = format!("{address}: {why}.");
        found.wrong(&STANDBY, Finding::new(&STANDBY, object, evidence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Cluster;

    #[test]
    fn a_slow_store_and_servers_that_change_are_told() {
        let mut cluster = Cluster::new();
        cluster.store_took = Duration::from_millis(900);
        cluster.took_over = 3;
        assert_eq!(cluster.codes(), []);
        cluster.store_took = Duration::from_millis(1100);
        cluster.took_over = 4;
        assert_eq!(cluster.codes(), [Code::StoreSlow, Code::ServerChangesOften]);
    }

    #[test]
    fn each_server_that_does_not_stand_by_any_more_is_told() {
        let mut cluster = Cluster::new();
        let gone = |address: &str| (address.to_owned(), "connection refused".to_owned());
        cluster.silent_servers = vec![gone("b:7643"), gone("c:7643")];
        assert_eq!(cluster.codes(), [Code::ServerUnreachable; 2]);
    }
}
