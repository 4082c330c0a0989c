//! Definitions as users have them (`crates/lab/tests/cases`, which the lab starts too). Each stands for a kind.

use accelnet_model::PolicyKind;

use super::*;
use crate::{HypervisorError, libvirt::nic::with_teaming};

macro_rules! case {
    ($name:literal) => {
        include_str!(concat!("../../../../lab/tests/cases/", $name, ".xml"))
    };
}

fn read(live: &str, config: &str, state: VmState) -> VmFacts {
    let vm = Named {
        uuid: Uuid::from_u128(1),
        name: "vm".into(),
    };
    facts(&vm, live, Some(config), state).unwrap()
}

fn off(config: &str) -> VmFacts {
    read(config, config, VmState::Off)
}

#[test]
fn each_can_be_read() {
    for (case, nics) in [
        (case!("c01-metadata-prefix"), 1),
        (case!("c02-hugepages-locked"), 1),
        (case!("c03-virtio-non-transitional"), 1),
        (case!("c04-mtu-9000"), 1),
        (case!("c06-kernel-doc-link-down"), 1),
        (case!("c07-hostdev-pool-first"), 2),
        (case!("c09-ethernet-unmanaged-tap"), 1),
        (case!("c10a-name-blanks"), 1),
        (case!("c10b-name-dash-comma"), 1),
        (case!("c10c-name-long-unicode"), 1),
        (case!("c11-virtio-mem"), 1),
        (case!("c14-off-vm-owns-vf"), 1),
    ] {
        let vm = off(case);
        assert_eq!(vm.nics.len(), nics, "{case}");
        assert!(vm.has_pcie() && vm.vcpus == 4, "{case}");
        assert!(vm.nics.iter().all(NicFacts::is_virtio), "{case}");
        assert_eq!(vm.memory_unpinnable, None, "{case}");
    }
}

#[test]
fn what_each_is_about_is_seen() {
    assert_eq!(off(case!("c02-hugepages-locked")).memory_held_mib, 64);
    let nic = &off(case!("c03-virtio-non-transitional")).nics[0];
    assert_eq!((nic.queues_live, nic.queues_can_be_raised), (2, true));
    assert_eq!(off(case!("c04-mtu-9000")).nics[0].mtu, Some(9000));
    assert_eq!(off(case!("c11-virtio-mem")).memory_mib, 64 + 64);
    let promised = off(case!("c14-off-vm-owns-vf")).hostdevs_config;
    assert_eq!(promised, ["0000:01:10.0".parse().unwrap()]);
}

#[test]
fn a_pair_that_its_user_set_up_is_one() {
    let case = case!("c06-kernel-doc-link-down");
    let vm = read(case, case, VmState::Running);
    let (nic, device) = (&vm.nics[0], &vm.hostdevs[0]);
    assert_eq!((vm.nics.len(), vm.hostdevs.len()), (1, 1));
    assert!(!nic.link_up && nic.policy.is_empty());
    assert_eq!(device.mac, Some(nic.mac));
    assert_eq!(device.teaming_with, nic.alias);
    assert_eq!(vm.hostdevs_config, [device.pci]);
    assert!(!device.is_ours());
}

/// The live definition has the pool's VFs as host devices.
#[test]
fn a_pool_s_nic_is_never_taken_for_the_half_beside_it() {
    let case = case!("c07-hostdev-pool-first");
    let vf = |function: u8| {
        format!(
            "<source><address type='pci' domain='0x0000' bus='0x01' slot='0x11' function='0x{function}'/></source>"
        )
    };
    let network = "<source network='sriov-pool'/>";
    let live = case
        .replacen(network, &vf(2), 1)
        .replacen(network, &vf(4), 1)
        .replace(
            "<interface type='network'>",
            "<interface type='hostdev' managed='yes'>",
        );
    let vm = read(&live, case, VmState::Running);
    assert_eq!((vm.nics.len(), vm.hostdevs.len()), (1, 2));
    assert_eq!(vm.nics_staged, [], "both are there, as VFs");
    let nic = &vm.nics[0];
    assert_eq!(nic.bridge.as_ref().unwrap().as_str(), "br0");
    assert!(nic.standby_live && nic.standby_config);
    assert_eq!(nic.alias.as_deref(), Some("ua-standby0"));
    assert_eq!(
        nic_alias(&live, nic.mac).unwrap().as_deref(),
        Some("ua-standby0")
    );
    assert_eq!(with_teaming(case, nic.mac).unwrap(), None);
    let pair = vm
        .hostdevs
        .iter()
        .find(|device| device.mac == Some(nic.mac));
    assert_eq!(pair.unwrap().teaming_with, nic.alias);
    // One that really comes with the next start is told.
    let more = case.replacen(
        "<memballoon",
        "<interface type='bridge'><mac address='00:00:5e:00:53:27'/><source bridge='br0'/></interface><memballoon",
        1,
    );
    let staged = read(&live, &more, VmState::Running).nics_staged;
    assert_eq!((staged.len(), staged[0].mac.0[5]), (1, 0x27));
}

#[test]
fn a_tap_that_somebody_else_made_is_where_the_kernel_has_it() {
    let case = case!("c09-ethernet-unmanaged-tap");
    let nic = &read(case, case, VmState::Running).nics[0];
    assert_eq!(nic.tap.as_ref().unwrap().as_str(), "tap-c09");
    // There is no such interface here.
    assert_eq!((&nic.bridge, &nic.direct), (&None, &None));
}

