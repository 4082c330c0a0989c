//! What is done about faults beside telling them, as the server was told: an adapter is taken out of the pool, a VM is
//! kept on its software path.
//!
//! ```text
//!   open fault ──► what is set for its code ──► the task that decides on changes ──► the wish, with an entry of the record
//!                                                       │ no
//!                                                       └──► the end of the fault's evidence; tried again
//! ```
//!
//! What was done stays until a person takes it back. That closes the fault and counts anew: what is found after it is
//! another fault. A fault that is muted is known to somebody, and nothing is done about it.

use std::{collections::BTreeMap, time::Duration};

use accelnet_api::ParkRequest;
use accelnet_model::{Code, Fault, Name, Problem};
use accelnet_rules::health::{Act, DISABLE, Key};
use uuid::Uuid;

use crate::{
    Server,
    admission::{self, Decided, Decision, Why},
    apart::apart,
    audit::{Actor, Asked},
    state::Wish,
    view,
};

/// What could not be done is tried again after this, as long as its fault is open: another adapter may be in use by then.
/// It computes the cluster's capacity once.
const AGAIN: Duration = Duration::from_secs(30);

/// Faults by their ids that something was tried for, and when.
#[derive(Debug, Default)]
pub struct Tried(BTreeMap<String, Duration>);

impl Tried {
    /// Nothing was tried for the fault just now; from now on something was.
    fn is_due(&mut self, fault: &Fault, now: Duration) -> bool {
        let last = self.0.get(&fault.id);
        let due = last.is_none_or(|last| *last + AGAIN <= now);
        if due {
            self.0.insert(fault.id.clone(), now);
        }
        due
    }
}

impl Server {
    /// Does what is set for faults that are open; after how long something is to be tried again.
    pub(super) async fn act_on_faults(&self, tried: &mut Tried) -> Option<Duration> {
        let health = &self.shared.health;
        let acts = &health.settings.acts;
        if acts.only_tell() {
            return None;
        }
        let open = health.shown();
        tried
            .0
            .retain(|id, _| open.iter().any(|fault| fault.id == *id));
        let mut left = None;
        for fault in open.iter().filter(|fault| fault.muted.is_none()) {
            let act = acts.of(fault.code);
            if !matches!(act, Act::Isolate | Act::Disable) {
                continue;
            }
            left = Some(AGAIN);
            if tried.is_due(fault, health.now().up) {
                self.act_on(fault, act).await;
            }
        }
        left
    }

    async fn act_on(&self, fault: &Fault, act: Act) {
        let done = match act {
            Act::Isolate => self.isolate_for(fault).await,
            Act::Disable => self.park_for(fault).await,
            Act::Ignore | Act::Report => return,
        };
        let remark = match done {
            Some(Ok(done)) => done,
            Some(Err(problems)) => {
                let why: Vec<&str> = problems
                    .iter()
                    .map(|problem| problem.detail.as_str())
                    .collect();
                match act {
                    Act::Isolate => format!("It is not taken out of the pool: {}", why.join(" ")),
                    _ => format!("It is not parked: {}", why.join(" ")),
                }
            }
            // It is not about anything of that kind.
            None => return,
        };
        self.remark(&fault.id, &remark).await;
    }

    /// Takes the adapter that a fault is about out of the pool.
    async fn isolate_for(&self, fault: &Fault) -> Option<Result<String, Vec<Problem>>> {
        let (node, adapter) = adapter_of(fault)?;
        let asked = own(
            "adapter isolate",
            format!("{node}/{adapter} {}", fault.code),
        );
        let found = {
            let inner = self.shared.health.inner.lock().await;
            let found = inner.state.found(&fault.id).map(str::to_owned);
            // It closed a moment ago.
            found?
        };
        let why = Why {
            detection: Some(fault.code),
            because: format!("{}: {found}", fault.code),
        };
        let (server, request) = (self.clone(), asked.clone());
        let decided = self.if_it_can_be(&asked, move |wish| -> Decision {
            let now = server.shared.health.now().at;
            let seen = server.seen();
            admission::isolate(wish, &seen, (&node, &adapter), &why, (&request, now))
        });
        let done = "It is taken out of the pool until somebody lets it back.";
        Some(decided.await.map(|()| done.to_owned()))
    }

