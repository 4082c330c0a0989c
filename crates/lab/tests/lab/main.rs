//! The lab: everything is real but the silicon of the card.
//!
//! Each test boots a lab of its own, one after the other. Where steps share one, each leaves it as it
//! found it unless its name says otherwise.
//!
//! | file | holds |
//! |---|---|
//! | [`itself`] | what the lab promises, whatever the product does |
//! | [`story`] | a VM goes to a VF and back: really, completely, and cleanly |
//! | [`reach`] | who reaches whom, before, during and after |
//! | [`refusals`] | VMs and policies that must not be accelerated, and why |
//! | [`supply`] | machines, adapters and VFs that cannot be used, and why |
//! | [`faults`] | killed servers, absent libvirt, nodes without power |
//! | [`intents`] | adapters by a rule, and bridges that accelnet makes |
//! | [`second_network`] | limits, queues, another intent, NICs that are added, a node's start |
//! | [`bonds`] | bonds of two adapters |
//! | [`beneath`] | what a VM on a VF stands on breaks: QEMU, card, driver, clock, disk |
//! | [`beside`] | how an accelerated VM is measured beside one that is not |
//! | [`crash`] | a daemon that ends at each step of an operation |
//! | [`crash_moves`] | VMs that are moved meanwhile |
//! | [`lossless`] | a VM that changes its path fifty times under every kind of traffic |
//! | [`connectivity`] | cables, guests that start anew, saves, shutdowns, an agent that dies |
//! | [`health`] | faults that are provoked: each opens and closes |
//! | [`ordinary`] | ordinary work, in which none opens |
//! | [`cluster`] | three nodes that are one cluster: what the lab gives it |
//! | [`joined`] | what the product makes of it |
//! | [`moving`] | VMs that are moved between them, and whose node dies |
//! | [`pacemaker`] | Pacemaker starts the VMs of a node that died |
//! | [`servers`] | several servers on an etcd, which go one after the other |
//! | [`travel`] | two nodes: addresses and VMs that move |
//! | [`many_vfs`] | a card with a hundred VFs that carries no frames |
//! | [`breakage`] | what breaks on a node, and what is said of it |
//! | [`policies`] | every form of policy on a port: path, reason and return |
//! | [`sandbox`] | what each right of the agent's unit is for |
//! | [`ansible`] | packaging/ansible, run against a node |
//! | [`packages`] | packages on a node, from the first command to their removal |
//! | [`guides`] | the command lines of README, tutorial and guides, typed |
//! | [`cases`] | definitions as users have them |
//! | [`documentation`] | the command lines of the reference's documentation, typed |

mod ansible;
mod beneath;
mod beside;
mod bonds;
mod breakage;
mod cases;
mod cluster;
mod connectivity;
mod crash;
mod crash_moves;
mod document;
mod documentation;
mod faults;
mod guides;
mod health;
mod intents;
mod itself;
mod joined;
mod lossless;
mod many_vfs;
mod moving;
mod ordinary;
mod pacemaker;
mod packages;
mod pages;
mod policies;
mod reach;
mod refusals;
mod rig;
mod sandbox;
mod second_network;
mod servers;
mod story;
mod supply;
mod travel;
mod unannounced;

use accelnet_lab::{
    image::Variant,
    lab::{Cluster, Options, SecondAdapter, Store},
};
use crash_moves::Who;
use rig::{Rig, options};

