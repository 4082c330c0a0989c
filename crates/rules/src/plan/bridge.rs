//! Bridges that intents have made for them, whether acceleration is enabled on them or not.

use accelnet_model::NodeDesired;

use super::{Memory, Plan};
use crate::{Observed, own_bridge};

pub fn plan(observed: &Observed, desired: &NodeDesired, memory: &Memory, plan: &mut Plan) {
    for intent in desired.intents.iter().filter(|intent| intent.create) {
        let made_on = memory.made_on.get(&intent.bridge);
        let contested = own_bridge::contested(observed, intent, &desired.intents);
        match (contested, own_bridge::uplink(observed, intent, made_on)) {
            (Some(problem), _) | (None, Err(problem)) => {
                plan.problems.push(problem.about("intent", &intent.name));
            }
            (None, Ok(uplink)) => {
                let actions = uplink.map(|uplink| own_bridge::actions(observed, intent, uplink));
                actions
                    .into_iter()
                    .flatten()
                    .for_each(|action| plan.push(action));
            }
        }
    }
}
