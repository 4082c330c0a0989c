//! The text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! What nobody knows is left out: there is no line for it, and never a zero in its place.

use std::{collections::BTreeMap, fmt::Write};

use super::{Histogram, Metric, table};

/// Values of metrics at one moment.
#[derive(Debug, Default)]
pub struct Text(BTreeMap<&'static str, String>);

/// A value. Counters are written whole: as a fraction, those above 2⁵³ would lose packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any other.
    Fraction(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Fraction(value)
    }
}

impl Text {
    /// A value, with the values of the metric's labels in the table's order.
    pub fn put(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<Value>) {
        let pairs = pairs(metric, labels);
        self.line(metric, metric.name, &pairs, value.into());
    }

    /// The same if there is a value.
    pub fn put_known<V: Into<Value>>(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        value: Option<V>,
    ) {
        if let Some(value) = value {
            self.put(metric, labels, value);
        }
    }

    /// A histogram.
    pub fn put_histogram(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        histogram: &Histogram,
    ) {
        let own = pairs(metric, labels);
        let bucket = format!("{}_bucket", metric.name);
        let bounds = histogram
            .cumulative()
            .map(|(bound, count)| (bound.to_string(), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), histogram.count())]) {
            let mut with_bound = own.clone();
            with_bound.push(("le", bound));
            self.line(metric, &bucket, &with_bound, count.into());
        }
        let sum = histogram.sum().as_secs_f64();
        self.line(metric, &format!("{}_sum", metric.name), &own, sum.into());
        let count = format!("{}_count", metric.name);
        self.line(metric, &count, &own, histogram.count().into());
    }

    /// What another tells, too.
    pub fn append(&mut self, other: Self) {
        for (name, lines) in other.0 {
            self.0.entry(name).or_default().push_str(&lines);
        }
    }

    /// All of it, in the order of the table.
    pub fn written(&self) -> String {
        let mut text = String::new();
        for metric in table::ALL {
            let Some(lines) = self.0.get(metric.name) else {
                continue;
            };
            let (name, kind) = (metric.name, metric.kind.as_str());
            let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
            text.push_str(&format!(
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"
            ));
        }
        text
    }

    fn line(
        &mut self,
        metric: &'static Metric,
        name: &str,
        pairs: &[(&'static str, String)],
        value: Value,
    ) {
        let lines = self.0.entry(metric.name).or_default();
        lines.push_str(name);
        if !pairs.is_empty() {
            let pairs = pairs
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            lines.push_str(&format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")));
        }
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Whole(number) => writeln!(lines, " {number}"),
            Value::Fraction(number) => writeln!(lines, " {number}"),
        };
    }
}

fn pairs(metric: &Metric, labels: &[&str]) -> Vec<(&'static str, String)> {
    debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
    let values = labels.iter().map(|value| (*value).to_owned());
    metric.labels.iter().copied().zip(values).collect()
}

/// A label's value: names of VMs may have anything in them.
fn escaped(value: &str) -> String {
    let text = value.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::table::{API_REQUEST_DURATION, BUILD_INFO, NIC_ON_VF, SERVER_ACTIVE, VF_RX_BYTES},
        *,
    };

    #[test]
    fn the_text_is_in_the_order_of_the_table_and_whole_numbers_stay_whole() {
        let mut text = Text::default();
        text.put(
            &VF_RX_BYTES,
            &["0000:01:10.0", "pf0", "0"],
            9_007_199_254_740_993_u64,
        );
        text.put(&SERVER_ACTIVE, &[], true);
        let mut more = Text::default();
        more.put(&BUILD_INFO, &["0.1.0", "agent"], 1.0);
        more.put(&SERVER_ACTIVE, &[], 0.5);
        text.append(more);
        text.put_known(&NIC_ON_VF, &["u", "n", "m"], None::<bool>);
        let written = text.written();
        let lines: Vec<&str> = written
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(
            lines,
            [
                "accelnet_build_info{version=\"0.1.0\",role=\"agent\"} 1",
                "accelnet_server_active 1",
                "accelnet_server_active 0.5",
                "accelnet_vf_receive_bytes_total{pci_address=\"0000:01:10.0\",adapter=\"pf0\",vf=\"0\"} \
                 9007199254740993",
            ]
        );
        let types = written
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .count();
        assert_eq!(types, 3);
    }

    #[test]
    fn names_cannot_break_out_of_their_label() {
        let mut text = Text::default();
        text.put(
            &NIC_ON_VF,
            &["u", "a\"} 1\nx{b=\"\\", "02:00:00:00:77:01"],
            true,
        );
        let written = text.written();
        assert_eq!(written.lines().count(), 3, "{written}");
        assert!(
            written.contains(r#"name="a\"} 1\nx{b=\"\\",mac="#),
            "{written}"
        );
    }

    #[test]
    fn a_histogram_has_a_line_for_each_bound_one_above_all_sum_and_count() {
        let mut histogram = Histogram::default();
        histogram.note(Duration::from_millis(20));
        let mut text = Text::default();
        text.put_histogram(&API_REQUEST_DURATION, &["GET", "/x"], &histogram);
        let written = text.written();
        let has = |line: &str| written.lines().any(|one| one == line);
        let name = "accelnet_api_request_duration_seconds";
        assert!(
            has(&format!(
                "{name}_bucket{{method=\"GET\",route=\"/x\",le=\"0.01\"}} 0"
            )),
            "{written}"
        );
        assert!(has(&format!(
            "{name}_bucket{{method=\"GET\",route=\"/x\",le=\"0.025\"}} 1"
        )));
        assert!(has(&format!(
            "{name}_bucket{{method=\"GET\",route=\"/x\",le=\"+Inf\"}} 1"
        )));
        assert!(has(&format!(
            "{name}_sum{{method=\"GET\",route=\"/x\"}} 0.02"
        )));
        assert!(has(&format!(
            "{name}_count{{method=\"GET\",route=\"/x\"}} 1"
        )));
    }
}