/// A VM's whole life with acceleration, and what can go wrong in it.
#[test]
fn smoke() {
    let mut rig = Rig::up(Options {
        second_adapter: SecondAdapter::NoAcs,
        ..options()
    });
    rig.step("status names everything", itself::status_names_everything);
    rig.step("commands pass through", itself::commands_pass_through);
    rig.step(
        "the node is what it should be",
        itself::the_node_is_what_it_should_be,
    );
    rig.step(
        "a kernel that starts is told from one that does not",
        itself::a_kernel_that_starts_is_told_from_one_that_does_not,
    );
    rig.step("probes lose nothing", itself::probes_lose_nothing);
    rig.step("cut and heal", itself::cut_and_heal);

    rig.step("not enabled yet", refusals::not_enabled_yet);
    rig.step("prerequisites are met", story::prerequisites_are_met);
    rig.step("adapters without SR-IOV", supply::adapters_that_cannot);
    rig.step("VFs wait for the link", story::vfs_wait_for_the_link);
    rig.step("everybody reaches everybody", reach::everybody);
    rig.step("VFs are made", story::vfs_are_made);
    rig.step("odd VMs are refused", refusals::odd_vms);
    rig.step("a level that the card lacks", refusals::level);
    rig.step("policy on the port", refusals::policy_on_the_port);
    rig.step("what does not fit a VF", refusals::what_does_not_fit);
    rig.step("VFs that others use", supply::vfs_of_others);
    rig.step("a guest without failover", refusals::guest_without_failover);
    rig.step(
        "a VF that cannot be plugged",
        faults::a_vf_cannot_be_plugged,
    );
    rig.step("a guest that keeps it", faults::a_guest_does_not_let_go);
    rig.step(
        "there and back, reached all the time",
        reach::while_switching,
    );
    rig.step("another VF the next time", story::another_vf_the_next_time);
    rig.step("killed half way", crash::in_short);
    rig.step("a VF for a VM", story::a_vf_for_a_vm);
    rig.step("everybody reaches everybody, one on a VF", reach::everybody);
    rig.step("a policy that comes later", faults::policy_later);
    rig.step("the server is killed", faults::server_killed);
    rig.step("the server does not run", faults::server_stopped);
    rig.step("libvirt goes and comes", faults::libvirt_restarted);
    rig.step("the node loses its power", faults::node_rebooted);
    rig.step("everybody reaches everybody, after it", reach::everybody);
    rig.step("the VF comes back clean", story::the_vf_comes_back_clean);
    rig.step("everybody reaches everybody, in the end", reach::everybody);
}

/// The reference's documentation, line by line.
#[test]
fn documentation() {
    let mut rig = Rig::up(Options {
        guests: 0,
        vfs: 2,
        ..options()
    });
    rig.step("its machines", documentation::machines);
    rig.step("set up", documentation::set_up);
    rig.step("one VM", documentation::one_vm);
    rig.step("several VMs", documentation::several_vms);
    rig.step("what is shown", documentation::shown);
    rig.step("taken back", documentation::taken_back);
}

/// Two adapters, two networks, and both adapters for one.
#[test]
fn networks() {
    let mut rig = Rig::up(Options {
        guests: 3,
        second_adapter: SecondAdapter::Plain,
        ..options()
    });
    rig.step("what the node offers", intents::what_the_node_offers);
    rig.step("rules choose adapters", intents::rules_choose_adapters);
    rig.step(
        "no bridge is made where somebody is",
        intents::no_bridge_is_made_where_somebody_is,
    );
    rig.step("a bridge is made", intents::a_bridge_is_made_and_left);
    rig.step("limits and queues", second_network::limits_and_queues);
    rig.step("to the other network", second_network::to_the_other_network);
    rig.step("NICs are added", second_network::nics_are_added);
    rig.step("and back", second_network::and_back);
    rig.step(
        "after a start of the node",
        second_network::after_a_start_of_the_node,
    );
    rig.step("both adapters are free", bonds::both_adapters_are_free);
    rig.step("refused by name", bonds::refused_by_name);
    rig.step("an active-backup bond", bonds::an_active_backup_bond);
    rig.step(
        "a cut cable moves the VMs",
        bonds::a_cut_cable_moves_the_vms,
    );
    rig.step(
        "the other member is isolated",
        bonds::the_other_member_is_isolated,
    );
    rig.step(
        "the agent dies while the bond fails over",
        bonds::the_agent_dies_while_it_fails_over,
    );
    rig.step("the other member is set down", bonds::and_back);
}

