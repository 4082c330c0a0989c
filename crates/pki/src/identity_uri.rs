//! The names by which certificates know clusters and nodes: URIs in the subject's alternative names.

use uuid::Uuid;

/// A cluster, in its authority's certificate.
pub fn cluster(cluster: Uuid) -> String {
    format!("accelnet://{cluster}")
}

/// A node of it, in the node's certificate.
pub fn node(cluster: Uuid, node: Uuid) -> String {
    format!("accelnet://{cluster}/node/{node}")
}

/// The cluster of such a URI.
pub fn parse_cluster(uri: &str) -> Option<Uuid> {
    let id = uri.strip_prefix("accelnet://")?.parse().ok()?;
    // Uuid reads several forms; only one is ours.
    (cluster(id) == uri).then_some(id)
}

/// Cluster and node of such a URI.
pub fn parse_node(uri: &str) -> Option<(Uuid, Uuid)> {
    let (cluster, id) = uri.strip_prefix("accelnet://")?.split_once("/node/")?;
    let (cluster, id) = (cluster.parse().ok()?, id.parse().ok()?);
    (node(cluster, id) == uri).then_some((cluster, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_form_is_read() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(parse_cluster(&cluster(a)), Some(a));
        assert_eq!(parse_node(&node(a, b)), Some((a, b)));
        for uri in [
            node(a, b).to_uppercase(),
            format!("{}/x", node(a, b)),
            node(a, b).replace('-', ""),
            cluster(a),
            "https://example.org/node/x".to_owned(),
        ] {
            assert_eq!(parse_node(&uri), None, "{uri}");
        }
        assert_eq!(parse_cluster(&node(a, b)), None);
    }
}