#[test]
fn virtio_mem_that_the_guest_was_promised_counts_before_it_takes_it() {
    let memory = |plugged: u32, balloon: u32| {
        let case = case!("c11-virtio-mem");
        let now =
            format!("<requested unit='MiB'>64</requested><current unit='MiB'>{plugged}</current>");
        let live = case.replacen("<requested unit='MiB'>64</requested>", &now, 1);
        let from = "<currentMemory unit='MiB'>320</currentMemory>";
        let to = format!("<currentMemory unit='MiB'>{balloon}</currentMemory>");
        let vm = read(&live.replacen(from, &to, 1), case, VmState::Running);
        (vm.memory_mib, vm.memory_unpinnable.is_some())
    };
    assert_eq!(memory(0, 64), (128, false), "its kernel has not begun");
    assert_eq!(memory(64, 128), (128, false));
    assert_eq!(memory(128, 192), (192, false), "it gives back later");
    assert_eq!(memory(64, 96), (128, true), "that is a balloon");
}

/// The shapes that must go on being told apart.
#[test]
fn the_regression_pack() {
    let base = case!("c01-metadata-prefix");
    let with = |from: &str, to: &str| {
        assert!(base.contains(from), "{from}");
        off(&base.replacen(from, to, 1))
    };
    let machine = |machine: &str| with("machine='q35'", &format!("machine='{machine}'"));
    assert!(!machine("pc").has_pcie() && !machine("pc-i440fx-9.2").has_pcie());
    assert!(machine("virt").has_pcie() && machine("virt-10.0").has_pcie());
    for kind in ["sev", "sev-snp", "tdx"] {
        let vm = with(
            "<devices>",
            &format!("<launchSecurity type='{kind}'/><devices>"),
        );
        assert!(vm.memory_unpinnable.unwrap().contains(kind));
    }
    assert_eq!(
        with("<vcpu>4</vcpu>", "<vcpu current='4'>8</vcpu>").vcpus,
        4
    );
    let policy = |element: &str| {
        with("<model type='virtio'/>", element).nics[0].policy[0]
            .kind
            .clone()
    };
    let filter =
        "<filterref filter='clean-traffic'><parameter name='IP' value='192.0.2.18'/></filterref>";
    assert_eq!(policy(filter), PolicyKind::NwFilter);
    assert_eq!(policy("<port isolated='yes'/>"), PolicyKind::Isolation);
    let inbound = "<bandwidth><inbound average='125000' peak='250000' burst='1024'/></bandwidth>";
    let expected = PolicyKind::Bandwidth {
        outbound_mbps: None,
        inbound_mbps: Some(1000),
    };
    assert_eq!(policy(inbound), expected);
    // Others' NICs beside a good one.
    let nic = |number: u8, kind: &str, rest: &str| {
        format!(
            "<interface type='{kind}'><mac address='00:00:5e:00:53:a{number}'/>{rest}<model type='virtio'/></interface>"
        )
    };
    let others = [
        nic(1, "direct", "<source dev='eth5' mode='bridge'/>"),
        nic(
            2,
            "bridge",
            "<source bridge='ovs0'/><virtualport type='openvswitch'/>",
        ),
        nic(
            3,
            "vhostuser",
            "<source type='unix' path='/run/x.sock' mode='server'/>",
        ),
        nic(4, "user", ""),
        nic(5, "vdpa", "<source dev='/dev/vhost-vdpa-0'/>"),
    ]
    .concat();
    let more = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>\
                <watchdog model='itco' action='reset'/><rng model='virtio'><backend model='random'>/dev/urandom\
                </backend></rng>";
    let vm = with("<memballoon", &format!("{others}{more}<memballoon"));
    let places: Vec<_> = vm
        .nics
        .iter()
        .map(|nic| nic.bridge.as_ref().map_or("", IfName::as_str))
        .collect();
    assert_eq!(places, ["br0", "", "ovs0", "", "", ""]);
    assert_eq!(vm.nics[1].direct.as_ref().unwrap().as_str(), "eth5");
    let on_br0: String = (1..7u8)
        .map(|number| {
            let bridge = if number < 3 { "br0" } else { "br7" };
            nic(number, "bridge", &format!("<source bridge='{bridge}'/>"))
        })
        .collect();
    let vm = with("<memballoon", &format!("{on_br0}<memballoon"));
    let its = vm
        .nics
        .iter()
        .filter(|nic| nic.bridge == "br0".parse().ok());
    assert_eq!((vm.nics.len(), its.count()), (7, 3));
    let ports: String = (3..15)
        .map(|index| format!("<controller type='pci' index='{index}' model='pcie-root-port'/>"))
        .collect();
    let vm = with("<interface", &format!("{ports}<interface"));
    assert_eq!(vm.free_root_ports_config, 14);
}

/// Written by Terraform's templates in decimal; libvirt writes it back in hexadecimal.
#[test]
fn a_bus_is_the_bus_that_libvirt_means() {
    let device = |bus: &str| {
        let case = case!("c14-off-vm-owns-vf");
        let odd = case.replacen("bus='0x01'", &format!("bus='{bus}'"), 1);
        let vm = Named {
            uuid: Uuid::from_u128(1),
            name: "vm".into(),
        };
        let facts = facts(&vm, &odd, Some(&odd), VmState::Off)?;
        Ok::<_, HypervisorError>(facts.hostdevs_config[0].to_string())
    };
    assert_eq!(device("0x21").unwrap(), "0000:21:10.0");
    assert_eq!(device("33").unwrap(), "0000:21:10.0");
    assert!(device("0x100").is_err() && device("x").is_err());
}