/// What happens to a VM on a VF, beside one that has none.
#[test]
fn connectivity() {
    let mut rig = Rig::up(options());
    rig.step("one of each", connectivity::one_of_each);
    rig.step(
        "the card gives nothing back",
        connectivity::the_card_gives_nothing_back,
    );
    rig.step("odd definitions", cases::odd_definitions);
    rig.step("as virt-install makes it", cases::as_virt_install_makes_it);
    rig.step("odd memory", cases::memory_that_is_there);
    rig.step("odd pairs", cases::pairs_of_others);
    rig.step("a pool beside", cases::a_pool_beside);
    rig.step("odd owners", cases::a_vf_of_a_vm_that_is_off);
    rig.step(
        "unplugged right after the plug",
        cases::unplugged_right_after_the_plug,
    );
    rig.step("a cable comes out", connectivity::a_cable_comes_out);
    rig.step(
        "the uplink is set down",
        connectivity::the_uplink_is_set_down,
    );
    rig.step("forged addresses", connectivity::forged_addresses);
    rig.step(
        "the driver goes and comes",
        connectivity::the_driver_goes_and_comes,
    );
    rig.step("guests start anew", connectivity::guests_start_anew);
    rig.step("saves are ended", connectivity::saves_are_ended);
    rig.step("a parked VM is saved", connectivity::a_parked_vm_is_saved);
    rig.step(
        "a discipline of somebody else",
        connectivity::a_discipline_of_somebody_else,
    );
    rig.step(
        "killed while frames wait",
        connectivity::killed_while_frames_wait,
    );
    rig.step("a stray VF", connectivity::a_stray_vf);
    rig.step("the host shuts down", connectivity::the_host_shuts_down);
}

/// The daemon ends, or is refused, at each step.
#[test]
fn crash() {
    let mut rig = Rig::up(options());
    rig.step("VFs are made", crash::the_cluster);
    rig.step("the host starts", crash::the_start_of_the_host);
    rig.step("a VM goes to its VF and back", crash::a_vm);
    rig.step("what befalls a VM on its VF", crash::what_befalls_it);
}

/// Fifty switches (`ACCELNET_LAB_SWITCHES`) under every kind of traffic: each lost packet is given its step.
#[test]
fn lossless() {
    let mut rig = Rig::up(options());
    rig.step("one of each", connectivity::one_of_each);
    rig.step("many switches", lossless::many_switches);
}

/// What a VM on a VF stands on breaks.
#[test]
fn beneath() {
    let mut rig = Rig::up(options());
    rig.step("one of each", connectivity::one_of_each);
    rig.step("QEMU is killed", beneath::qemu_is_killed);
    rig.step("the clock is set", beneath::the_clock_is_set);
    rig.step("the disk is full", beneath::the_disk_is_full);
    rig.step(
        "the daemon dies again and again",
        beneath::the_daemon_dies_again_and_again,
    );
    rig.step(
        "what makes VFs at a start is killed",
        beneath::what_makes_vfs_is_killed,
    );
    rig.step("the driver is reloaded", beneath::the_driver_is_reloaded);
    rig.step("the card is reset", beneath::the_card_is_reset);
}

/// Faults that are provoked.
#[test]
fn faults_told() {
    let mut rig = Rig::up(options());
    rig.step("one of each", connectivity::one_of_each);
    rig.step("faults", health::faults);
}

/// An hour of ordinary work (`ACCELNET_LAB_MINUTES`): no false alarm.
#[test]
fn ordinary_work() {
    let mut rig = Rig::up(options());
    rig.step("one of each", connectivity::one_of_each);
    rig.step("ordinary work", ordinary::work);
}

/// README, tutorial and guides, line by line.
#[test]
fn guides() {
    let mut rig = Rig::up(options());
    rig.step("the tutorial", guides::tutorial);
    rig.step("intents and levels", guides::intents_and_levels);
    rig.step("README and a host of one's own", guides::readme_and_host);
    rig.step("VMs", guides::vms);
    rig.step("the page of the cmdlets", documentation::page);
}

/// Packages on a host that has never seen accelnet, and what is left of them.
#[test]
fn packages() {
    let mut rig = Rig::up(options());
    rig.step("the guide is whole", packages::the_guide_is_whole);
    rig.step("without the product", packages::without_the_product);
    rig.step("from packages to the first VM", packages::the_first_vm);
    rig.step("configured", packages::configured);
    rig.step("upgraded under traffic", packages::upgraded);
    rig.step("not removed under a VM", packages::not_removed);
    rig.step("given back", packages::given_back);
    rig.step("removed", packages::removed);
    rig.step("Python on the node", ansible::python_on_the_node);
    rig.step("by Ansible", ansible::a_host);
}

/// A cluster of two nodes, from packages and by Ansible.
#[test]
fn ansible_cluster() {
    let mut rig = Rig::up(Options {
        nodes: 2,
        ..options()
    });
    rig.step("a cluster by Ansible", ansible::a_cluster);
}

