//! What was counted of a VM's packets: asked of its node when somebody wants to know, and kept nowhere.

use std::time::Duration;

use accelnet_api::{NicTraffic, Vm};
use accelnet_model::{Code, Counted, MacAddr, NicCounted, PciAddress, Problem};
use tokio::time::timeout;

use crate::Server;

/// A node has so long to answer. An agent of a version that does not know the question gives none.
const LIMIT: Duration = Duration::from_secs(6);

impl Server {
    /// The VM with what was counted of its NICs.
    pub(crate) async fn with_traffic(&self, mut vm: Vm) -> Vm {
        let counted = self.counted(&vm).await;
        vm.traffic = vm
            .nics
            .iter()
            .map(|nic| {
                let (since, switches) = self.shared.health.path_of(vm.uuid, nic.mac);
                let (software, vf) = counts(&counted, nic.mac, nic.vf);
                let mut known = counted.iter().flatten();
                let its = known.find(|its| its.mac == nic.mac && its.pci == nic.vf);
                NicTraffic {
                    mac: nic.mac,
                    path: nic.path,
                    since,
                    switches_last_hour: Some(switches),
                    vf,
                    software,
                    interrupts: its.and_then(|its| its.interrupts),
                }
            })
            .collect();
        vm
    }

    /// What its node has counted, or in words why that is not known.
    pub(crate) async fn counted(&self, vm: &Vm) -> Result<Vec<NicCounted>, String> {
        let counted = self.ask_for_counters(vm).await;
        counted.map_err(|problem| in_words(&problem))
    }

    async fn ask_for_counters(&self, vm: &Vm) -> Result<Vec<NicCounted>, Problem> {
        let Some(node) = &vm.node else {
            let text = "No node has the VM.";
            return Err(Problem::new(Code::VmNotFound, text));
        };
        let asked = timeout(LIMIT, self.shared.nodes.traffic(node, vm.uuid));
        asked.await.unwrap_or_else(|_| {
            let limit = LIMIT.as_secs();
            let text = format!("Node '{node}' gave no answer within {limit} s.");
            Err(Problem::new(Code::AgentUnreachable, text))
        })
    }
}

fn in_words(problem: &Problem) -> String {
    let words = problem.detail.trim_end_matches('.');
    let mut letters = words.chars();
    let first = letters.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(letters).collect()
}

/// What was counted by tap and VF of one NIC, or why that is not known. Of a VF that it has no more, or not yet,
/// the counters would be another's.
fn counts(
    counted: &Result<Vec<NicCounted>, String>,
    mac: MacAddr,
    vf: Option<PciAddress>,
) -> (Option<Counted>, Option<Counted>) {
    let not_seen = |because: &str| Counted::NotSeen {
        because: because.to_owned(),
    };
    let nics = match counted {
        Ok(nics) => nics,
        Err(because) => {
            return (
                Some(not_seen(because)),
                vf.is_some().then(|| not_seen(because)),
            );
        }
    };
    match nics.iter().find(|nic| nic.mac == mac) {
        None => {
            let because = "its node does not see it at the moment";
            (
                Some(not_seen(because)),
                vf.is_some().then(|| not_seen(because)),
            )
        }
        Some(nic) if nic.pci == vf => (nic.software.clone(), nic.vf.clone()),
        Some(nic) => {
            let because = "it changes its path at the moment";
            (
                nic.software.clone(),
                vf.is_some().then(|| not_seen(because)),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use accelnet_model::Counters;

    use super::*;

    #[test]
    fn what_nobody_answered_is_not_seen_and_another_vf_s_counters_are_not_the_nic_s() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let vf = |text: &str| Some(text.parse().unwrap());
        let nic = NicCounted {
            vm: uuid::Uuid::nil(),
            mac,
            software: Some(Counted::Counted(Counters::default())),
            vf: Some(Counted::Counted(Counters::default())),
            pci: vf("0000:01:10.0"),
            interrupts: None,
        };
        let is_counted = |counted: &Option<Counted>| matches!(counted, Some(Counted::Counted(_)));
        let is_unseen =
            |counted: &Option<Counted>| matches!(counted, Some(Counted::NotSeen { .. }));
        let known = Ok(vec![nic]);
        let (software, by_vf) = counts(&known, mac, vf("0000:01:10.0"));
        assert!(is_counted(&software) && is_counted(&by_vf));
        let (software, by_vf) = counts(&known, mac, vf("0000:01:10.2"));
        assert!(is_counted(&software) && is_unseen(&by_vf));
        assert_eq!(counts(&known, mac, None).1, None);
        for nothing in [Ok(Vec::new()), Err("it is late".to_owned())] {
            let (software, by_vf) = counts(&nothing, mac, vf("0000:01:10.0"));
            assert!(is_unseen(&software) && is_unseen(&by_vf));
            assert_eq!(counts(&nothing, mac, None).1, None);
        }
    }

    #[test]
    fn a_problem_goes_on_in_a_sentence() {
        let problem = Problem::new(Code::AgentUnreachable, "Node 'a' gave no answer.");
        assert_eq!(in_words(&problem), "node 'a' gave no answer");
    }
}