    /// Keeps the VM that a fault is about on its software path.
    async fn park_for(&self, fault: &Fault) -> Option<Result<String, Vec<Problem>>> {
        let uuid = vm_of(fault)?;
        let asked = own("vm park", format!("{} {}", fault.object.name, fault.code));
        let server = self.clone();
        let decided = self.if_it_can_be(&asked, move |wish| -> Decision {
            let seen = server.seen();
            match view::one(wish, &seen, uuid) {
                // Somebody keeps it there already, perhaps for a shorter time.
                Some(vm) if vm.parked.is_none() => {
                    let now = server.shared.health.now().at;
                    admission::park(wish, &seen, &vm, &ParkRequest::default(), now)
                }
                _ => Ok(Decided::nothing()),
            }
        });
        let done = "It is kept on its software path until somebody unparks it.";
        Some(decided.await.map(|()| done.to_owned()))
    }

    /// Asks for a change only if it would be one: what is refused again and again is nobody's news.
    async fn if_it_can_be(
        &self,
        asked: &Asked,
        mut decide: impl FnMut(&Wish) -> Decision + Send + 'static,
    ) -> Result<(), Vec<Problem>> {
        let Some(wish) = self.shared.told.newest() else {
            return Ok(());
        };
        let decided = apart(|| decide(&wish))?;
        if decided.writes.is_empty() {
            return Ok(());
        }
        self.change(asked, decide).await.map(drop)
    }

    /// Adds to a fault's evidence what was done about it.
    async fn remark(&self, id: &str, remark: &str) {
        let health = &self.shared.health;
        let mut inner = health.inner.lock().await;
        let now = health.now();
        let stepped = inner.state.remark(id, remark, now);
        self.take_in(&mut inner, stepped, now).await;
    }

    /// Somebody took back what was done about an adapter: what led to it closes and counts anew.
    pub(crate) async fn adapter_is_cured(&self, isolated: &accelnet_model::Isolated) {
        let code = isolated.detection.as_deref();
        let Some(code) = code.and_then(|code| code.parse::<Code>().ok()) else {
            return;
        };
        let id = format!("{}/{}", isolated.node, isolated.adapter);
        self.cured(vec![Key {
            code,
            kind: "adapter".to_owned(),
            id,
        }])
        .await;
    }

    /// Somebody unparked a VM: what it was parked for closes and counts anew.
    pub(crate) async fn vm_is_cured(&self, vm: Uuid) {
        let acts = &self.shared.health.settings.acts;
        let disabling = DISABLE
            .into_iter()
            .filter(|code| acts.of(*code) == Act::Disable);
        let keys = disabling.map(|code| Key {
            code,
            kind: "vm".to_owned(),
            id: vm.to_string(),
        });
        self.cured(keys.collect()).await;
    }

    async fn cured(&self, keys: Vec<Key>) {
        let health = &self.shared.health;
        let mut inner = health.inner.lock().await;
        for key in keys {
            let stepped = inner.state.cleared(&key);
            self.take_in(&mut inner, stepped, health.now()).await;
        }
    }
}

/// The server does it by itself.
fn own(operation: &'static str, subject: String) -> Asked {
    Asked {
        by: Actor::default(),
        operation,
        subject,
        dry_run: false,
    }
}

fn adapter_of(fault: &Fault) -> Option<(Name, String)> {
    let object = &fault.object;
    let node = object.node.clone().filter(|_| object.kind == "adapter")?;
    Some((node, object.name.clone()))
}

fn vm_of(fault: &Fault) -> Option<Uuid> {
    let object = &fault.object;
    object.id.parse().ok().filter(|_| object.kind == "vm")
}