/// Policy on a port, in whatever form.
#[test]
fn policies() {
    let mut rig = Rig::up(options());
    rig.step("one of each", policies::one_of_each);
    rig.step("packet filters", policies::packet_filters);
    rig.step("traffic control", policies::traffic_control);
    rig.step("ports", policies::ports);
    rig.step(
        "what does not concern it",
        policies::what_does_not_concern_it,
    );
    rig.step("translated", policies::translated);
    rig.step("a VLAN of its own", policies::a_vlan_of_its_own);
    rig.step("waived", policies::waived);
}

/// Two nodes: what is on one now and on the other later.
#[test]
fn travel() {
    let mut rig = Rig::up(Options {
        nodes: 2,
        guests: 3,
        ..options()
    });
    rig.step("acceleration on both", travel::acceleration_on_both);
    rig.step(
        "an address moves to the wire",
        travel::an_address_moves_to_the_wire,
    );
    rig.step("a VM leaves, unannounced", travel::a_vm_leaves);
    rig.step("and comes back to its VF", travel::and_comes_back);
}

/// Three nodes, one cluster: with a guest each they fit a small machine.
fn three_nodes(store: Store, servers: u8) -> Rig {
    Rig::up(Options {
        nodes: 3,
        guests: 3,
        memory_mib: 1024,
        cluster: Some(Cluster { store, servers }),
        ..options()
    })
}

/// A cluster, in short: commands from any node, a server that dies, VMs that move, a node that dies.
#[test]
fn cluster() {
    let mut rig = three_nodes(Store::Sqlite, 1);
    rig.step("each node speaks for all", joined::each_node_speaks_for_all);
    rig.step(
        "acceleration, from any node",
        joined::acceleration_from_any_node,
    );
    rig.step("the server is killed", joined::the_server_is_killed);
    rig.step("a VM is moved by a command", moving::by_a_command);
    rig.step("others move it on its VF", unannounced::by_other_tools);
    rig.step("they are told that it cannot come", unannounced::refused);
    rig.step("and end it half way", unannounced::half_way);
    rig.step("a node dies", moving::a_node_dies);
}

/// Agents and server die at each step of a move.
#[test]
fn crash_of_moves() {
    let mut rig = three_nodes(Store::Sqlite, 1);
    rig.step("each node speaks for all", joined::each_node_speaks_for_all);
    rig.step(
        "acceleration, from any node",
        joined::acceleration_from_any_node,
    );
    for (name, who) in [
        ("the agent that it leaves", Who::Leaves),
        ("the agent that it comes to", Who::ComesTo),
        ("the server", Who::Server),
    ] {
        rig.step(name, |rig| crash_moves::at_each_step(rig, who));
    }
}

/// The rest of it.
#[test]
fn cluster_at_length() {
    let mut rig = three_nodes(Store::Sqlite, 1);
    rig.step("nodes know each other", cluster::nodes_know_each_other);
    rig.step(
        "status tells the networks",
        cluster::status_tells_the_networks,
    );
    rig.step(
        "the management network is cut",
        cluster::the_management_network_is_cut,
    );
    rig.step("the data network is cut", cluster::the_data_network_is_cut);
    rig.step("a node is paused", cluster::a_node_is_paused);
    rig.step(
        "a plain VM moves, and comes back",
        cluster::a_plain_vm_moves,
    );
    rig.step("each node speaks for all", joined::each_node_speaks_for_all);
    rig.step(
        "acceleration, from any node",
        joined::acceleration_from_any_node,
    );
    rig.step(
        "the documentation on each node",
        documentation::on_each_node,
    );
    rig.step("a node is cut off from it", joined::a_node_is_cut_off);
    rig.step("a node is drained", joined::a_node_is_drained);
    rig.step("a node drains itself", joined::a_node_drains_itself);
    rig.step("its VM goes elsewhere", joined::its_vm_goes_elsewhere);
    rig.step("it cannot be moved", moving::in_vain);
    rig.step("its move is taken back", moving::taken_back);
    rig.step("it is restored elsewhere", moving::restored_elsewhere);
    rig.step("it moves by postcopy", unannounced::by_postcopy);
    rig.step("the reference's pages are whole", pages::are_whole);
    rig.step("who may do what", pages::access);
    rig.step("nodes and servers", pages::nodes);
    rig.step("what is sent to others", pages::support_bundle);
    rig.step("moved, and put back from a backup", pages::cluster);
    rig.step(
        "a node is removed, and joins again",
        joined::a_node_is_removed,
    );
}

