//! Prerequisite checks: what was found, whether it is enough, cause and cure. All at once.

mod adapter;
mod intent;
mod node;

use accelnet_model::{CheckResult, Code, IfName, Intent, Name, Problem, Severity};

use crate::Observed;

/// Runs all checks of the nodes and, with an intent, those of the intent and its adapters.
pub fn run(nodes: &[(Name, Observed)], intent: Option<&Intent>) -> Vec<CheckResult> {
    let mut results = node::consistent(nodes);
    for (name, observed) in nodes {
        results.extend(node::check(name, observed));
    }
    if let Some(intent) = intent {
        results.push(intent::compute(intent));
        for (name, observed) in nodes {
            results.extend(intent::on_node(name, observed, intent));
            for adapter in &intent.adapters {
                results.extend(adapter::check(name, observed, intent, adapter));
            }
        }
    }
    results
}

/// One result about a node, and possibly an adapter of it.
struct Subject<'a> {
    node: &'a Name,
    adapter: Option<&'a IfName>,
}

impl Subject<'_> {
    /// The check's result: it passed if there is no problem.
    fn result(
        &self,
        check: &str,
        found: impl Into<String>,
        problem: Option<(Code, String)>,
    ) -> CheckResult {
        let problem = problem.map(|(code, detail)| {
            let problem = Problem::new(code, detail).about("node", self.node);
            match self.adapter {
                Some(adapter) => problem.about("adapter", adapter),
                None => problem,
            }
        });
        CheckResult {
            check: check.to_owned(),
            node: Some(self.node.clone()),
            adapter: self.adapter.cloned(),
            passed: problem.is_none(),
            severity: Severity::Error,
            found: found.into(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::{IntentType, SriovSupport, Support};

    use super::*;
    use crate::fixture;

    fn failures(change: impl Fn(&mut Observed), intent: &Intent) -> Vec<Code> {
        let mut observed = fixture::observed();
        change(&mut observed);
        let nodes = [("node1".parse().unwrap(), observed)];
        let results = run(&nodes, Some(intent));
        results
            .into_iter()
            .filter_map(|result| result.problem)
            .map(|problem| problem.code)
            .collect()
    }

    #[test]
    fn the_fixture_passes_and_every_check_can_fail() {
        assert_eq!(failures(|_| {}, &fixture::intent()), []);
        type Change = fn(&mut Observed);
        let cases: &[(Code, Change)] = &[
            (Code::AccelNetNotSupported, |o| {
                o.node.kernel = "4.19.0".into();
            }),
            (Code::AccelNetNotSupported, |o| o.node.kvm = false),
            (Code::AccelNetNotSupported, |o| o.node.vfio = false),
            (Code::AccelNetNotSupported, |o| {
                o.node.libvirt = Some((6, 0, 0));
            }),
            (Code::AccelNetNotSupported, |o| {
                o.node.qemu = Some((4, 1, 0));
            }),
            (Code::HypervisorUnavailable, |o| o.node.libvirt = None),
            (Code::SriovSupportNoIommu, |o| o.node.iommu = false),
            (Code::InterruptRemappingOff, |o| {
                o.node.interrupt_remapping = Support::Supported(false);
            }),
            (Code::BridgeNotFound, |o| o.bridges.clear()),
            (Code::BridgeNotSupported, |o| {
                o.bridges[0].kind = "openvswitch".into();
            }),
            (Code::AdapterNotFound, |o| o.adapters.clear()),
            (Code::AdapterNotUplink, |o| o.adapters[0].master = None),
            (Code::AdapterLinkDown, |o| o.adapters[0].carrier = false),
            (Code::VfMtuTooSmall, |o| o.bridges[0].mtu = 9000),
            (Code::SriovSupportUnknown, |o| {
                o.adapters[0].sriov = SriovSupport::Unknown;
            }),
            (Code::SriovSupportMissingAcs, |o| {
                o.adapters[0].sriov = SriovSupport::MissingAcs;
            }),
            (Code::SriovSupportMissingPfDriver, |o| {
                o.adapters[0].sriov = SriovSupport::MissingPfDriver;
            }),
            (Code::SriovSupportNoBusResources, |o| {
                o.adapters[0].sriov = SriovSupport::NoBusResources;
            }),
            (Code::SriovSupportNoVfBarSpace, |o| {
                o.adapters[0].sriov = SriovSupport::NoVfBarSpace;
            }),
            (Code::SriovSupportNoOsc, |o| {
                o.adapters[0].sriov = SriovSupport::NoOscSupport;
            }),
            (Code::VfNotIsolated, |o| {
                o.adapters[0].vfs[0].group_peers = vec![o.adapters[0].pci];
            }),
        ];
        for (code, change) in cases {
            assert_eq!(failures(change, &fixture::intent()), [*code]);
        }
        let storage = Intent {
            types: vec![IntentType::Storage],
            ..fixture::intent()
        };
        assert_eq!(failures(|_| {}, &storage), [Code::IntentTypeCheckFailed]);
    }

    #[test]
    fn smt_must_be_the_same_everywhere() {
        let mut other = fixture::observed();
        other.node.smt_active = Support::Supported(true);
        let nodes = [
            ("a".parse().unwrap(), fixture::observed()),
            ("b".parse().unwrap(), other),
        ];
        let failed: Vec<_> = run(&nodes, None)
            .into_iter()
            .filter(|result| !result.passed)
            .collect();
        assert_eq!(failed.len(), 1);
        let problem = failed[0].problem.as_ref().unwrap();
        assert_eq!(problem.code, Code::HyperthreadingCheckFailed);
        assert!(
            problem.detail.contains("on: b") && problem.detail.contains("off: a"),
            "{problem}"
        );
    }
}
