//! The lab smoke test: real drivers, real libvirt, real guests; only the card's silicon is emulated.
//!
//! One lab serves all steps, for booting it is the dear part. A step's name is printed as it begins.
//! Run it with `make lab-test`.
//!
//! | module | steps about |
//! |---|---|
//! | [`itself`] | what the lab promises, whatever the product does |
//! | [`story`] | a VM goes to a VF and back: really, completely, and cleanly |
//! | [`reach`] | who reaches whom, before, during and after |
//! | [`refusals`] | what must not be accelerated, and why |
//! | [`faults`] | killed servers, absent libvirt, nodes without power |

mod faults;
mod itself;
mod reach;
mod refusals;
mod rig;
mod story;

#[test]
fn smoke() {
    let mut rig = rig::Rig::up();
    rig.step("status names everything", itself::status_names_everything);
    rig.step("commands pass through", itself::commands_pass_through);
    rig.step(
        "the node is what it should be",
        itself::the_node_is_what_it_should_be,
    );
    rig.step("probes lose nothing", itself::probes_lose_nothing);
    rig.step("cut and heal", itself::cut_and_heal);

    rig.step("not enabled yet", refusals::not_enabled_yet);
    rig.step("prerequisites are met", story::prerequisites_are_met);
    rig.step("VFs wait for the link", story::vfs_wait_for_the_link);
    rig.step("everybody reaches everybody", reach::everybody);
    rig.step("VFs are made", story::vfs_are_made);
    rig.step("odd VMs are refused", refusals::odd_vms);
    rig.step("a level that the card lacks", refusals::level);
    rig.step("policy on the port", refusals::policy_on_the_port);
    rig.step(
        "there and back, reached all the time",
        reach::while_switching,
    );
    rig.step("another VF the next time", story::another_vf_the_next_time);
    rig.step("a VF for a VM", story::a_vf_for_a_vm);
    rig.step("everybody reaches everybody, one on a VF", reach::everybody);
    rig.step("a policy that comes later", faults::policy_later);
    rig.step("the server is killed", faults::server_killed);
    rig.step("libvirt goes and comes", faults::libvirt_restarted);
    rig.step("the node loses its power", faults::node_rebooted);
    rig.step("everybody reaches everybody, after it", reach::everybody);
    rig.step("the VF comes back clean", story::the_vf_comes_back_clean);
    rig.step("everybody reaches everybody, in the end", reach::everybody);
}
