//! `docs/reference/metrics.md`: every metric, from the table of what Prometheus is told.

use accelnet_api::metrics::{By, Metric, histogram::BOUNDS_S, table::ALL};

/// The page.
pub fn page() -> String {
    let bounds: Vec<String> = BOUNDS_S.iter().map(ToString::to_string).collect();
    let mut page = format!(
        "<!-- Written by 'make problems' from the table in crates/api/src/metrics/table.rs. -->\n\
         # Metrics\n\n\
         What Prometheus finds at `/metrics`, in its text format. How to have it scraped, the dashboard and the alerts: \
         [Metrics](../guide/metrics.md).\n\n\
         - What nobody knows is absent: a card that counts nothing has no counter, and never a zero.\n\
         - Counters begin again at 0 with the process, and those of cards and taps with these. `rate()` and `increase()` \
         know that.\n\
         - The text is made at most once a second, however often it is asked for; of a large cluster less often: a \
         twentieth of a core at most. Nothing is asked of store or nodes for it, and on a node the kernel once.\n\
         - Histograms have the bounds {} s.\n\
         - Series are bounded by routes of the API, VFs of the machine, and NICs of VMs that have a level.\n",
        bounds.join(", ")
    );
    for (heading, by) in [
        ("Of all", By::Both),
        ("Of the server", By::Server),
        ("Of the agent", By::Agent),
    ] {
        page.push_str(&format!(
            "\n## {heading}\n\n| metric | kind | labels | tells |\n|---|---|---|---|\n"
        ));
        let rows = ALL.iter().filter(|metric| metric.by == by);
        page.extend(rows.map(|metric| row(metric)));
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    format!(
        "| `{}` | {} | {} | {} |\n",
        metric.name,
        metric.kind.as_str(),
        labels.join(", "),
        metric.help
    )
}