/// A server and a member of etcd on each of three nodes.
#[test]
fn several_servers() {
    let mut rig = three_nodes(Store::Etcd, 3);
    rig.step("each node speaks for all", joined::each_node_speaks_for_all);
    rig.step(
        "acceleration, from any node",
        joined::acceleration_from_any_node,
    );
    rig.step("the active server goes", servers::the_active_one_goes);
    rig.step("etcd loses its majority", servers::etcd_without_majority);
    rig.step("its node loses its power", servers::its_node_loses_power);
    rig.step("one is gone for good", servers::one_is_gone_for_good);
}

/// Three nodes, each with one VF: what Pacemaker does with what accelnet tells it.
#[test]
fn pacemaker() {
    let mut rig = Rig::up(Options {
        nodes: 3,
        vfs: 1,
        memory_mib: 1536,
        variant: Variant::Pacemaker,
        cluster: Some(Cluster {
            store: Store::Sqlite,
            servers: 1,
        }),
        ..options()
    });
    let power = pacemaker::Power::of(&rig);
    rig.step("acceleration with a reserve", pacemaker::with_a_reserve);
    rig.step("Pacemaker on the nodes", pacemaker::on_the_nodes);
    rig.step("fencing", |rig| power.fencing(rig));
    rig.step("it is told of the VFs", pacemaker::it_is_told);
    rig.step("a VM is handed over", pacemaker::a_vm_is_handed_over);
    rig.step("it is stopped and started", pacemaker::stopped_and_started);
    rig.step("its node dies", |rig| pacemaker::its_node_dies(rig, &power));
    rig.step("the node is back", pacemaker::the_node_is_back);
    rig.step(
        "more nodes down than planned",
        pacemaker::beyond_the_reserve,
    );
    rig.step("the guide is whole", pacemaker::the_guide_is_whole);
}

/// The agent's unit with one right less at a time.
#[test]
fn sandbox() {
    let mut rig = Rig::up(Options {
        guests: 1,
        second_adapter: SecondAdapter::NoAcs,
        ..options()
    });
    rig.step("all rights", sandbox::all_is_there);
    rig.step("one right less", sandbox::one_is_missing);
    rig.step("all rights again", sandbox::all_is_there_again);
}

/// A machine that cannot assign devices.
#[test]
fn without_iommu() {
    let mut rig = Rig::up(Options {
        guests: 0,
        iommu: false,
        ..options()
    });
    rig.step("refused", supply::no_iommu);
}

/// A machine with two threads a core. No guest runs on it: docs/reference/lab.md says why.
#[test]
fn with_smt() {
    let mut rig = Rig::up(Options {
        guests: 0,
        smt: true,
        ..options()
    });
    rig.step("enabling fails", breakage::enabling_fails);
    rig.step(
        "what does not go together",
        refusals::what_does_not_go_together,
    );
    rig.step("more vCPUs are needed", refusals::more_vcpus_with_smt);
    rig.step("what the node lacks", breakage::what_the_node_lacks);
    rig.step("an unclean VF", breakage::a_vf_does_not_come_clean);
    rig.step("somebody undoes it", breakage::somebody_undoes_it);
    rig.step("a second agent", breakage::a_second_agent);
    rig.step("nothing can be written", breakage::nothing_can_be_written);
    rig.step("definitions", breakage::definitions);
    rig.step("more than fits", breakage::more_than_fits);
    rig.step("out of step", breakage::out_of_step);
    rig.step("a hundred VFs: the card comes", many_vfs::the_card_comes);
    rig.step("a hundred VFs are bound", many_vfs::all_are_bound);
    rig.step(
        "a hundred VFs: what stays in the card",
        many_vfs::what_stays_in_the_card,
    );
    rig.step(
        "a hundred VFs: what others do",
        many_vfs::what_others_do_is_undone,
    );
    rig.step("a hundred VFs, killed", many_vfs::killed_on_the_way);
    rig.step("a hundred VFs are pulled", many_vfs::the_card_is_pulled);
    rig.step("a hundred VFs: the card goes", many_vfs::the_card_goes);
}
