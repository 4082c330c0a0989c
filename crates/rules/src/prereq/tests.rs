//! Each check passes on a good cluster, and each way to fail has its code, place and severity.

use accelnet_model::{DevlinkFacts, IntentType, SriovSupport, Support, VfCount};

use super::*;
use crate::{Observed, fixture};

fn status() -> Observed {
    fixture::observed()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn failed(nodes: &[Observed], intent: Option<&Intent>) -> Vec<(String, Severity, Code)> {
    let nodes: Vec<Node> = nodes
        .iter()
        .enumerate()
        .map(|(number, status)| (name(&format!("node{}", number + 1)), status.clone()))
        .collect();
    let results = run(&nodes, intent);
    for result in &results {
        assert_eq!(result.passed, result.problem.is_none(), "{result:?}");
        assert!(
            !result.found.is_empty() && !result.found.ends_with('.'),
            "{result:?}"
        );
        if let Some(problem) = &result.problem {
            assert!(problem.detail.contains(&result.found), "{result:?}");
            let placed = result.node.iter().all(|node| {
                problem
                    .objects
                    .iter()
                    .any(|object| object.kind == "node" && object.name == node.as_str())
            });
            assert!(placed, "{result:?}");
        }
    }
    let failed = results.into_iter().filter(|result| !result.passed);
    failed
        .map(|result| (result.check, result.severity, result.problem.unwrap().code))
        .collect()
}

#[test]
fn a_good_cluster_passes_everything() {
    let nodes = [status(), status()];
    assert_eq!(failed(&nodes, Some(&fixture::intent())), []);
    let refs: Vec<Node> = nodes
        .iter()
        .map(|status| (name("n"), status.clone()))
        .collect();
    let (without, with) = (run(&refs, None), run(&refs, Some(&fixture::intent())));
    assert!(
        without
            .iter()
            .all(|result| result.adapter.is_none() && result.check != "bridge")
    );
    assert!(without.len() < with.len());
    assert_eq!(errors(&with), []);
}

#[test]
fn vms_must_be_able_to_have_pci_express_and_devices() {
    let with = |change: fn(&mut Observed)| {
        let mut node = status();
        change(&mut node);
        failed(&[node], None)
    };
    fn capabilities(observed: &mut Observed) -> &mut accelnet_model::DomainCapabilities {
        observed.node.domain_capabilities.as_mut().unwrap()
    }
    let one = |severity| {
        let check = "vm_capabilities".to_owned();
        vec![(check, severity, Code::AccelNetNotSupported)]
    };
    assert_eq!(
        with(|node| capabilities(node).pcie_machine = None),
        one(Severity::Error)
    );
    assert_eq!(
        with(|node| capabilities(node).pci_passthrough = false),
        one(Severity::Error)
    );
    assert_eq!(
        with(|node| *capabilities(node) = Default::default()),
        one(Severity::Error)
    );
    // What is not known keeps nothing back, but is told.
    assert_eq!(
        with(|node| node.node.domain_capabilities = None),
        one(Severity::Warning)
    );
}

#[test]
fn nobody_reports() {
    assert_eq!(
        failed(&[], None),
        [("nodes".into(), Severity::Error, Code::AgentUnreachable)]
    );
}

type Change = fn(&mut Observed);

#[test]
fn each_failure_has_its_code() {
    use Severity::{Error, Warning};
    let cases: &[(&str, Severity, Code, Change)] = &[
        ("kernel", Error, Code::AccelNetNotSupported, |s| {
            s.node.kernel = "5.5.19".into();
        }),
        ("kernel", Error, Code::AccelNetNotSupported, |s| {
            s.node.kernel = "?".into();
        }),
        ("kvm", Error, Code::AccelNetNotSupported, |s| {
            s.node.kvm = false;
        }),
        ("vfio", Error, Code::AccelNetNotSupported, |s| {
            s.node.vfio = false;
        }),
        ("libvirt", Error, Code::AccelNetNotSupported, |s| {
            s.node.libvirt = Some((7, 0, 9));
        }),
        ("libvirt", Error, Code::HypervisorUnavailable, |s| {
            s.node.libvirt = None;
            s.node.qemu = None;
        }),
        ("qemu", Error, Code::AccelNetNotSupported, |s| {
            s.node.qemu = Some((4, 1, 1));
        }),
        ("qemu", Error, Code::AccelNetNotSupported, |s| {
            s.node.qemu = None;
        }),
        ("iommu", Error, Code::SriovSupportNoIommu, |s| {
            s.node.iommu = false;
        }),
        (
            "interrupt_remapping",
            Error,
            Code::InterruptRemappingOff,
            |s| {
                s.node.interrupt_remapping = Support::Supported(false);
            },
        ),
        (
            "interrupt_remapping",
            Warning,
            Code::InterruptRemappingOff,
            |s| {
                s.node.interrupt_remapping = Support::Unknown;
            },
        ),
        ("smt", Warning, Code::HyperthreadingCheckFailed, |s| {
            s.node.smt_active = Support::Unknown;
        }),
        ("bridge", Error, Code::BridgeNotSupported, |s| {
            s.bridges[0].kind = "openvswitch".into();
        }),
        ("bridge", Error, Code::BridgeNotSupported, |s| {
            let mut second = s.adapters[0].clone();
            second.ifname = "pf1".parse().unwrap();
            s.adapters.push(second);
            let mut port = s.bridges[0].ports[0].clone();
            port.ifname = "pf1".parse().unwrap();
            s.bridges[0].ports.push(port);
        }),
        ("bridge", Warning, Code::BridgeNotSupported, |s| {
            s.bridges[0].up = false;
        }),
        ("adapter", Error, Code::AdapterNotFound, |s| {
            s.adapters[0].ifname = "eth7".parse().unwrap();
        }),
        ("adapter", Error, Code::AdapterNotUplink, |s| {
            s.adapters[0].master = None;
        }),
        ("adapter", Error, Code::AdapterNotUplink, |s| {
            s.adapters[0].master = "bond0".parse().ok();
        }),
        ("link", Error, Code::AdapterLinkDown, |s| {
            s.adapters[0].up = false;
        }),
        ("link", Error, Code::AdapterLinkDown, |s| {
            s.adapters[0].carrier = false;
        }),
        ("mtu", Error, Code::VfMtuTooSmall, |s| {
            s.bridges[0].mtu = 1501;
        }),
        ("vf_isolation", Error, Code::VfNotIsolated, |s| {
            s.adapters[0].vfs[2].group_peers = vec!["0000:01:00.0".parse().unwrap()];
        }),
        ("spoof_check", Error, Code::SpoofCheckUnsupported, |s| {
            s.adapters[0].vfs[0].attributes.spoofchk = Support::Unsupported;
        }),
        ("spoof_check", Warning, Code::SpoofCheckUnsupported, |s| {
            s.adapters[0].vfs[0].attributes.spoofchk = Support::Unknown;
        }),
    ];
    for (check, severity, code, change) in cases {
        let mut status = status();
        change(&mut status);
        let failed = failed(&[status], Some(&fixture::intent()));
        assert_eq!(failed, [((*check).to_owned(), *severity, *code)]);
    }
}

#[test]
fn the_bridge_may_be_missing() {
    let mut status = status();
    status.bridges.clear();
    let found = failed(&[status], Some(&fixture::intent()));
    assert_eq!(
        found,
        [("bridge".into(), Severity::Error, Code::BridgeNotFound)]
    );
}

#[test]
fn an_adapter_that_lost_its_driver_is_named() {
    let mut status = status();
    status.adapters[0].ifname = "pci0000-01-00.0".parse().unwrap();
    status.adapters[0].sriov = SriovSupport::MissingPfDriver;
    let found = failed(&[status], Some(&fixture::intent()));
    let codes: Vec<_> = found.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(
        codes,
        [Code::AdapterNotFound, Code::SriovSupportMissingPfDriver]
    );
}

#[test]
fn all_eight_states_of_sriov_support() {
    use SriovSupport as S;
    let cases = [
        (S::Supported, None),
        (S::Unknown, Some(Code::SriovSupportUnknown)),
        (S::MissingAcs, Some(Code::SriovSupportMissingAcs)),
        (S::MissingPfDriver, Some(Code::SriovSupportMissingPfDriver)),
        (S::NoBusResources, Some(Code::SriovSupportNoBusResources)),
        (S::NoIoMmuSupport, Some(Code::SriovSupportNoIommu)),
        (S::NoVfBarSpace, Some(Code::SriovSupportNoVfBarSpace)),
        (S::NoOscSupport, Some(Code::SriovSupportNoOsc)),
    ];
    for (state, code) in cases {
        for evidence in [None, Some("the kernel said so.".to_owned())] {
            let mut status = status();
            status.adapters[0].sriov = state;
            status.adapters[0].sriov_evidence = evidence;
            let expected: Vec<_> = code
                .map(|code| ("sriov".to_owned(), Severity::Error, code))
                .into_iter()
                .collect();
            assert_eq!(
                failed(&[status], Some(&fixture::intent())),
                expected,
                "{state:?}"
            );
        }
    }
}

#[test]
fn firmware_is_compared_component_by_component_where_devlink_knows_it() {
    let with = |running: &[(&str, &str)]| {
        let mut status = status();
        let text = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        status.adapters[0].devlink = Some(DevlinkFacts {
            running: running.iter().map(text).collect(),
            ..DevlinkFacts::default()
        });
        status
    };
    let nodes = [
        with(&[("fw", "22.36"), ("fw.psid", "MT_1")]),
        with(&[("fw", "22.36"), ("fw.psid", "MT_2")]),
    ];
    assert_eq!(
        failed(&nodes, Some(&fixture::intent())),
        [("alike".into(), Severity::Warning, Code::AdaptersDiffer)]
    );
    let same = [with(&[("fw", "22.36")]), with(&[("fw", "22.36")])];
    assert_eq!(failed(&same, Some(&fixture::intent())), []);
}

#[test]
fn smt_must_be_the_same() {
    let with = |smt| {
        let mut status = status();
        status.node.smt_active = smt;
        status
    };
    let (on, off) = (Support::Supported(true), Support::Supported(false));
    assert_eq!(failed(&[with(on), with(on)], None), []);
    assert_eq!(failed(&[with(off), with(Support::Unsupported)], None), []);
    let mixed = failed(&[with(on), with(off), with(Support::Unknown)], None);
    assert_eq!(
        mixed,
        [(
            "smt".into(),
            Severity::Error,
            Code::HyperthreadingCheckFailed
        )]
    );
}

#[test]
fn different_adapters_are_a_warning() {
    let mut other = status();
    other.adapters[0].firmware = Some("3.2".into());
    other.adapters[0].driver_version = Some("6.1".into());
    let nodes = [status(), other];
    let found = failed(&nodes, Some(&fixture::intent()));
    assert_eq!(
        found,
        [("alike".into(), Severity::Warning, Code::AdaptersDiffer)]
    );
    let refs: Vec<Node> = nodes
        .iter()
        .map(|status| (name("n"), status.clone()))
        .collect();
    assert_eq!(
        errors(&run(&refs, Some(&fixture::intent()))),
        [],
        "a warning does not refuse"
    );
}

#[test]
fn the_numa_node_is_a_note() {
    let found = |numa_node| {
        let mut status = status();
        status.adapters[0].numa_node = numa_node;
        let results = run(&[(name("n"), status)], Some(&fixture::intent()));
        let note = results.into_iter().find(|result| result.check == "numa");
        note.map(|result| (result.passed, result.found))
    };
    assert_eq!(found(Some(1)), Some((true, "NUMA node 1".to_owned())));
    assert_eq!(found(None), None);
}

#[test]
fn wrong_intents() {
    let mut intent = fixture::intent();
    intent.types = vec![IntentType::Storage];
    let found = failed(&[status()], Some(&intent));
    assert_eq!(
        found,
        [(
            "intent".into(),
            Severity::Error,
            Code::IntentTypeCheckFailed
        )]
    );
    let mut intent = fixture::intent();
    intent.vfs = VfCount::Exactly(8);
    let found = failed(&[status()], Some(&intent));
    assert_eq!(
        found,
        [("vf_count".into(), Severity::Error, Code::VfCountNotPossible)]
    );
}

#[test]
fn all_failures_are_reported_at_once() {
    let mut bad = status();
    bad.node.kvm = false;
    bad.node.iommu = false;
    bad.adapters[0].carrier = false;
    bad.adapters[0].sriov = SriovSupport::NoIoMmuSupport;
    bad.bridges[0].mtu = 9000;
    let checks: Vec<String> = failed(&[bad], Some(&fixture::intent()))
        .into_iter()
        .map(|(check, ..)| check)
        .collect();
    assert_eq!(checks, ["kvm", "iommu", "link", "mtu", "sriov"]);
}

/// What the checks say of a node whose adapter was changed.
fn said(change: impl FnOnce(&mut Observed), intent: &Intent) -> Vec<(Code, Severity, String)> {
    let mut observed = status();
    change(&mut observed);
    let results = run(&[(name("node1"), observed)], Some(intent)).into_iter();
    let problems = results.filter_map(|result| Some((result.severity, result.problem?)));
    problems
        .map(|(severity, problem)| (problem.code, severity, problem.detail))
        .collect()
}

#[track_caller]
fn one(found: &[(Code, Severity, String)], code: Code, severity: Severity, words: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (code, severity));
    assert!(found[0].2.contains(words), "{found:?}");
}

