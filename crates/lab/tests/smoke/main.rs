//! The lab smoke test: real drivers, real libvirt, real guests; only the card's silicon is emulated.
//!
//! One lab serves all steps, for booting it is the dear part. A step's name is printed as it begins.
//! Run it with `make lab-test`.

mod itself;
mod rig;

#[test]
fn smoke() {
    let mut rig = rig::Rig::up(false);
    rig.step("status names everything", itself::status_names_everything);
    rig.step("commands pass through", itself::commands_pass_through);
    rig.step(
        "the node is what it should be",
        itself::the_node_is_what_it_should_be,
    );
    rig.step("probes lose nothing", itself::probes_lose_nothing);
    rig.step("cut and heal", itself::cut_and_heal);
    rig.step("kill and start", itself::kill_and_start);
}
