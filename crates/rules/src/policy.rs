//! What held on the switch must hold on the VF, or acceleration is refused.

use accelnet_model::{Code, MacAddr, PolicyFinding, Problem, VfAttributes};

/// What the VF must carry so that everything found on the port still holds. Nothing is translated
/// yet but the address with spoof check: any finding refuses.
///
/// # Errors
/// `policy_not_offloadable`, with every finding by place and rule.
pub fn judge(findings: &[PolicyFinding], mac: MacAddr) -> Result<VfAttributes, Problem> {
    if findings.is_empty() {
        return Ok(VfAttributes::for_mac(mac));
    }
    let rules: Vec<_> = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.place, finding.rule))
        .collect();
    let text = format!("On the path of NIC {mac} there is {}.", rules.join("; "));
    Err(Problem::new(Code::PolicyNotOffloadable, text).about("nic", mac))
}

#[cfg(test)]
mod tests {
    use accelnet_model::PolicyKind;

    use super::*;

    #[test]
    fn any_rule_refuses_and_is_named() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let attributes = judge(&[], mac).unwrap();
        assert_eq!(attributes, VfAttributes::for_mac(mac));
        let finding = |kind, rule: &str| PolicyFinding {
            kind,
            place: "vnet0".into(),
            rule: rule.into(),
        };
        let found = [
            finding(PolicyKind::Isolation, "isolated"),
            finding(PolicyKind::Ebpf, "an XDP program"),
        ];
        let problem = judge(&found, mac).unwrap_err();
        assert_eq!(problem.code, Code::PolicyNotOffloadable);
        assert!(
            problem.detail.contains("isolated") && problem.detail.contains("XDP"),
            "{problem}"
        );
    }
}