#[test]
fn what_is_particular_of_a_card_is_said() {
    let intent = fixture::intent();
    let owned = |seen: &mut Observed| {
        let file = "/etc/systemd/network/10-sriov.link sets the number of its VFs (2)";
        seen.adapters[0].vf_owners = vec![file.to_owned()];
    };
    let code = Code::VfsManagedElsewhere;
    one(
        &said(owned, &intent),
        code,
        Severity::Warning,
        "10-sriov.link",
    );
    let switchdev = |seen: &mut Observed| {
        seen.adapters[0].eswitch = Support::Supported(accelnet_model::EswitchMode::Switchdev);
    };
    let code = Code::EswitchNotSupported;
    one(
        &said(switchdev, &intent),
        code,
        Severity::Error,
        "mode switchdev",
    );
    let not_read = |seen: &mut Observed| seen.adapters[0].eswitch = Support::Unknown;
    one(
        &said(not_read, &intent),
        code,
        Severity::Error,
        "could not be read",
    );
    let old_ice = |seen: &mut Observed| {
        seen.adapters[0].driver = Some("ice".into());
        seen.adapters[0].driver_version = Some("5.15.0".into());
    };
    let code = Code::SwitchOverLoses;
    one(
        &said(old_ice, &intent),
        code,
        Severity::Warning,
        "ice (version 5.15.0)",
    );
    let small = |seen: &mut Observed| seen.adapters[0].filter_room = Support::Supported(2);
    let code = Code::ReachabilityNotOffloadable;
    one(&said(small, &intent), code, Severity::Warning, "room for 2");
}

