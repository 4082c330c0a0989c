//! VMs that some tool moves on their VFs: what a node asks before they come to it.

use accelnet_api::incoming::{Admitted, IncomingVm};
use accelnet_model::{Code, Performance};
use accelnet_rules::fixture;
use uuid::Uuid;

use crate::rig::Rig;

fn vm1() -> IncomingVm {
    let facts = fixture::vm(1);
    IncomingVm {
        uuid: facts.uuid,
        name: facts.name,
        nics: facts.nics.iter().map(|nic| nic.mac).collect(),
    }
}

const AS_IT_IS: Admitted = Admitted { level: None };

#[tokio::test]
async fn an_accelerated_vm_may_come_where_it_finds_a_vf() {
    let rig = Rig::two(0).await;
    assert_eq!(rig.incoming("node2", &vm1()).await, Ok(AS_IT_IS));
    rig.http.accelerate("vm1", "low").await.done();
    let low = Admitted {
        level: Some(Performance::Low),
    };
    assert_eq!(rig.incoming("node2", &vm1()).await, Ok(low.clone()));
    // Restored where it was.
    assert_eq!(rig.incoming("node1", &vm1()).await, Ok(low));
    let other = IncomingVm {
        uuid: Uuid::from_u128(99),
        ..vm1()
    };
    assert_eq!(rig.incoming("node2", &other).await, Ok(AS_IT_IS));

    rig.nodes.sees("node2", |seen| seen.adapters[0].vfs.clear());
    let refused = rig.incoming("node2", &vm1()).await.unwrap_err();
    assert_eq!(refused.code, Code::NoFreeVf);
    assert!(refused.detail.contains("node2"), "{refused:?}");
    assert!(refused.cure.contains("goes on where it is"), "{refused:?}");
    rig.stop().await;
}

/// Nobody says that there is no room on a node that nobody can see.
#[tokio::test]
async fn a_node_that_was_not_seen_is_no_full_one() {
    let rig = Rig::two(0).await;
    rig.http.accelerate("vm1", "low").await.done();
    rig.nodes.silent("node2", true);
    // Whoever looks at it notices.
    rig.http.get("/vms?fresh=true").await.done();
    let refused = rig.incoming("node2", &vm1()).await.unwrap_err();
    assert_eq!(refused.code, Code::AgentUnreachable);
    rig.stop().await;
}
