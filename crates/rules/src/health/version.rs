//! Agents of another version than the server.

use accelnet_model::{Code, FaultObject, FaultSeverity};

use super::{Detection, Finding, Found, NodeScene, Window};

pub const DETECTION: Detection = Detection {
    code: Code::VersionSkew,
    severity: FaultSeverity::Notice,
    about: "node",
    by_node: true,
    finds: "The version that an agent reports is not the server's.",
    because: "An update is rolled out node by node, which may take a day.",
    window: Window::seconds(24 * 3600, 60),
};

pub fn check(scene: &NodeScene<'_>, found: &mut Found) {
    let object = FaultObject::node(scene.name);
    // Agents that say none are older than this detection.
    let version = scene.status.agent_version.as_deref();
    let version = version.unwrap_or("one that does not tell its number");
    if version != scene.server_version {
        let evidence = format!(
            "The agent of '{}' is of version {version}, the server of {}.",
            scene.name, scene.server_version
        );
        found.wrong(&DETECTION, Finding::new(&DETECTION, object, evidence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::tests::Bench;

    #[test]
    fn an_agent_of_another_version_is_told() {
        let mut bench = Bench::new();
        bench.status.agent_version = Some("0.0.1".into());
        assert!(bench.only(Code::VersionSkew).evidence.contains("0.0.1"));
        bench.status.agent_version = None;
        assert!(
            bench
                .only(Code::VersionSkew)
                .evidence
                .contains("does not tell")
        );
    }
}
