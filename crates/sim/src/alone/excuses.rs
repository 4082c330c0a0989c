//! What nobody can be held to: guests are excused while something happens to them that an agent which is dead, or whose
//! calls fail, cannot help.

use std::time::Duration;

use super::Alone;
use crate::node::VmId;

/// After trouble the agent has seen what there is to see within this.
const WELL_AFTER: Duration = Duration::from_secs(4);
/// A VM that has just started is known to the agent within this.
const NEWS_TRAVEL: Duration = Duration::from_secs(4);
/// A save or a migration, and what follows it.
const NEED_LASTS: Duration = Duration::from_secs(20);

impl Alone {
    /// The agent does at once whatever a guest needs: nobody can be held to what an agent does not do that is dead, or
    /// whose calls fail.
    pub(super) fn is_well(&self) -> bool {
        let calls = self.scene.dangers().call_fails == 0;
        calls && self.node.now() >= self.scene.last_trouble() + WELL_AFTER
    }

    /// A guest whose VF has no link takes nothing by its tap until the VF is unplugged
    /// (drivers/net/net_failover.c), and nobody can do that but an agent that lives, by a libvirt that answers.
    pub(super) fn excuse_what_nobody_can(&mut self) {
        if self.node.agent.is_none() || !self.libvirt {
            self.scene.trouble();
        }
        self.excuse_those_in_need();
        self.excuse_news();
        if self.link || self.is_well() {
            return;
        }
        self.node.host.with(|machine| {
            for guest in machine.guests.iter_mut().filter(|guest| !guest.vf_link) {
                guest.excused = true;
            }
        });
    }

    /// VMs that need something of an agent that is not well, until it has been well for a while. VMs that are on their
    /// VFs reach a new one when the agent has put its address into the PF's filter.
    fn excuse_news(&mut self) {
        let (now, well) = (self.node.now(), self.is_well());
        let host = self.node.host.clone();
        self.news.retain(|vm, since| {
            if !well {
                *since = now;
            }
            host.with(|machine| {
                let mut guests = machine.guests.iter_mut();
                let guest = guests.find(|guest| guest.mac == vm.mac());
                guest.map(|guest| guest.excused = true).is_some() && now < *since + NEWS_TRAVEL
            })
        });
    }

    /// Something happens to it that it gets over only if the agent does something at once, and goes on for a while.
    pub(super) fn needs_the_agent(&mut self, vm: VmId) {
        self.in_need.insert(vm, self.node.now() + NEED_LASTS);
    }

    fn excuse_those_in_need(&mut self) {
        let now = self.node.now();
        self.in_need.retain(|_, until| now < *until);
        let well = self.is_well() && self.link;
        let in_need = self.in_need.keys().copied();
        let helpless: Vec<VmId> = in_need
            .filter(|vm| !well || !self.node.is_readable(*vm))
            .collect();
        self.news.extend(helpless.into_iter().map(|vm| (vm, now)));
    }
}