#[test]
fn an_adapter_is_found_by_any_of_its_names_and_what_is_none_is_named() {
    let mut intent = fixture::intent();
    let long = "x".repeat(127);
    let renamed = |seen: &mut Observed| {
        let adapter = &mut seen.adapters[0];
        adapter.ifname = "pf0np0".parse().unwrap();
        adapter.altnames = ["pf0", &long].map(|name| name.parse().unwrap()).to_vec();
        seen.bridges[0].ports[0].ifname = "pf0np0".parse().unwrap();
    };
    assert_eq!(said(renamed, &intent), []);
    intent.adapters = vec![long.parse().unwrap()];
    assert_eq!(said(renamed, &intent), []);
    let missing = Code::AdapterNotFound;
    let gone: AdapterName = "y".repeat(40).parse().unwrap();
    intent.adapters = vec![gone];
    one(
        &said(renamed, &intent),
        missing,
        Severity::Error,
        "pf0np0 (also pf0, xxx",
    );
    intent.adapters = vec!["ib0".parse().unwrap()];
    let infiniband = |seen: &mut Observed| {
        seen.node.no_adapters = vec![accelnet_model::NoAdapter {
            name: "ib0".into(),
            what: "an InfiniBand interface of 0000:41:00.0".into(),
        }];
    };
    let words = "ib0 is no adapter but an InfiniBand interface";
    one(&said(infiniband, &intent), missing, Severity::Error, words);
}
