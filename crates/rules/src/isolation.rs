//! Adapters that are taken out of the pool: none of their VFs is given out, and VMs that have one there go elsewhere.
//!
//! The server decides it ([`Isolated`]), for a fault or because somebody asked for it. A node marks its adapters by what
//! they are known by for good: one that is called otherwise after an update stays out.

use accelnet_model::{AdapterFacts, Code, Isolated, Problem};

use crate::Observed;

/// Tells adapters that are taken out of the pool. What was told before is judged anew.
pub fn mark(observed: &mut Observed, isolated: &[Isolated]) {
    for adapter in &mut observed.adapters {
        let its = isolated.iter().find(|its| its.id == adapter.id);
        adapter.isolated = its.map(|its| its.because.clone());
    }
}

/// Why an adapter gives no VFs, if it is taken out of the pool.
pub fn problem(adapter: &AdapterFacts) -> Option<Problem> {
    let because = adapter.isolated.as_deref()?;
    let name = &adapter.ifname;
    let text = format!(
        "{name} is taken out of the pool: {}.",
        because.trim_end_matches('.')
    );
    Some(Problem::new(Code::AdapterIsolated, text).about("adapter", name))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixture;

    #[test]
    fn an_adapter_is_marked_by_what_it_is_and_not_by_its_name() {
        let mut observed = fixture::bonded();
        let isolated = Isolated {
            node: "node1".parse().unwrap(),
            adapter: "pf0".parse().unwrap(),
            id: observed.adapters[0].id.clone(),
            since: Timestamp::UNIX_EPOCH,
            detection: None,
            because: "It flaps.".into(),
        };
        observed.adapters[0].ifname = "other".parse().unwrap();
        mark(&mut observed, std::slice::from_ref(&isolated));
        let marked: Vec<_> = observed.adapters.iter().map(problem).collect();
        let text = &marked[0].as_ref().unwrap().detail;
        assert_eq!(text, "other is taken out of the pool: It flaps.");
        assert_eq!(marked[1], None);
        mark(&mut observed, &[]);
        assert_eq!(problem(&observed.adapters[0]), None);
    }
}
